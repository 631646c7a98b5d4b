/*
 * net.h: the small socket helpers that labs 2 to 4 share.
 *
 * Lab 1 has you write the first three yourself. Each returns an error to its caller
 * with errno set; none of them ends the program.
 */
#ifndef FORKLAB_NET_H
#define FORKLAB_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The port that TEXT names, 1 to 65535, or -1 if it is anything but such a number. */
int parse_port(const char *text);

/*
 * A socket that listens on PORT at all IPv4 addresses of this machine, or -1.
 * When it is -1, the call that failed and the reason are on stderr.
 */
int tcp_listen(int port);

/* Writes all SIZE bytes, however many calls of write that takes. 0, or -1 with errno. */
int write_all(int fd, const void *data, size_t size);

/*
 * Reads lines out of a byte stream. TCP has no lines: one read() can bring half of one,
 * or five at once. What came too early waits in the buffer.
 *
 *	struct line_reader reader = { .fd = conn };
 */
struct line_reader {
	int fd;
	bool continued;    /* the last piece began in the middle of a line */
	bool unfinished;   /* the last piece did not end with a newline */
	size_t start, end; /* what is read and not yet handed out: buffer[start..end) */
	char buffer[4096];
};

/*
 * Sets *LINE to the next line, its '\n' included, and returns its length. Bytes are bytes:
 * the line may hold NULs, and no NUL follows it. A line longer than the buffer comes in
 * pieces; the last line of the stream may lack its '\n'. 0 at the end of the stream,
 * -1 with errno when reading fails. *LINE is good until the next call.
 */
ssize_t read_line(struct line_reader *reader, char **line);

#endif
