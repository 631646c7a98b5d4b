/* The same server with stdio streams on the connection. */
#include "net.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve_client(int conn)
{
	FILE *in = fdopen(conn, "r"), *out = fdopen(dup(conn), "w");
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	if (in == NULL || out == NULL)
		return;
	while ((n = getline(&line, &room, in)) > 0) {
		if (strcmp(line, "exit\n") == 0 || strcmp(line, "exit\r\n") == 0)
			break;
		if (fwrite(line, 1, (size_t)n, out) != (size_t)n || fflush(out) != 0)
			break;
	}
	free(line);
	fclose(in);
	fclose(out);
}

int main(int argc, char **argv)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	int port, listener, conn;

	if (argc != 2 || (port = parse_port(argv[1])) < 0) {
		fprintf(stderr, "Usage: %s <port>\n", argv[0]);
		exit(1);
	}
	sigaction(SIGCHLD, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	if ((listener = tcp_listen(port)) < 0)
		exit(1);
	while (1) {
		if ((conn = accept(listener, NULL, NULL)) == -1)
			continue;
		pid_t pid = fork();
		if (pid == 0) {
			close(listener);
			serve_client(conn);
			exit(0);
		}
		if (pid == -1)
			fprintf(stderr, "no process for this client\n");
		close(conn);
	}
}
