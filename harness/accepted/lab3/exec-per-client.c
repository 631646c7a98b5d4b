/* Each client's child runs a program of its own, the way inetd does: this one again, by exec. */
#define _GNU_SOURCE
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int serve_client(int conn)
{
	struct line_reader reader = { .fd = conn };
	char *line;
	ssize_t n;

	while ((n = read_line(&reader, &line)) > 0) {
		if (!reader.continued && ((n == 5 && memcmp(line, "exit\n", 5) == 0) ||
					  (n == 6 && memcmp(line, "exit\r\n", 6) == 0)))
			return 0;
		if (write_all(conn, line, (size_t)n) < 0)
			return 1;
	}
	return n < 0;
}

int main(int argc, char *argv[])
{
	if (argc == 1 && strcmp(argv[0], "echo-helper") == 0)
		return serve_client(STDIN_FILENO);

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
		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0) {
			perror("accept");
			continue;
		}
		switch (fork()) {
		case -1:
			perror("fork");
			break;
		case 0:
			close(listener);
			dup2(conn, STDIN_FILENO);
			execl("/proc/self/exe", "echo-helper", (char *)NULL);
			perror("exec");
			_exit(127);
		}
		close(conn);
	}
}
