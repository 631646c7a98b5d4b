/*
 * lab 3: a child for every client, and no zombies: the parent ignores SIGCHLD.
 *
 * Start it, connect a client, type a few lines, then exit, and look at the family:
 *	make run LAB=3 PORT=9190		make client PORT=9190
 *	ps --forest -o pid,ppid,stat,ignored,comm -C server
 * The child is gone without a trace; bit 16 of IGNORED (0x10000) is SIGCHLD.
 */
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* step 3b: is this line the command to end the session? */
/* Whether LINE, of SIZE bytes, is "exit" and nothing else. */
static bool is_exit(const char *line, size_t size)
{
	return (size == 5 && memcmp(line, "exit\n", 5) == 0) ||
	       (size == 6 && memcmp(line, "exit\r\n", 6) == 0);
}
/* end 3b */

/* Echoes the lines that come on CONN until "exit" or the end. 0, or -1 with errno. */
static int serve_client(int conn)
{
	/* step 3c: echo line by line */
	struct line_reader reader = { .fd = conn };
	char *line;
	ssize_t n;

	while ((n = read_line(&reader, &line)) > 0) {
		if (!reader.continued && is_exit(line, (size_t)n))
			return 0;
		if (write_all(conn, line, (size_t)n) < 0)
			return -1;
	}
	return (int)n;
	/* end 3c */
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT    (a number from 1 to 65535)\n", argv[0]);
		return 2;
	}

	/* Writing to a closed connection raises SIGPIPE. Ignored, write fails with EPIPE. */
	signal(SIGPIPE, SIG_IGN);

	/* step 3a: no zombies */
	/* A parent that ignores SIGCHLD doesn't want to know: the kernel reaps for it. */
	signal(SIGCHLD, SIG_IGN);
	/* end 3a */

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

		switch (fork()) {
		case -1:
			perror("fork"); /* may be temporary: only this client is turned away */
			break;
		case 0:
			close(listener);
			int failed = serve_client(conn) < 0;
			if (failed)
				perror("client");
			log_client(&peer, "gone");
			/* _exit, not exit: what stdio holds is a copy and not ours to write. */
			_exit(failed);
		}

		/* Both have it open now. Until both close it, the client sees no end. */
		close(conn);
	}
}
