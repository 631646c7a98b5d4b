/* Lab 2 with a parent that closes a connection when the next one comes. */
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* Echoes what comes on CONN until its client sends no more. 0, or -1 with errno. */
static int serve_client(int conn)
{
	char buffer[4096];
	ssize_t n;

	/* n counts bytes; they may hold NULs, so nothing here may treat them as a string. */
	while ((n = read(conn, buffer, sizeof(buffer))) > 0)
		if (write_all(conn, buffer, (size_t)n) < 0)
			return -1;
	return (int)n;
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

	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);

	int previous = -1;

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
		if (previous >= 0)
			close(previous);
		previous = conn;
	}
}
