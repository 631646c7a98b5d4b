/*
 * Lab 4 without handlers: all signals that matter are blocked, a client is one too (SIGIO), and
 * the main loop does nothing but sigwaitinfo. What a signal means is then done at leisure, with
 * printf and realloc if need be. A failing accept is tried again after a second.
 */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t *children;
static size_t count, room;
static int listener;
static sigset_t awaited, inherited;

static int echo_lines(int conn)
{
	static struct line_reader in;
	char *line;
	ssize_t n;

	in.fd = conn;
	while ((n = read_line(&in, &line)) > 0) {
		if (!in.continued && ((n == 5 && !memcmp(line, "exit\n", 5)) ||
				      (n == 6 && !memcmp(line, "exit\r\n", 6))))
			return 0;
		if (write_all(conn, line, (size_t)n) < 0)
			return 1;
	}
	return n < 0;
}

static void tell(pid_t pid, int status)
{
	if (WIFEXITED(status))
		printf("child %d exited with status %d\n", (int)pid, WEXITSTATUS(status));
	else
		printf("child %d killed by signal %d\n", (int)pid, WTERMSIG(status));
	fflush(stdout);
}

static void reap(int options)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, options)) > 0) {
		for (size_t i = 0; i < count; i++)
			if (children[i] == pid)
				children[i--] = children[--count];
		tell(pid, status);
	}
}

static void give_to_a_child(int conn)
{
	if (count == room) {
		size_t more = room ? 2 * room : 16;
		pid_t *larger = realloc(children, more * sizeof(*children));

		if (larger == NULL) {
			perror("realloc");
			return;
		}
		children = larger;
		room = more;
	}

	pid_t pid = fork();
	if (pid < 0) {
		perror("fork");
	} else if (pid > 0) {
		children[count++] = pid;
	} else {
		close(listener);
		sigprocmask(SIG_SETMASK, &inherited, NULL);
		_exit(echo_lines(conn));
	}
}

/* Takes all clients that wait. False: it should be tried again, though no signal will say so. */
static bool accept_all(void)
{
	for (;;) {
		int conn = accept(listener, NULL, NULL);

		if (conn >= 0) {
			give_to_a_child(conn);
			close(conn);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return true;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			perror("accept");
			return false;
		}
	}
}

int main(int argc, char *argv[])
{
	const struct timespec a_second = { .tv_sec = 1 };
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	bool running = true;

	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	sigaddset(&awaited, SIGINT);
	sigaddset(&awaited, SIGIO);
	sigprocmask(SIG_BLOCK, &awaited, &inherited);

	if ((listener = tcp_listen(port)) < 0)
		return 1;
	if (fcntl(listener, F_SETOWN, getpid()) < 0 ||
	    fcntl(listener, F_SETFL, O_NONBLOCK | O_ASYNC) < 0) {
		perror("fcntl");
		return 1;
	}
	while (running) {
		siginfo_t info;

		if (accept_all()) {
			if (sigwaitinfo(&awaited, &info) < 0)
				continue; /* also after a stop and a SIGCONT */
		} else {
			sigset_t others = awaited;

			sigdelset(&others, SIGIO); /* clients must wait */
			if (sigtimedwait(&others, &info, &a_second) < 0)
				continue;
		}
		if (info.si_signo == SIGCHLD)
			reap(WNOHANG);
		if (info.si_signo == SIGTERM || info.si_signo == SIGINT)
			running = false;
	}
	close(listener);
	for (size_t i = 0; i < count; i++)
		kill(children[i], SIGTERM);
	reap(0);
	free(children);
	return 0;
}
