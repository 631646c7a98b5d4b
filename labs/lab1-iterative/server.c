/*
 * lab 1: an echo server that serves one client at a time.
 *
 * Start it in one terminal and a client in each of two more:
 *	make run LAB=1 PORT=9190		make client PORT=9190
 * The second client is connected at once, and hears nothing until the first one leaves.
 */
#include "safe_log.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The port that TEXT names, 1 to 65535, or -1 if it is anything but such a number. */
static int parse_port(const char *text)
{
	/* step 1a: a port is a whole number from 1 to 65535 */
	/*
	 * TODO 1a. atoi takes "abc" for 0, and 70000 for a port that doesn't exist. Use strtol
	 * (strtol(3)): it tells you where the number stopped. Return -1 unless that is the end
	 * of TEXT and the number is a port. What does strtol make of "", " 80" and "-1"?
	 */
	return atoi(text);
	/* end 1a */
}

/* A socket that listens on PORT, or -1 with the failed call and the reason on stderr. */
static int tcp_listen(int port)
{
	/* step 1b: socket, SO_REUSEADDR, bind, listen */
	/*
	 * TODO 1b. Four calls, in this order: socket(2) for IPv4 and TCP (tcp(7)), setsockopt with
	 * SO_REUSEADDR (socket(7)), bind(2) to PORT at INADDR_ANY (ip(7); mind htons), listen(2)
	 * with a backlog of SOMAXCONN. When one fails: perror its name, close what you opened,
	 * return -1.
	 */
	(void)port;
	fprintf(stderr, "tcp_listen is not written yet: step 1b\n");
	return -1;
	/* end 1b */
}

/* Writes all SIZE bytes, however many calls of write that takes. 0, or -1 with errno. */
static int write_all(int fd, const void *data, size_t size)
{
	/* step 1c: write until all of it is written */
	/*
	 * TODO 1c. write(2) says how many bytes it took, and that may be fewer than you gave it.
	 * Call it until all SIZE bytes are gone. A signal may interrupt it (EINTR): that is no
	 * reason to give up. Any other -1 is.
	 */
	(void)fd;
	(void)data;
	(void)size;
	fprintf(stderr, "write_all is not written yet: step 1c\n");
	errno = ENOSYS;
	return -1;
	/* end 1c */
}

/* Echoes what comes on CONN until its client sends no more. 0, or -1 with errno. */
static int serve_client(int conn)
{
	/* step 1d: echo until the end of the stream */
	/*
	 * TODO 1d. Call read(2) until it says that there is no more, and give write_all what each
	 * call brought: as many bytes as read returned, whatever they are. read can return three
	 * kinds of number; know what each means. For now the client gets only a notice.
	 */
	static const char notice[] = "serve_client is not written yet: step 1d\n";

	return write_all(conn, notice, sizeof(notice) - 1);
	/* end 1d */
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT    (a number from 1 to 65535)\n", argv[0]);
		return 2;
	}

	/* step 1f: a client that vanishes must not take the server with it */
	/*
	 * TODO 1f. A client may leave while you still write to it. The second write then raises
	 * SIGPIPE, and SIGPIPE ends the whole server. Ignore that signal (signal(2), signal(7)):
	 * write then returns -1, which write_all can handle.
	 */
	/* end 1f */

	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);

	for (;;) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_size = sizeof(peer);
		int conn = accept(listener, (struct sockaddr *)&peer, &peer_size);
		if (conn < 0) {
			perror("accept"); /* this client is lost; the next may be luckier */
			continue;
		}
		log_client(&peer, "connected");

		/* step 1e: serve this client, then let go of it */
		/*
		 * TODO 1e. serve_client may return -1: say so with perror, and go on. Then close(2)
		 * this connection, whatever happened, and log that the client is "gone". What does
		 * a client wait for if you don't close? What does the server run out of?
		 */
		serve_client(conn);
		/* end 1e */
	}
}
