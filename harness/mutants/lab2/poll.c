/* Lab 2 with poll: all clients at once, and no child. */
#include "net.h"
#include "safe_log.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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

	struct pollfd fds[64] = { { .fd = listener, .events = POLLIN } };
	nfds_t count = 1;

	for (;;) {
		if (poll(fds, count, -1) < 0)
			continue;
		for (nfds_t i = count; i-- > 1;) {
			char buffer[4096];

			if (!fds[i].revents)
				continue;
			ssize_t n = read(fds[i].fd, buffer, sizeof(buffer));
			if (n <= 0 || write_all(fds[i].fd, buffer, (size_t)n) < 0) {
				close(fds[i].fd);
				fds[i] = fds[--count];
			}
		}
		if (fds[0].revents && count < 64) {
			int conn = accept(listener, NULL, NULL);

			if (conn >= 0)
				fds[count++] = (struct pollfd){ .fd = conn, .events = POLLIN };
		}
	}
}
