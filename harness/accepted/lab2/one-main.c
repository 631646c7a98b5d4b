/*
 * Lab 2 as one main with labels: parent and child part ways at a goto, and every way out of a
 * session goes through the same lines. The child takes what has come in one gulp of up to a
 * megabyte, from the heap.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	enum { GULP = 1024 * 1024 };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int listener = -1, conn = -1, port = 0, status = 1, on = 1, ready = 0;
	const char *step = "arguments";
	char *gulp = NULL, *digit;
	size_t size, done;
	ssize_t n;

	if (argc != 2 || *argv[1] == '\0')
		goto usage;
	for (digit = argv[1]; *digit; digit++) {
		if (*digit < '0' || *digit > '9')
			goto usage;
		port = 10 * port + *digit - '0';
		if (port > 65535)
			goto usage;
	}
	if (port == 0)
		goto usage;
	signal(SIGPIPE, SIG_IGN);

	step = "socket";
	if ((listener = socket(AF_INET, SOCK_STREAM, 0)) < 0)
		goto failed;
	step = "setsockopt";
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		goto failed;
	step = "bind";
	addr.sin_port = htons((unsigned short)port);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		goto failed;
	step = "listen";
	if (listen(listener, SOMAXCONN) < 0)
		goto failed;

next_client:
	conn = accept(listener, NULL, NULL);
	if (conn < 0) {
		perror("accept");
		goto next_client;
	}
	switch (fork()) {
	case 0:
		goto child;
	case -1:
		perror("fork");
	}
	close(conn);
	goto next_client;

child:
	close(listener);
	step = "malloc";
	gulp = malloc(GULP);
	if (gulp == NULL)
		goto session_over;

more:
	/* Wait for the first byte only; then take all that is there. */
	step = "recv";
	n = recv(conn, gulp, 1, 0);
	if (n < 0 && errno == EINTR)
		goto more;
	if (n < 0)
		goto session_over;
	if (n == 0) {
		status = 0;
		goto session_over;
	}
	size = 1;
	if (ioctl(conn, FIONREAD, &ready) == 0 && ready > 0) {
		n = recv(conn, gulp + 1, ready < GULP - 1 ? (size_t)ready : GULP - 1, MSG_DONTWAIT);
		if (n > 0)
			size += (size_t)n;
	}
	step = "write";
	for (done = 0; done < size; done += (size_t)n) {
		n = write(conn, gulp + done, size - done);
		if (n < 0 && errno != EINTR)
			goto session_over;
		if (n < 0)
			n = 0;
	}
	goto more;

session_over:
	if (status != 0)
		perror(step);
	free(gulp);
	close(conn);
	_exit(status);

usage:
	fprintf(stderr, "usage: %s PORT\n", argv[0]);
	return 2;

failed:
	perror(step);
	if (listener >= 0)
		close(listener);
	return 1;
}
