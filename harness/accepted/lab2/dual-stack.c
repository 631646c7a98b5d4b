/*
 * Lab 2 with an IPv6 socket that takes IPv4 clients too (and an IPv4 one where the machine has
 * no IPv6), addresses from getaddrinfo, names from getnameinfo, designated initialisers and a
 * struct for a session.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct session {
	int fd;
	struct sockaddr_storage peer;
	socklen_t peer_size;
	char name[NI_MAXHOST + NI_MAXSERV + 2];
};

static bool set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static int try_family(int family, const char *port)
{
	const struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	struct addrinfo *found = NULL;
	int fd = -1;

	if (getaddrinfo(NULL, port, &hints, &found) != 0)
		return -1;
	fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
	if (fd >= 0 && !(set(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
			 (family != AF_INET6 || set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) &&
			 bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
			 listen(fd, SOMAXCONN) == 0)) {
		const int why = errno;
		close(fd);
		errno = why;
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

static bool valid(const char *port)
{
	size_t digits = strspn(port, "0123456789");
	long number = strtol(port, NULL, 10);

	return digits > 0 && port[digits] == '\0' && number > 0 && number < 65536;
}

static void log_session(const struct session *s, const char *event)
{
	dprintf(STDOUT_FILENO, "%s %s\n", s->name, event);
}

static void name_it(struct session *s)
{
	char host[NI_MAXHOST] = "?", service[NI_MAXSERV] = "?";

	getnameinfo((struct sockaddr *)&s->peer, s->peer_size, host, sizeof host, service,
		    sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(s->name, sizeof s->name, "%s %s", host, service);
}

static bool run(struct session *s)
{
	char data[1024];

	for (;;) {
		ssize_t size = recv(s->fd, data, sizeof data, 0);
		if (size <= 0)
			return size == 0;
		for (ssize_t sent = 0; sent < size;) {
			ssize_t n = send(s->fd, data + sent, (size_t)(size - sent), MSG_NOSIGNAL);
			if (n < 0)
				return false;
			sent += n;
		}
	}
}

int main(int argc, char *argv[])
{
	if (argc != 2 || !valid(argv[1])) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}

	int listener = try_family(AF_INET6, argv[1]);
	if (listener < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
		listener = try_family(AF_INET, argv[1]);
	if (listener < 0) {
		fprintf(stderr, "can't listen on %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	while (true) {
		struct session s = { .peer_size = sizeof s.peer };

		s.fd = accept(listener, (struct sockaddr *)&s.peer, &s.peer_size);
		if (s.fd < 0)
			continue;
		switch (fork()) {
		case 0:
			close(listener);
			name_it(&s);
			log_session(&s, "is here");
			bool well = run(&s);
			log_session(&s, well ? "left" : "vanished");
			_exit(well ? EXIT_SUCCESS : EXIT_FAILURE);
		case -1:
			fprintf(stderr, "fork: %s\n", strerror(errno));
			/* fall through */
		default:
			close(s.fd);
		}
	}
}
