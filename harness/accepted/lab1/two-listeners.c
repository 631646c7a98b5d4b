/*
 * Lab 1 with a listening socket for each family that getaddrinfo knows of (IPv4, and IPv6 where
 * the machine has it), poll over both of them, and recv and send, whose MSG_NOSIGNAL makes
 * SIGPIPE no subject. Clients are still served one at a time, whichever way they come.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_LISTENERS 8

static struct pollfd listeners[MOST_LISTENERS];
static nfds_t listener_count;

static int listen_at(const struct addrinfo *at)
{
	const int on = 1;
	int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK, at->ai_protocol);

	if (fd < 0) {
		if (errno == EAFNOSUPPORT)
			return 0; /* a machine without this family is none the worse */
		perror("socket");
		return -1;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		goto failed;
	/* Else the IPv6 socket would want the IPv4 addresses as well. */
	if (at->ai_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		goto failed;
	if (bind(fd, at->ai_addr, at->ai_addrlen) < 0) {
		if (errno == EADDRNOTAVAIL) {
			close(fd);
			return 0;
		}
		goto failed;
	}
	if (listen(fd, SOMAXCONN) < 0)
		goto failed;
	listeners[listener_count].fd = fd;
	listeners[listener_count].events = POLLIN;
	listener_count++;
	return 0;
failed:
	fprintf(stderr, "cannot listen: %s\n", strerror(errno));
	close(fd);
	return -1;
}

static int listen_everywhere(const char *port)
{
	struct addrinfo wanted, *all, *one;
	int bad, result = 0;

	memset(&wanted, 0, sizeof(wanted));
	wanted.ai_family = AF_UNSPEC;
	wanted.ai_socktype = SOCK_STREAM;
	wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
	bad = getaddrinfo(NULL, port, &wanted, &all);
	if (bad) {
		fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(bad));
		return -1;
	}
	for (one = all; one && result == 0 && listener_count < MOST_LISTENERS; one = one->ai_next)
		result = listen_at(one);
	freeaddrinfo(all);
	if (result == 0 && listener_count == 0) {
		fprintf(stderr, "no address to listen at\n");
		return -1;
	}
	return result;
}

static void echo(int fd)
{
	unsigned char bytes[16384];
	ssize_t got, sent, done;

	for (;;) {
		got = recv(fd, bytes, sizeof(bytes), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return;
		for (done = 0; done < got; done += sent) {
			sent = send(fd, bytes + done, (size_t)(got - done), MSG_NOSIGNAL);
			if (sent < 0 && errno == EINTR)
				sent = 0;
			if (sent < 0)
				return;
		}
	}
}

static int is_port(const char *text)
{
	size_t length = strlen(text);

	return length >= 1 && length <= 5 && strspn(text, "0123456789") == length &&
	       atoi(text) >= 1 && atoi(text) <= 65535;
}

int main(int argc, char **argv)
{
	nfds_t i;
	int fd;

	if (argc != 2 || !is_port(argv[1])) {
		fprintf(stderr, "Usage: %s PORT (1-65535)\n", argv[0]);
		return 2;
	}
	if (listen_everywhere(argv[1]) < 0)
		return 1;
	for (;;) {
		if (poll(listeners, listener_count, -1) < 0)
			continue;
		for (i = 0; i < listener_count; i++) {
			if (!(listeners[i].revents & POLLIN))
				continue;
			/* On Linux the new socket does not inherit O_NONBLOCK. */
			if ((fd = accept(listeners[i].fd, NULL, NULL)) < 0)
				continue;
			echo(fd);
			close(fd);
		}
	}
}
