/*
 * Lab 3 with recv's MSG_PEEK: the socket's own buffer keeps what is not decided yet. The child
 * looks at what has come, decides how much of it may be echoed, and only then takes it. When a
 * line could still become "exit", it waits for one byte more than it has seen (MSG_WAITALL).
 */
#include "net.h"
#include "safe_log.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct decision {
	size_t echo;   /* so many bytes may go back */
	bool is_over;  /* and then comes the command */
	bool in_line;  /* what is echoed ends in the middle of a line */
	size_t unsure; /* so many after them could become the command */
};

static bool may_become(const char *text, size_t size, const char *command)
{
	return size < strlen(command) && memcmp(text, command, size) == 0;
}

static bool begins_with(const char *text, size_t size, const char *command)
{
	return size >= strlen(command) && memcmp(text, command, strlen(command)) == 0;
}

static struct decision decide(const char *text, size_t size, bool in_line)
{
	struct decision d = { .in_line = in_line };

	while (d.echo < size) {
		const char *here = text + d.echo;
		size_t rest = size - d.echo;

		if (!d.in_line) {
			if (begins_with(here, rest, "exit\n") || begins_with(here, rest, "exit\r\n")) {
				d.is_over = true;
				return d;
			}
			if (may_become(here, rest, "exit\n") || may_become(here, rest, "exit\r\n")) {
				d.unsure = rest;
				return d;
			}
		}
		const char *newline = memchr(here, '\n', rest);
		d.in_line = newline == NULL;
		d.echo += newline ? (size_t)(newline - here) + 1 : rest;
	}
	return d;
}

static ssize_t receive(int conn, char *room, size_t size, int flags)
{
	ssize_t n;

	do
		n = recv(conn, room, size, flags);
	while (n < 0 && errno == EINTR);
	return n;
}

static int serve(int conn)
{
	static char window[32768];
	bool in_line = false;
	size_t unsure = 0;

	for (;;) {
		ssize_t n;

		if (unsure > 0)
			n = receive(conn, window, unsure + 1, MSG_PEEK | MSG_WAITALL);
		else
			n = receive(conn, window, sizeof(window), MSG_PEEK);
		if (n < 0)
			return 1;
		if ((size_t)n <= unsure) { /* no more will come */
			n = receive(conn, window, sizeof(window), 0);
			return n < 0 || write_all(conn, window, (size_t)n) < 0;
		}

		struct decision d = decide(window, (size_t)n, in_line);
		if (d.echo > 0) {
			n = receive(conn, window, d.echo, MSG_WAITALL);
			if (n != (ssize_t)d.echo || write_all(conn, window, d.echo) < 0)
				return 1;
		}
		if (d.is_over) {
			/* Take it too: closing with unread bytes would be a reset. */
			receive(conn, window, sizeof(window), MSG_DONTWAIT);
			return 0;
		}
		in_line = d.in_line;
		unsure = d.unsure;
	}
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;

	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);

	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	for (;;) {
		struct sockaddr_in peer;
		int conn = accept(listener, (struct sockaddr *)&peer, &(socklen_t){ sizeof(peer) });

		if (conn < 0) {
			safe_log("accept: %s", strerror(errno));
			continue;
		}
		const pid_t pid = fork();
		if (pid == 0) {
			close(listener);
			log_client(&peer, "connected");
			int status = serve(conn);
			log_client(&peer, "gone");
			_exit(status);
		}
		if (pid < 0)
			safe_log("fork: %s", strerror(errno));
		close(conn);
	}
}
