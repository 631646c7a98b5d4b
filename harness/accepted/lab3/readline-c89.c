/*
 * Lab 3 in the C of 1989 with a readline of its own that fetches single characters out of a
 * static buffer, and hands out a long line in parts of MAXLINE. All state is static: each child
 * has its own copy of it, since fork comes before the first byte.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAXLINE 512

static char inbuf[2048];
static int in_count = 0;
static char *in_next;
static char line[MAXLINE];
static int line_begins = 1; /* the next part begins a line */
static char *me;

/* The next character into *C: 1, or 0 at the end, or -1. */
static int fetch(int fd, char *c)
{
	while (in_count <= 0) {
		in_count = (int)read(fd, inbuf, sizeof inbuf);
		if (in_count == 0)
			return 0;
		if (in_count < 0 && errno != EINTR)
			return -1;
		in_next = inbuf;
	}
	in_count--;
	*c = *in_next++;
	return 1;
}

/* A line or a part of one: its length, or 0 at the end, or -1. *WHOLE: it is all of a line. */
static int get_line(int fd, int *whole)
{
	int n, result, began;
	char c;

	began = line_begins;
	result = 1;
	c = '\0';
	for (n = 0; n < MAXLINE && c != '\n'; n++) {
		result = fetch(fd, &c);
		if (result <= 0)
			break;
		line[n] = c;
	}
	line_begins = (n > 0 && line[n - 1] == '\n');
	*whole = began && line_begins;
	return result < 0 ? -1 : n;
}

static int put_line(int fd, int n)
{
	char *p;
	int k;

	p = line;
	while (n > 0) {
		k = (int)write(fd, p, (size_t)n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		p += k;
		n -= k;
	}
	return 0;
}

static int is_command(int n)
{
	static char lf[] = "exit\n", crlf[] = "exit\r\n";

	return (n == (int)sizeof lf - 1 && memcmp(line, lf, sizeof lf - 1) == 0) ||
	       (n == (int)sizeof crlf - 1 && memcmp(line, crlf, sizeof crlf - 1) == 0);
}

static int converse(int fd)
{
	int n, whole;

	for (;;) {
		n = get_line(fd, &whole);
		if (n <= 0)
			return n;
		if (whole && is_command(n))
			return 0;
		if (put_line(fd, n) < 0)
			return -1;
	}
}

static void quit(char *call)
{
	fprintf(stderr, "%s: %s: %s\n", me, call, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int listener, fd, on;
	long port;
	char *end;

	me = argv[0];
	port = 0;
	if (argc == 2 && argv[1][0] > '0' && argv[1][0] <= '9') {
		port = strtol(argv[1], &end, 10);
		if (*end != '\0' || port > 65535L)
			port = 0;
	}
	if (port == 0) {
		fprintf(stderr, "usage: %s port\n", me);
		exit(2);
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if ((listener = socket(AF_INET, SOCK_STREAM, 0)) < 0)
		quit("socket");
	on = 1;
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, (char *)&on, sizeof on) < 0)
		quit("setsockopt");
	memset((char *)&addr, 0, sizeof addr);
	addr.sin_family = AF_INET;
	addr.sin_addr.s_addr = htonl(INADDR_ANY);
	addr.sin_port = htons((unsigned short)port);
	if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0)
		quit("bind");
	if (listen(listener, SOMAXCONN) < 0)
		quit("listen");
	for (;;) {
		fd = accept(listener, (struct sockaddr *)0, (socklen_t *)0);
		if (fd < 0) {
			fprintf(stderr, "%s: accept: %s\n", me, strerror(errno));
			continue;
		}
		switch (fork()) {
		case -1:
			fprintf(stderr, "%s: fork: %s\n", me, strerror(errno));
			break;
		case 0:
			close(listener);
			_exit(converse(fd) < 0 ? 1 : 0);
		}
		close(fd);
	}
	/* NOTREACHED */
}
