/*
 * Lab 1 in both directions at once: the connection is non-blocking, poll says which way it is
 * free, and a ring buffer lies between; readv fills its two free parts, writev empties its two
 * full ones. The client may be slow to read and go on sending until the ring is full.
 */
#define _GNU_SOURCE
#include "net.h"
#include "safe_log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RING_SIZE 8192U /* a power of two: positions only ever grow, and wrap by a mask */

struct ring {
	unsigned in, out;
	char bytes[RING_SIZE];
};

/* Describes COUNT bytes of the ring from position FROM on in one or two parts. */
static int parts_of(struct ring *ring, unsigned from, unsigned count, struct iovec part[2])
{
	unsigned start = from & (RING_SIZE - 1);
	unsigned to_the_end = RING_SIZE - start;

	part[0].iov_base = ring->bytes + start;
	part[0].iov_len = count < to_the_end ? count : to_the_end;
	part[1].iov_base = ring->bytes;
	part[1].iov_len = count - part[0].iov_len;
	return part[1].iov_len ? 2 : 1;
}

static int not_now(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int serve(int conn)
{
	static struct ring ring;
	struct pollfd state = { .fd = conn };
	struct iovec part[2];
	int at_end = 0;
	ssize_t n;

	ring.in = ring.out = 0;
	while (!at_end || ring.in != ring.out) {
		unsigned full = ring.in - ring.out;

		state.events = 0;
		if (!at_end && full < RING_SIZE)
			state.events |= POLLIN;
		if (full > 0)
			state.events |= POLLOUT;
		if (poll(&state, 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if ((state.events & POLLIN) && (state.revents & (POLLIN | POLLHUP | POLLERR))) {
			n = readv(conn, part, parts_of(&ring, ring.in, RING_SIZE - full, part));
			if (n < 0 && !not_now())
				return -1;
			if (n == 0)
				at_end = 1;
			if (n > 0)
				ring.in += (unsigned)n;
		}
		if ((state.events & POLLOUT) && (state.revents & (POLLOUT | POLLHUP | POLLERR))) {
			full = ring.in - ring.out;
			n = writev(conn, part, parts_of(&ring, ring.out, full, part));
			if (n < 0 && !not_now())
				return -1;
			if (n > 0)
				ring.out += (unsigned)n;
		}
	}
	return 0;
}

int main(int argc, char *argv[])
{
	int port, listener;

	if (argc != 2 || (port = parse_port(argv[1])) < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if ((listener = tcp_listen(port)) < 0)
		return 1;
	safe_log("listening on port %d", port);
	for (;;) {
		struct sockaddr_in peer;
		socklen_t size = sizeof(peer);
		int conn = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK);

		if (conn < 0) {
			perror("accept4");
			continue;
		}
		log_client(&peer, "connected");
		if (serve(conn) < 0)
			safe_log("lost it: %s", strerror(errno));
		close(conn);
		log_client(&peer, "gone");
	}
}
