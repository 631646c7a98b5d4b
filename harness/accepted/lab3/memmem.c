/*
 * Lab 3 without lines: the command is a string to search for in the stream, "\nexit\n" or
 * "\nexit\r\n", as if a newline had come before the first byte. Only an end of the buffer that
 * may be the beginning of the string is kept back, six bytes at most.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LF "\nexit\n"
#define CRLF "\nexit\r\n"

static int push(int fd, const char *from, const char *to)
{
	while (from < to) {
		ssize_t n = send(fd, from, (size_t)(to - from), MSG_NOSIGNAL);
		if (n >= 0)
			from += n;
		else if (errno != EINTR)
			return -1;
	}
	return 0;
}

/* Where the command begins in the bytes from FROM to TO, or NULL. */
static char *find_command(char *from, char *to)
{
	char *lf = memmem(from, (size_t)(to - from), LF, strlen(LF));
	char *crlf = memmem(from, (size_t)(to - from), CRLF, strlen(CRLF));

	if (lf && crlf)
		return lf < crlf ? lf : crlf;
	return lf ? lf : crlf;
}

/* The newline after which the bytes up to TO may become the command, or TO if there is none. */
static char *find_unsure(char *from, char *to)
{
	char *newline = memrchr(from, '\n', (size_t)(to - from));
	size_t size;

	if (!newline)
		return to;
	size = (size_t)(to - newline);
	if ((size < strlen(LF) && memcmp(newline, LF, size) == 0) ||
	    (size < strlen(CRLF) && memcmp(newline, CRLF, size) == 0))
		return newline;
	return to;
}

static int echo(int fd)
{
	char buffer[10000];
	char *from = buffer; /* a byte that has gone back already, or the imagined newline */
	char *to = buffer;
	int first_is_done = 1;

	*to++ = '\n';
	for (;;) {
		ssize_t n = recv(fd, to, (size_t)(buffer + sizeof(buffer) - to), 0);
		char *found, *unsure;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 1;
		if (n == 0)
			return push(fd, from + first_is_done, to) < 0;
		to += n;

		found = find_command(from, to);
		if (found) /* the newline before the command belongs to the line before it */
			return found < from + first_is_done ?
				       0 :
				       push(fd, from + first_is_done, found + 1) < 0;

		/* A newline that is kept for the next search goes back at once all the same. */
		unsure = find_unsure(from, to);
		if (unsure == to) {
			if (push(fd, from + first_is_done, to) < 0)
				return 1;
			to = from = buffer;
			first_is_done = 0;
		} else {
			size_t size = (size_t)(to - unsure);

			if (unsure >= from + first_is_done &&
			    push(fd, from + first_is_done, unsure + 1) < 0)
				return 1;
			memmove(buffer, unsure, size);
			from = buffer;
			to = buffer + size;
			first_is_done = 1;
		}
	}
}

int main(int argc, char *argv[])
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	int listener, fd, one = 1;
	size_t digits;

	digits = argc == 2 ? strspn(argv[1], "0123456789") : 0;
	if (digits == 0 || digits > 5 || argv[1][digits] || atol(argv[1]) < 1 ||
	    atol(argv[1]) > 65535) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	sigemptyset(&ignore.sa_mask);
	if (sigaction(SIGCHLD, &ignore, NULL) < 0) {
		perror("sigaction");
		return 1;
	}
	at.sin_port = htons((in_port_t)atol(argv[1]));
	if ((listener = socket(AF_INET, SOCK_STREAM, 0)) < 0) {
		perror("socket");
		return 1;
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0) {
		perror("bind");
		return 1;
	}
	if (listen(listener, SOMAXCONN) < 0) {
		perror("listen");
		return 1;
	}
	for (;;) {
		if ((fd = accept(listener, NULL, NULL)) < 0)
			continue;
		switch (fork()) {
		case 0:
			close(listener);
			_exit(echo(fd));
		case -1:
			perror("fork");
		}
		close(fd);
	}
}
