/* Lab 2 with four children that are there before any client. */
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

	for (int i = 0; i < 4; i++)
		if (fork() == 0)
			for (;;) {
				int conn = accept(listener, NULL, NULL);

				if (conn >= 0) {
					serve_client(conn);
					close(conn);
				}
			}
	for (;;)
		pause();
}
