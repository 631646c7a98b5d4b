/*
 * net.c: the small socket helpers that labs 2 to 4 share. See net.h for what each promises.
 */
#include "net.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int parse_port(const char *text)
{
	/* strtol would take " 80", "+80" and "-1" as well: a port begins with a digit. */
	if (!isdigit((unsigned char)text[0]))
		return -1;

	char *end;
	long port = strtol(text, &end, 10);

	/* All of the text must be the number. A number too large for long is LONG_MAX. */
	if (*end != '\0' || port < 1 || port > 65535)
		return -1;
	return (int)port;
}

int tcp_listen(int port)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0) {
		perror("socket");
		return -1;
	}

	/* Old connections may linger in TIME_WAIT; a restarted server need not wait for them. */
	int yes = 1;
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0) {
		perror("setsockopt");
		goto fail;
	}

	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_ANY),
	};
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		perror("bind");
		goto fail;
	}
	if (listen(listener, SOMAXCONN) < 0) {
		perror("listen");
		goto fail;
	}
	return listener;

fail:
	close(listener);
	return -1;
}

int write_all(int fd, const void *data, size_t size)
{
	const char *next = data;

	while (size > 0) {
		ssize_t n = write(fd, next, size);
		if (n < 0) {
			if (errno == EINTR)
				continue; /* a signal came before the first byte went */
			return -1;
		}
		/* write may take only a part: what the socket's buffer has room for. */
		next += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Adds what one read brings to the buffer. Bytes read, 0 at the end, -1 with errno. */
static ssize_t fill(struct line_reader *reader)
{
	ssize_t n;

	do
		n = read(reader->fd, reader->buffer + reader->end,
			 sizeof(reader->buffer) - reader->end);
	while (n < 0 && errno == EINTR);

	if (n > 0)
		reader->end += (size_t)n;
	return n;
}

ssize_t read_line(struct line_reader *reader, char **line)
{
	size_t seen = 0; /* bytes of this line that we know hold no newline */

	reader->continued = reader->unfinished;
	for (;;) {
		char *first = reader->buffer + reader->start;
		size_t size = reader->end - reader->start;
		char *newline = memchr(first + seen, '\n', size - seen);

		if (newline || size == sizeof(reader->buffer)) {
			if (newline)
				size = (size_t)(newline - first) + 1;
			reader->unfinished = !newline;
			reader->start += size;
			*line = first;
			return (ssize_t)size;
		}

		/* Not whole yet. Make room behind it and read on. */
		memmove(reader->buffer, first, size);
		reader->start = 0;
		reader->end = size;
		seen = size;

		ssize_t n = fill(reader);
		if (n < 0)
			return -1;
		if (n == 0) { /* the end: what is left is the last line, or nothing */
			reader->unfinished = true;
			reader->start = reader->end;
			*line = reader->buffer;
			return (ssize_t)size;
		}
	}
}
