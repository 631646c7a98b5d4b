/*
 * Lab 4 as one long main: since it has no function, it has no handler either. The signals come
 * through a signalfd, which epoll watches beside the listener; the listener is taken out of
 * epoll while there is no descriptor for a client. The children are in no table: they make up
 * a process group, led by the first of them, and only their number is known.
 */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int port, listener, events, loop, conn, status, running = 1, paused = 0;
	struct signalfd_siginfo what;
	struct epoll_event ev = { .events = EPOLLIN }, got;
	struct line_reader reader;
	sigset_t set, old;
	pid_t pid, group = 0;
	char *line;
	ssize_t n;
	unsigned long members = 0;

	if (argc != 2 || (port = parse_port(argv[1])) < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, &old);
	if ((listener = tcp_listen(port)) < 0)
		return 1;
	fcntl(listener, F_SETFL, O_NONBLOCK);
	events = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	loop = epoll_create1(EPOLL_CLOEXEC);
	if (events < 0 || loop < 0) {
		perror("signalfd, epoll_create1");
		return 1;
	}
	ev.data.fd = events;
	epoll_ctl(loop, EPOLL_CTL_ADD, events, &ev);
	ev.data.fd = listener;
	epoll_ctl(loop, EPOLL_CTL_ADD, listener, &ev);

	while (running) {
		n = epoll_wait(loop, &got, 1, paused ? 1000 : -1);
		if (n < 0)
			continue;

		/* After a second, or when something has happened: try the listener again. */
		if (paused) {
			ev.data.fd = listener;
			epoll_ctl(loop, EPOLL_CTL_ADD, listener, &ev);
			paused = 0;
		}
		if (n == 0)
			continue;

		if (got.data.fd == events) {
			while (read(events, &what, sizeof(what)) == sizeof(what))
				if (what.ssi_signo != SIGCHLD)
					running = 0;
			while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
				if (WIFEXITED(status))
					dprintf(1, "child %d exited with status %d\n", pid, WEXITSTATUS(status));
				else
					dprintf(1, "child %d killed by signal %d\n", pid, WTERMSIG(status));
				if (--members == 0)
					group = 0; /* its number may be used again */
			}
			continue;
		}

		conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0) {
			if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
				continue;
			perror("accept4");
			epoll_ctl(loop, EPOLL_CTL_DEL, listener, NULL);
			paused = 1;
			continue;
		}
		pid = fork();
		if (pid < 0) {
			perror("fork");
		} else if (pid > 0) {
			/* The first of them leads the group; parent and child both see to it. */
			if (members++ == 0)
				group = pid;
			setpgid(pid, group);
		} else {
			setpgid(0, group);
			close(listener);
			close(loop);
			close(events);
			sigprocmask(SIG_SETMASK, &old, NULL);
			memset(&reader, 0, sizeof(reader));
			reader.fd = conn;
			while ((n = read_line(&reader, &line)) > 0) {
				if (!reader.continued && n == 5 && memcmp(line, "exit\n", 5) == 0)
					_exit(0);
				if (!reader.continued && n == 6 && memcmp(line, "exit\r\n", 6) == 0)
					_exit(0);
				if (write_all(conn, line, (size_t)n) < 0)
					_exit(1);
			}
			_exit(n < 0);
		}
		close(conn);
	}

	close(listener);
	if (members > 0)
		kill(-group, SIGTERM);
	while ((pid = wait(&status)) > 0) {
		if (WIFEXITED(status))
			dprintf(1, "child %d exited with status %d\n", pid, WEXITSTATUS(status));
		else
			dprintf(1, "child %d killed by signal %d\n", pid, WTERMSIG(status));
	}
	return 0;
}
