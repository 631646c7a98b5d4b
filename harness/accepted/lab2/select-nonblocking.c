/*
 * Lab 2 with nothing that blocks but select and poll: the listener is non-blocking, and each
 * time select reports it the queue is emptied with accept4 until EAGAIN; the child's connection
 * is non-blocking and close-on-exec too, and poll waits for the direction that is needed.
 */
#define _GNU_SOURCE
#include "net.h"
#include "safe_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static int wait_for(int fd, short event)
{
	struct pollfd one = { .fd = fd, .events = event };

	while (poll(&one, 1, -1) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

static int echo(int conn)
{
	char buffer[6000];
	size_t held = 0, gone = 0;

	for (;;) {
		ssize_t n;
		short needed;

		if (gone == held) {
			needed = POLLIN;
			n = recv(conn, buffer, sizeof(buffer), 0);
			if (n == 0)
				return 0;
			if (n > 0) {
				held = (size_t)n;
				gone = 0;
			}
		} else {
			needed = POLLOUT;
			n = send(conn, buffer + gone, held - gone, MSG_NOSIGNAL);
			if (n > 0)
				gone += (size_t)n;
		}
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			return -1;
		if (n < 0 && errno != EINTR && wait_for(conn, needed) < 0)
			return -1;
	}
}

/* Gives each client that waits a child. */
static void take_all(int listener)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	int conn;

	while ((conn = accept4(listener, (struct sockaddr *)&peer, &size,
			       SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		pid_t pid = fork();

		if (pid == 0) {
			close(listener);
			log_client(&peer, "connected");
			int status = echo(conn) == 0 ? 0 : 1;
			log_client(&peer, "gone");
			_exit(status);
		} else if (pid < 0) {
			safe_log("fork: %s", strerror(errno));
		}
		close(conn);
		size = sizeof(peer);
	}
	if (errno != EAGAIN && errno != EWOULDBLOCK)
		safe_log("accept4: %s", strerror(errno));
}

int main(int argc, char *argv[])
{
	int port, listener;

	if (argc != 2 || (port = parse_port(argv[1])) == -1) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	if ((listener = tcp_listen(port)) == -1)
		return 1;
	if (fcntl(listener, F_SETFL, fcntl(listener, F_GETFL) | O_NONBLOCK) < 0) {
		perror("fcntl");
		return 1;
	}
	for (;;) {
		fd_set waiting;

		FD_ZERO(&waiting);
		FD_SET(listener, &waiting);
		if (select(listener + 1, &waiting, NULL, NULL, NULL) > 0)
			take_all(listener);
	}
}
