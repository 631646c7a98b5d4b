/*
 * Lab 4 with a listening socket for each family, kernel-style. The handlers set a flag and no
 * more; signals are blocked but in pselect, so main sees each flag in time, and reaps by itself.
 * The children stand in a binary tree (tsearch).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <search.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_LISTENERS 4

static volatile sig_atomic_t child_pending, stop_pending;

static int listeners[MAX_LISTENERS];
static int nr_listeners;
static void *children; /* a tree of pids */
static sigset_t waiting_mask;

static void note_signal(int sig)
{
	if (sig == SIGCHLD)
		child_pending = 1;
	else
		stop_pending = 1;
}

/* The keys are the pids themselves, in the place of pointers to them. */
static int compare_pids(const void *a, const void *b)
{
	const intptr_t left = (intptr_t)a, right = (intptr_t)b;

	return (left > right) - (left < right);
}

static void *key_of(pid_t pid)
{
	return (void *)(intptr_t)pid;
}

static void terminate_node(const void *node, VISIT visit, int depth)
{
	(void)depth;
	if (visit == postorder || visit == leaf)
		kill((pid_t)(intptr_t)*(void *const *)node, SIGTERM);
}

static void account(pid_t pid, int status)
{
	tdelete(key_of(pid), &children, compare_pids);
	if (WIFEXITED(status))
		printf("child %d exited with status %d\n", (int)pid, WEXITSTATUS(status));
	else
		printf("child %d killed by signal %d\n", (int)pid, WTERMSIG(status));
	fflush(stdout);
}

static int write_fully(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t ret = send(fd, data, len, MSG_NOSIGNAL);

		if (ret < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		data += ret;
		len -= (size_t)ret;
	}
	return 0;
}

static bool is_command(const char *line, size_t len)
{
	if (len && line[len - 1] == '\n')
		len--;
	else
		return false;
	if (len && line[len - 1] == '\r')
		len--;
	return len == 4 && !memcmp(line, "exit", 4);
}

static int session(int fd)
{
	const size_t size = 16384;
	bool partial = false;
	size_t used = 0;
	ssize_t ret;
	char *buf;
	int err;

	buf = malloc(size);
	if (!buf)
		return -ENOMEM;
	for (;;) {
		char *pos = buf, *nl;

		ret = recv(fd, buf + used, size - used, 0);
		if (ret < 0) {
			if (errno == EINTR)
				continue;
			err = -errno;
			goto out;
		}
		if (!ret) {
			err = write_fully(fd, buf, used);
			goto out;
		}
		used += (size_t)ret;
		while ((nl = memchr(pos, '\n', used))) {
			size_t len = (size_t)(nl - pos) + 1;

			err = 0;
			if (!partial && is_command(pos, len))
				goto out;
			err = write_fully(fd, pos, len);
			if (err)
				goto out;
			partial = false;
			pos += len;
			used -= len;
		}
		if (used == size) {
			err = write_fully(fd, pos, used);
			if (err)
				goto out;
			partial = true;
			used = 0;
		}
		memmove(buf, pos, used);
	}
out:
	free(buf);
	return err;
}

static void child_main(int fd)
{
	for (int i = 0; i < nr_listeners; i++)
		close(listeners[i]);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	sigprocmask(SIG_SETMASK, &waiting_mask, NULL);
	_exit(session(fd) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Takes one client from LISTENER. 0, or a negative errno. */
static int take_client(int listener)
{
	int fd, err = 0;
	pid_t pid;

	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	fflush(NULL);
	pid = fork();
	if (!pid)
		child_main(fd);
	if (pid < 0) {
		err = -errno;
		fprintf(stderr, "fork: %s\n", strerror(-err));
		err = 0; /* it concerns this client only */
		goto out;
	}
	if (!tsearch(key_of(pid), &children, compare_pids)) {
		fprintf(stderr, "no memory to remember child %d\n", (int)pid);
		kill(pid, SIGTERM);
	}
out:
	close(fd);
	return err;
}

static int add_listener(const struct addrinfo *ai)
{
	const int one = 1;
	int fd, err;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)))
		goto fail;
	if (ai->ai_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)))
		goto fail;
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, SOMAXCONN))
		goto fail;
	listeners[nr_listeners++] = fd;
	return 0;
fail:
	err = -errno;
	close(fd);
	return err == -EADDRNOTAVAIL ? 0 : err;
}

static int add_listeners(const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;
	int err;

	hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
	err = getaddrinfo(NULL, port, &hints, &list);
	if (err) {
		fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(err));
		return -EINVAL;
	}
	for (ai = list; ai && !err && nr_listeners < MAX_LISTENERS; ai = ai->ai_next)
		err = add_listener(ai);
	freeaddrinfo(list);
	if (!err && !nr_listeners)
		err = -EADDRNOTAVAIL;
	if (err)
		fprintf(stderr, "port %s: %s\n", port, strerror(-err));
	return err;
}

static bool is_port(const char *arg)
{
	char *end;
	unsigned long val;

	if (*arg < '0' || *arg > '9')
		return false;
	val = strtoul(arg, &end, 10);
	return !*end && val >= 1 && val <= 65535;
}

static void setup_signals(void)
{
	struct sigaction sa = { .sa_handler = note_signal };
	const int sigs[] = { SIGCHLD, SIGTERM, SIGINT };
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		sigaddset(&blocked, sigs[i]);
		sigaction(sigs[i], &sa, NULL);
	}
	sigprocmask(SIG_BLOCK, &blocked, &waiting_mask);
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_sec = 1 };
	bool exhausted = false;
	int status, i, err;
	pid_t pid;

	if (argc != 2 || !is_port(argv[1])) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	setup_signals();
	if (add_listeners(argv[1]))
		return 1;
	printf("listening on port %s, %d times\n", argv[1], nr_listeners);
	fflush(stdout);

	while (!stop_pending) {
		fd_set readable;
		int max = -1;

		FD_ZERO(&readable);
		for (i = 0; i < nr_listeners && !exhausted; i++) {
			FD_SET(listeners[i], &readable);
			if (listeners[i] > max)
				max = listeners[i];
		}
		status = pselect(max + 1, &readable, NULL, NULL, exhausted ? &pause : NULL,
				 &waiting_mask);
		exhausted = false;
		if (child_pending) {
			child_pending = 0;
			while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
				account(pid, status);
			continue;
		}
		if (status <= 0)
			continue;
		for (i = 0; i < nr_listeners; i++) {
			if (!FD_ISSET(listeners[i], &readable))
				continue;
			err = take_client(listeners[i]);
			if (!err || err == -EAGAIN || err == -EINTR)
				continue;
			fprintf(stderr, "accept4: %s\n", strerror(-err));
			if (err != -ECONNABORTED)
				exhausted = true;
		}
	}

	for (i = 0; i < nr_listeners; i++)
		close(listeners[i]);
	twalk(children, terminate_node);
	while ((pid = waitpid(-1, &status, 0)) > 0)
		account(pid, status);
	return 0;
}
