/*
 * Lab 3 in batches: one recv into a buffer of a quarter of a megabyte, memchr cuts it into lines,
 * and one writev sends up to 64 of them. What is left of an unfinished line moves to the front;
 * a line that fills the whole buffer goes out in pieces.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define ROOM (256 * 1024)
#define BATCH 64

struct batch {
	int fd;
	int count;
	struct iovec line[BATCH];
};

static bool flush(struct batch *batch)
{
	struct iovec *first = batch->line;
	int left = batch->count;

	batch->count = 0;
	while (left > 0) {
		ssize_t n = writev(batch->fd, first, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		/* Strike off the lines that went whole, and shorten the one that did not. */
		while (left > 0 && (size_t)n >= first->iov_len) {
			n -= (ssize_t)first->iov_len;
			first++;
			left--;
		}
		if (n > 0) {
			first->iov_base = (char *)first->iov_base + n;
			first->iov_len -= (size_t)n;
		}
	}
	return true;
}

static bool add(struct batch *batch, char *text, size_t size)
{
	batch->line[batch->count++] = (struct iovec){ .iov_base = text, .iov_len = size };
	return batch->count < BATCH || flush(batch);
}

static bool says_exit(const char *line, size_t size)
{
	if (size < 5 || size > 6 || memcmp(line, "exit", 4) != 0)
		return false;
	return size == 5 || line[4] == '\r'; /* its last byte is a newline */
}

static bool session(int fd)
{
	static char room[ROOM];
	struct batch batch = { .fd = fd };
	size_t held = 0;
	bool in_line = false;

	for (;;) {
		ssize_t got = recv(fd, room + held, sizeof(room) - held, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0)
			return add(&batch, room, held) && flush(&batch);

		char *line = room, *end = room + held + got;
		char *look = room + held; /* before it, no newline */
		char *newline;
		while ((newline = memchr(look, '\n', (size_t)(end - look))) != NULL) {
			size_t size = (size_t)(newline + 1 - line);
			if (!in_line && says_exit(line, size))
				return flush(&batch);
			if (!add(&batch, line, size))
				return false;
			in_line = false;
			look = line = newline + 1;
		}
		held = (size_t)(end - line);
		if (held == sizeof(room)) {
			if (!add(&batch, line, held))
				return false;
			in_line = true;
			held = 0;
		}
		if (!flush(&batch))
			return false;
		memmove(room, line, held);
	}
}

int main(int argc, char *argv[])
{
	char *rest = NULL;
	long port = argc == 2 ? strtol(argv[1], &rest, 10) : 0;

	if (port < 1 || port > 65535 || *rest != '\0' || strspn(argv[1], "0123456789") == 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	/* One disposition for both, before anything can happen. */
	for (const int *s = (int[]){ SIGCHLD, SIGPIPE, 0 }; *s; s++)
		sigaction(*s, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);

	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 ||
	    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0 ||
	    bind(listener, (struct sockaddr *)&any, sizeof(any)) < 0 ||
	    listen(listener, SOMAXCONN) < 0) {
		perror("can't listen");
		return 1;
	}
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			perror("accept4");
			continue;
		}
		pid_t pid = fork();
		if (pid < 0)
			perror("fork");
		if (pid == 0) {
			close(listener);
			_exit(session(fd) ? EXIT_SUCCESS : EXIT_FAILURE);
		}
		close(fd);
	}
}
