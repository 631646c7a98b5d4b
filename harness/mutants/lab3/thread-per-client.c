/* Serves each client in a thread of its own. */
#include "net.h"
#include "safe_log.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *serve_client(void *argument)
{
	int conn = (int)(intptr_t)argument;
	struct line_reader reader = { .fd = conn };
	char *line;
	ssize_t n;

	while ((n = read_line(&reader, &line)) > 0) {
		if (!reader.continued && ((n == 5 && memcmp(line, "exit\n", 5) == 0) ||
					  (n == 6 && memcmp(line, "exit\r\n", 6) == 0)))
			break;
		if (write_all(conn, line, (size_t)n) < 0)
			break;
	}
	close(conn);
	return NULL;
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
		int conn = accept(listener, NULL, NULL);
		if (conn < 0) {
			perror("accept");
			continue;
		}
		pthread_t thread;
		if (pthread_create(&thread, NULL, serve_client, (void *)(intptr_t)conn) == 0)
			pthread_detach(thread);
		else
			close(conn);
	}
}
