/*
 * Lab 4 in today's C: one dual-stack IPv6 socket, designated initialisers, structs for what
 * belongs together. Each child is known by a pidfd as well, so that the SIGTERM at the end can
 * never hit a process that got a dead child's number. The handler reaps and tells; main closes
 * the pidfds of those who have ended. Without pidfds, kill does it.
 */
#define _GNU_SOURCE
#include "safe_log.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_CHILDREN = 800 };

struct child {
	volatile sig_atomic_t pid; /* 0: nobody is here */
	volatile sig_atomic_t ended;
	int pidfd; /* -1: none */
};

static struct server {
	struct child children[MAX_CHILDREN];
	volatile sig_atomic_t stopping;
	int listener;
	sigset_t signals, usual;
} server = { .listener = -1 };

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
	return (int)syscall(SYS_pidfd_open, pid, 0);
#else
	(void)pid;
	return -1;
#endif
}

static void ask_to_end(const struct child *child)
{
#ifdef SYS_pidfd_send_signal
	if (child->pidfd >= 0 &&
	    syscall(SYS_pidfd_send_signal, child->pidfd, SIGTERM, NULL, 0) == 0)
		return;
#endif
	kill(child->pid, SIGTERM);
}

static void tell(pid_t pid, int status)
{
	if (WIFSIGNALED(status))
		safe_log("child %d killed by signal %d", pid, WTERMSIG(status));
	else
		safe_log("child %d exited with status %d", pid, WEXITSTATUS(status));
}

static void on_child(int number)
{
	const int saved = errno;
	int status;

	(void)number;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0; tell(pid, status))
		for (struct child *c = server.children; c < server.children + MAX_CHILDREN; c++)
			if (c->pid == pid && !c->ended)
				c->ended = 1;
	errno = saved;
}

static void on_stop(int number)
{
	const int saved = errno;

	(void)number;
	if (!server.stopping)
		close(server.listener);
	server.stopping = 1;
	errno = saved;
}

/* Signals are blocked. Clears up after those who have ended, and finds a free place. */
static struct child *free_place(void)
{
	struct child *place = NULL;

	for (struct child *c = server.children; c < server.children + MAX_CHILDREN; c++) {
		if (c->pid && c->ended) {
			if (c->pidfd >= 0)
				close(c->pidfd);
			c->pid = 0;
		}
		if (!c->pid)
			place = c;
	}
	return place;
}

struct lines {
	size_t held;
	bool continued;
	char room[7000];
};

static bool send_all(int fd, struct iovec part)
{
	while (part.iov_len > 0) {
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
		const ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0)
			part = (struct iovec){ (char *)part.iov_base + n, part.iov_len - (size_t)n };
	}
	return true;
}

static bool equals(const char *line, size_t size, const char *text)
{
	return size == strlen(text) && memcmp(line, text, size) == 0;
}

static int serve(int fd)
{
	struct lines in = { .held = 0 };

	for (;;) {
		const ssize_t n = recv(fd, in.room + in.held, sizeof(in.room) - in.held, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return EXIT_FAILURE;
		if (n == 0)
			return !send_all(fd, (struct iovec){ in.room, in.held });
		in.held += (size_t)n;

		size_t at = 0;
		while (at < in.held) {
			char *line = in.room + at;
			const char *newline = memchr(line, '\n', in.held - at);
			const size_t size = newline ? (size_t)(newline - line) + 1 : in.held - at;

			if (!newline && size < sizeof(in.room))
				break;
			if (!in.continued &&
			    (equals(line, size, "exit\n") || equals(line, size, "exit\r\n")))
				return EXIT_SUCCESS;
			if (!send_all(fd, (struct iovec){ line, size }))
				return EXIT_FAILURE;
			in.continued = !newline;
			at += size;
		}
		in.held -= at;
		memmove(in.room, in.room + at, in.held);
	}
}

static void be_a_child(int conn, pid_t parent)
{
	for (const struct child *c = server.children; c < server.children + MAX_CHILDREN; c++)
		if (c->pid && c->pidfd >= 0)
			close(c->pidfd);
	close(server.listener);
	for (const int *s = (const int[]){ SIGCHLD, SIGTERM, SIGINT, 0 }; *s; s++)
		sigaction(*s, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	sigprocmask(SIG_SETMASK, &server.usual, NULL);
	_exit(serve(conn));
}

static void start_child(int conn)
{
	const pid_t parent = getpid();

	sigprocmask(SIG_BLOCK, &server.signals, &server.usual);
	struct child *place = free_place();
	const pid_t pid = place ? fork() : -1;
	if (pid == 0)
		be_a_child(conn, parent);
	if (pid > 0)
		*place = (struct child){ .pid = pid, .pidfd = open_pidfd(pid) };
	else
		fprintf(stderr, "a client is turned away: %s\n", place ? strerror(errno) : "full");
	sigprocmask(SIG_SETMASK, &server.usual, NULL);
}

static bool listen_on(long port)
{
	const struct sockaddr_in6 any = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((in_port_t)port),
		.sin6_addr = in6addr_any,
	};
	const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	server.listener = fd;
	return fd >= 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) == 0 &&
	       setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)) == 0 &&
	       bind(fd, (const struct sockaddr *)&any, sizeof(any)) == 0 &&
	       listen(fd, SOMAXCONN) == 0;
}

int main(int argc, char *argv[])
{
	char *end = NULL;
	const long port = argc == 2 && strchr("123456789", argv[1][0]) ? strtol(argv[1], &end, 10) : 0;

	if (port < 1 || port > 65535 || *end != '\0') {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	sigemptyset(&server.signals);
	sigaddset(&server.signals, SIGCHLD);
	sigaddset(&server.signals, SIGTERM);
	sigaddset(&server.signals, SIGINT);
	const struct {
		int number, flags;
		void (*handler)(int);
	} wanted[] = {
		{ .number = SIGCHLD, .handler = on_child, .flags = SA_RESTART | SA_NOCLDSTOP },
		{ .number = SIGTERM, .handler = on_stop },
		{ .number = SIGINT, .handler = on_stop },
	};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const struct sigaction action = {
			.sa_handler = wanted[i].handler,
			.sa_mask = server.signals,
			.sa_flags = wanted[i].flags,
		};
		sigaction(wanted[i].number, &action, NULL);
	}
	if (!listen_on(port)) {
		perror("can't listen");
		return 1;
	}

	while (!server.stopping) {
		const int conn = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);

		if (conn >= 0) {
			start_child(conn);
			close(conn);
		} else if (!server.stopping && errno != EINTR) {
			const bool transient = errno == ECONNABORTED;
			perror("accept4");
			if (!transient)
				sleep(1);
		}
	}
	sigprocmask(SIG_BLOCK, &server.signals, NULL);
	for (struct child *c = server.children; c < server.children + MAX_CHILDREN; c++)
		if (c->pid && !c->ended)
			ask_to_end(c);
	int status;
	for (pid_t pid; (pid = wait(&status)) > 0;)
		tell(pid, status);
	return 0;
}
