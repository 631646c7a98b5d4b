/*
 * Lab 2 in old C with everything in static globals, which fork copies for each child anyway.
 * Two small buffers are filled by one readv and emptied by writev, whose short writes are
 * taken off the front of the vector.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int lsock, csock;
static struct sockaddr_in self;
static char left[700], right[900];
static struct iovec vec[2];
static pid_t kid;

static void full(void)
{
	vec[0].iov_base = left;
	vec[0].iov_len = sizeof left;
	vec[1].iov_base = right;
	vec[1].iov_len = sizeof right;
}

/* Leaves only the first N bytes in vec. */
static void cut(size_t n)
{
	if (n < vec[0].iov_len) {
		vec[0].iov_len = n;
		vec[1].iov_len = 0;
	} else {
		vec[1].iov_len = n - vec[0].iov_len;
	}
}

/* Takes the first N bytes out of vec. */
static void skip(size_t n)
{
	int i;
	size_t part;

	for (i = 0; i < 2; i++) {
		part = n < vec[i].iov_len ? n : vec[i].iov_len;
		vec[i].iov_base = (char *)vec[i].iov_base + part;
		vec[i].iov_len -= part;
		n -= part;
	}
}

static int echo(void)
{
	ssize_t n;

	for (;;) {
		full();
		if ((n = readv(csock, vec, 2)) <= 0)
			return n == 0 ? 0 : 1;
		cut((size_t)n);
		while (vec[0].iov_len + vec[1].iov_len > 0) {
			n = writev(csock, vec, 2);
			if (n < 0 && errno != EINTR)
				return 1;
			if (n > 0)
				skip((size_t)n);
		}
	}
}

static void check(int result, const char *call)
{
	if (result < 0) {
		perror(call);
		exit(1);
	}
}

int main(int argc, char *argv[])
{
	int one = 1;
	int port;
	char again[8];

	port = argc == 2 ? atoi(argv[1]) : 0;
	/* What atoi made of it must read the same when it is printed again. */
	if (port < 1 || port > 65535 || (sprintf(again, "%d", port), strcmp(again, argv[1])) != 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		exit(2);
	}
	signal(SIGPIPE, SIG_IGN);
	check(lsock = socket(AF_INET, SOCK_STREAM, 0), "socket");
	check(setsockopt(lsock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "setsockopt");
	self.sin_family = AF_INET;
	self.sin_port = htons((unsigned short)port);
	check(bind(lsock, (struct sockaddr *)&self, sizeof self), "bind");
	check(listen(lsock, SOMAXCONN), "listen");
	for (;;) {
		if ((csock = accept(lsock, NULL, NULL)) < 0) {
			perror("accept");
			continue;
		}
		if ((kid = fork()) < 0)
			perror("fork");
		if (kid == 0) {
			close(lsock);
			_exit(echo());
		}
		close(csock);
	}
}
