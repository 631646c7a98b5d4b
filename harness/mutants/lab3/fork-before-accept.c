/* Forks first: the child accepts one client, serves it and ends; then the next is forked. */
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void serve_client(int conn)
{
	struct line_reader reader = { .fd = conn };
	char *line;
	ssize_t n;

	while ((n = read_line(&reader, &line)) > 0) {
		if (!reader.continued && ((n == 5 && memcmp(line, "exit\n", 5) == 0) ||
					  (n == 6 && memcmp(line, "exit\r\n", 6) == 0)))
			return;
		if (write_all(conn, line, (size_t)n) < 0)
			return;
	}
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);
	for (;;) {
		switch (fork()) {
		case -1:
			perror("fork");
			sleep(1);
			continue;
		case 0: {
			int conn = accept(listener, NULL, NULL);
			close(listener);
			if (conn >= 0)
				serve_client(conn);
			_exit(0);
		}
		}
		wait(NULL);
	}
}
