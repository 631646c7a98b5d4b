/*
 * Lab 3 kernel-style, with a ring of 64 KiB filled by readv and emptied by writev, in which lines
 * are found where they lie, over the edge or not. The child has a session of its own and gets
 * SIGKILL when the parent dies; poll comes before accept on a non-blocking listener.
 */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RING_SIZE (1U << 16)
#define RING_MASK (RING_SIZE - 1)

struct ring {
	uint32_t head; /* where the next byte goes */
	uint32_t scan; /* no newline before it */
	uint32_t tail; /* where the first byte of the line is */
	char data[RING_SIZE];
};

static char ring_at(const struct ring *r, uint32_t pos)
{
	return r->data[pos & RING_MASK];
}

static int ring_map(struct ring *r, uint32_t pos, uint32_t len, struct iovec iov[2])
{
	uint32_t off = pos & RING_MASK;
	uint32_t first = len < RING_SIZE - off ? len : RING_SIZE - off;

	iov[0] = (struct iovec){ r->data + off, first };
	iov[1] = (struct iovec){ r->data, len - first };
	return len > first ? 2 : 1;
}

static int ring_fill(struct ring *r, int fd)
{
	struct iovec iov[2];
	ssize_t ret;

	do {
		ret = readv(fd, iov, ring_map(r, r->head, RING_SIZE - (r->head - r->tail), iov));
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	r->head += (uint32_t)ret;
	return ret > 0;
}

static int ring_send(struct ring *r, int fd, uint32_t upto)
{
	struct iovec iov[2];

	while (r->tail != upto) {
		ssize_t ret = writev(fd, iov, ring_map(r, r->tail, upto - r->tail, iov));

		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0)
			return -errno;
		r->tail += (uint32_t)ret;
	}
	return 0;
}

static bool ring_is_exit(const struct ring *r, uint32_t len)
{
	uint32_t i;

	if (len != 5 && len != 6)
		return false;
	for (i = 0; i < 4; i++)
		if (ring_at(r, r->tail + i) != "exit"[i])
			return false;
	return len == 5 || ring_at(r, r->tail + 4) == '\r';
}

static int session(int fd)
{
	bool continued = false;
	struct ring *r;
	int err;

	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	while ((err = ring_fill(r, fd)) > 0) {
		while (r->scan != r->head) {
			if (ring_at(r, r->scan++) != '\n')
				continue;
			if (!continued && ring_is_exit(r, r->scan - r->tail)) {
				err = 0;
				goto out;
			}
			err = ring_send(r, fd, r->scan);
			if (err)
				goto out;
			continued = false;
		}
		if (r->head - r->tail == RING_SIZE) { /* a long line: this much of it */
			err = ring_send(r, fd, r->head);
			if (err)
				goto out;
			continued = true;
		}
	}
	if (!err)
		err = ring_send(r, fd, r->head);
out:
	free(r);
	return err;
}

static pid_t spawn_session(int listener, int fd)
{
	const pid_t parent = getpid();
	pid_t pid;

	pid = fork();
	if (pid)
		return pid < 0 ? -errno : pid;
	close(listener);
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(2);
	_exit(session(fd) ? 1 : 0);
}

int main(int argc, char **argv)
{
	struct pollfd wait = { .events = POLLIN };
	int port, fd, err;

	port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	wait.fd = tcp_listen(port);
	if (wait.fd < 0)
		return 1;
	if (fcntl(wait.fd, F_SETFL, O_NONBLOCK) < 0) {
		perror("fcntl");
		goto out_close;
	}
	while (poll(&wait, 1, -1) >= 0 || errno == EINTR) {
		fd = accept4(wait.fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				perror("accept4");
			continue;
		}
		err = spawn_session(wait.fd, fd);
		if (err < 0)
			fprintf(stderr, "fork: %s\n", strerror(-err));
		close(fd);
	}
	perror("poll");
out_close:
	close(wait.fd);
	return 1;
}
