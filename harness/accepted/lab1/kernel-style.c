/*
 * Lab 1 the way kernel code looks: functions return 0 or a negative errno, each has one way out
 * with labels that undo what was done so far, and the buffer is a page from the heap. The log
 * goes through stdio, which is emptied after each event.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE 4096

#define pr_err(...) fprintf(stderr, "echo: " __VA_ARGS__)

static void pr_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stdout, fmt, ap);
	va_end(ap);
	fflush(stdout);
}

static int port_from_user(const char *arg, uint16_t *out)
{
	unsigned long val = 0;

	if (!*arg)
		return -EINVAL;
	for (; *arg; arg++) {
		if (*arg < '0' || *arg > '9')
			return -EINVAL;
		val = val * 10 + (unsigned long)(*arg - '0');
		if (val > UINT16_MAX)
			return -ERANGE;
	}
	if (!val)
		return -ERANGE;
	*out = (uint16_t)val;
	return 0;
}

static int echo_open(uint16_t port)
{
	struct sockaddr_in sin = { 0 };
	int one = 1;
	int fd, err;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0) {
		err = -errno;
		pr_err("socket: %s\n", strerror(-err));
		goto out;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one))) {
		err = -errno;
		pr_err("setsockopt: %s\n", strerror(-err));
		goto out_close;
	}
	sin.sin_family = AF_INET;
	sin.sin_port = htons(port);
	sin.sin_addr.s_addr = htonl(INADDR_ANY);
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin))) {
		err = -errno;
		pr_err("bind to port %u: %s\n", port, strerror(-err));
		goto out_close;
	}
	if (listen(fd, SOMAXCONN)) {
		err = -errno;
		pr_err("listen: %s\n", strerror(-err));
		goto out_close;
	}
	return fd;

out_close:
	close(fd);
out:
	return err;
}

static int echo_push(int fd, const char *page, size_t len)
{
	size_t pos = 0;

	do {
		ssize_t ret = write(fd, page + pos, len - pos);

		if (ret < 0 && errno != EINTR)
			return -errno;
		if (ret > 0)
			pos += (size_t)ret;
	} while (pos < len);
	return 0;
}

static int echo_session(int fd)
{
	char *page;
	ssize_t len;
	int err = 0;

	page = malloc(PAGE);
	if (!page) {
		err = -ENOMEM;
		goto out;
	}
	for (;;) {
		len = read(fd, page, PAGE);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			err = -errno;
		if (len <= 0)
			goto out_free;
		err = echo_push(fd, page, (size_t)len);
		if (err)
			goto out_free;
	}

out_free:
	free(page);
out:
	return err;
}

int main(int argc, char **argv)
{
	unsigned long serial = 0;
	uint16_t port;
	int lfd, cfd, err;

	if (argc != 2 || port_from_user(argv[1], &port)) {
		pr_err("usage: %s PORT\n", argv[0]);
		return 2;
	}
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return 1;
	lfd = echo_open(port);
	if (lfd < 0)
		return 1;
	pr_info("listening on port %u\n", port);
	for (;;) {
		cfd = accept(lfd, NULL, NULL);
		if (cfd < 0) {
			pr_err("accept: %s\n", strerror(errno));
			continue;
		}
		serial++;
		pr_info("session %lu begins\n", serial);
		err = echo_session(cfd);
		close(cfd);
		pr_info("session %lu ends: %s\n", serial, err ? strerror(-err) : "all well");
	}
}
