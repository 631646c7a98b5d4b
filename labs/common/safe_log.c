/*
 * safe_log.c: one line an event, in one write. See safe_log.h for why not printf.
 */
#include "safe_log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

struct line {
	size_t size;
	char text[200];
};

static void add_char(struct line *line, char c)
{
	if (line->size < sizeof(line->text) - 1) /* the last byte is for the newline */
		line->text[line->size++] = c;
}

static void add_string(struct line *line, const char *string)
{
	while (*string)
		add_char(line, *string++);
}

static void add_int(struct line *line, int value)
{
	char digits[12];
	size_t n = 0;
	unsigned rest = value < 0 ? 0U - (unsigned)value : (unsigned)value;

	if (value < 0)
		add_char(line, '-');
	do
		digits[n++] = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	while (n > 0)
		add_char(line, digits[--n]);
}

/*
 * Safe in a signal handler: all it touches is its own stack, and the one function of the
 * C library that it calls, write, is on the list in signal-safety(7).
 */
void safe_log(const char *format, ...)
{
	int saved_errno = errno;
	struct line line = { .size = 0 };
	va_list args;

	va_start(args, format);
	for (const char *p = format; *p; p++) {
		if (p[0] == '%' && p[1] == 'd') {
			add_int(&line, va_arg(args, int));
			p++;
		} else if (p[0] == '%' && p[1] == 's') {
			add_string(&line, va_arg(args, const char *));
			p++;
		} else {
			add_char(&line, *p);
		}
	}
	va_end(args);

	line.text[line.size++] = '\n';
	/* A log that can't be written (a full disk, a closed pipe) must not stop the server. */
	ssize_t ignored = write(STDOUT_FILENO, line.text, line.size);
	(void)ignored;
	errno = saved_errno;
}

void log_client(const struct sockaddr_in *peer, const char *event)
{
	char ip[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof(ip));
	safe_log("client %s:%d %s", ip, ntohs(peer->sin_port), event);
}
