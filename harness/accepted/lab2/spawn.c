/* Lab 2 with posix_spawn: each client gets the same program as a helper. */
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

extern char **environ;

int main(int argc, char *argv[])
{
	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		return serve_client(atoi(argv[2])) < 0;

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

	for (;;) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_size = sizeof(peer);
		int conn = accept(listener, (struct sockaddr *)&peer, &peer_size);
		if (conn < 0) {
			perror("accept"); /* this client is lost; the next may be luckier */
			continue;
		}
		log_client(&peer, "connected");

		char text[12];
		char *helper[] = { argv[0], "--serve", text, NULL };
		posix_spawn_file_actions_t actions;
		pid_t child;

		snprintf(text, sizeof(text), "%d", conn);
		posix_spawn_file_actions_init(&actions);
		posix_spawn_file_actions_addclose(&actions, listener);
		int error = posix_spawn(&child, "/proc/self/exe", &actions, NULL, helper, environ);
		if (error != 0)
			fprintf(stderr, "posix_spawn: %s\n", strerror(error));
		posix_spawn_file_actions_destroy(&actions);
		close(conn);
	}
}
