/*
 * Lab 4 with a self-pipe: the handlers only leave a byte in a pipe, poll watches it beside the
 * listener, and main reaps with waitid. The children are nodes of a linked list that no handler
 * ever sees. Without a descriptor for a client, the listener is left out of poll for a second
 * or until a child ends.
 */
#define _GNU_SOURCE
#include "net.h"
#include "safe_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	pid_t pid;
	LIST_ENTRY(child) link;
};

static LIST_HEAD(, child) children = LIST_HEAD_INITIALIZER(children);
static int wake[2];
static volatile sig_atomic_t told_to_stop;

static void on_signal(int number)
{
	const int before = errno;

	if (number != SIGCHLD)
		told_to_stop = 1;
	/* A full pipe wakes main just as well. */
	if (write(wake[1], "!", 1) < 0)
		errno = before;
	errno = before;
}

static int make_pipe(void)
{
	return pipe2(wake, O_NONBLOCK | O_CLOEXEC);
}

static void empty_pipe(void)
{
	char bytes[256];

	while (read(wake[0], bytes, sizeof(bytes)) > 0)
		;
}

static void forget(pid_t pid)
{
	struct child *child;

	LIST_FOREACH(child, &children, link) {
		if (child->pid == pid) {
			LIST_REMOVE(child, link);
			free(child);
			return;
		}
	}
}

/* Reaps whoever has ended; with no WNOHANG among OPTIONS, everybody. True if there was one. */
static bool reap(int options)
{
	bool any = false;

	for (;;) {
		siginfo_t end = { .si_pid = 0 };

		if (waitid(P_ALL, 0, &end, WEXITED | options) < 0) {
			if (errno == EINTR)
				continue;
			return any;
		}
		if (end.si_pid == 0)
			return any;
		any = true;
		forget(end.si_pid);
		if (end.si_code == CLD_EXITED)
			safe_log("child %d exited with status %d", end.si_pid, end.si_status);
		else
			safe_log("child %d killed by signal %d", end.si_pid, end.si_status);
	}
}

static bool is_exit(const struct line_reader *reader, const char *line, ssize_t size)
{
	if (reader->continued || size < 5 || line[size - 1] != '\n')
		return false;
	if (line[size - 2] == '\r')
		size--;
	return size == 5 && memcmp(line, "exit", 4) == 0;
}

static _Noreturn void serve(int conn)
{
	struct line_reader reader = { .fd = conn };
	char *line;
	ssize_t size;

	while ((size = read_line(&reader, &line)) > 0 && !is_exit(&reader, line, size))
		if (write_all(conn, line, (size_t)size) < 0)
			_exit(EXIT_FAILURE);
	_exit(size < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void start_child(int listener, int conn)
{
	struct child *child = malloc(sizeof(*child));
	sigset_t all, usual;

	if (!child) {
		perror("malloc");
		return;
	}
	/* A SIGTERM between fork and the child's own dispositions would get lost in the pipe. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &usual);
	child->pid = fork();
	if (child->pid == 0) {
		signal(SIGCHLD, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		sigprocmask(SIG_SETMASK, &usual, NULL);
		close(wake[0]);
		close(wake[1]);
		close(listener);
		serve(conn);
	}
	sigprocmask(SIG_SETMASK, &usual, NULL);
	if (child->pid < 0) {
		perror("fork");
		free(child);
	} else {
		LIST_INSERT_HEAD(&children, child, link);
	}
}

int main(int argc, char *argv[])
{
	const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	bool is_full = false;
	struct child *child;

	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (make_pipe() < 0 || sigaction(SIGCHLD, &action, NULL) < 0 ||
	    sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0) {
		perror("signals");
		return 1;
	}

	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	fcntl(listener, F_SETFL, O_NONBLOCK);
	safe_log("listening on port %d", port);

	while (!told_to_stop) {
		struct pollfd watched[2] = {
			{ .fd = wake[0], .events = POLLIN },
			{ .fd = is_full ? -1 : listener, .events = POLLIN },
		};
		int ready = poll(watched, 2, is_full ? 1000 : -1);

		if (ready < 0)
			continue; /* the handler's byte is there by now */
		empty_pipe();
		if (reap(WNOHANG) || ready == 0)
			is_full = false;
		if (!(watched[1].revents & POLLIN))
			continue;

		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (conn >= 0) {
			start_child(listener, conn);
			close(conn);
		} else if (errno != EAGAIN && errno != EINTR) {
			is_full = errno != ECONNABORTED;
			perror("accept4");
		}
	}
	close(listener);
	LIST_FOREACH(child, &children, link)
		kill(child->pid, SIGTERM);
	reap(0);
	return 0;
}
