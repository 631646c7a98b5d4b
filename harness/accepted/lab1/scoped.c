/*
 * Lab 1 in today's C: designated initialisers, compound literals, small structs handed around by
 * value, and descriptors that close themselves at the end of their scope (GNU C's cleanup
 * attribute). One IPv6 socket takes the IPv4 clients as well; send and recv instead of write
 * and read.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct span {
	const uint8_t *at;
	size_t left;
};

struct outcome {
	bool ok;
	const char *call;
	int error;
};

#define FINE ((struct outcome){ .ok = true })
#define FAILED(name) ((struct outcome){ .call = (name), .error = errno })

static void close_it(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define scoped __attribute__((cleanup(close_it)))

static struct outcome listen_on(uint16_t port, int *out)
{
	scoped int fd = socket(AF_INET6, SOCK_STREAM, 0);
	const struct sockaddr_in6 any = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = IN6ADDR_ANY_INIT,
	};
	const struct {
		int level, name, value;
		const char *call;
	} options[] = {
		{ SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR" },
		{ IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY" },
	};

	if (fd < 0)
		return FAILED("socket");
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			       sizeof(options[i].value)) < 0)
			return FAILED(options[i].call);
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return FAILED("bind");
	if (listen(fd, SOMAXCONN) < 0)
		return FAILED("listen");
	*out = fd;
	fd = -1; /* the caller's now */
	return FINE;
}

static struct outcome send_span(int fd, struct span span)
{
	while (span.left > 0) {
		const ssize_t n = send(fd, span.at, span.left, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return FAILED("send");
		span = (struct span){ .at = span.at + n, .left = span.left - (size_t)n };
	}
	return FINE;
}

static struct outcome echo(int fd)
{
	uint8_t room[3000];

	for (;;) {
		const ssize_t n = recv(fd, room, sizeof(room), 0);

		if (n == 0)
			return FINE;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return FAILED("recv");

		const struct outcome sent = send_span(fd, (struct span){ room, (size_t)n });
		if (!sent.ok)
			return sent;
	}
}

static bool complain(struct outcome outcome)
{
	if (!outcome.ok)
		fprintf(stderr, "%s: %s\n", outcome.call, strerror(outcome.error));
	return !outcome.ok;
}

static uint16_t port_in(const char *text)
{
	char *end = NULL;
	const unsigned long long value = strtoull(text, &end, 10);
	const bool digits_only = strspn(text, "0123456789") == strlen(text);

	return digits_only && end != text && value <= UINT16_MAX ? (uint16_t)value : 0;
}

int main(int argc, char *argv[])
{
	const uint16_t port = argc == 2 ? port_in(argv[1]) : 0;
	scoped int listener = -1;

	if (port == 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	if (complain(listen_on(port, &listener)))
		return EXIT_FAILURE;
	for (;;) {
		scoped int conn = accept(listener, NULL, NULL);

		if (conn < 0)
			perror("accept");
		else
			complain(echo(conn));
	}
}
