/* Its own functions throughout, C89 in style, and one IPv6 socket for both families. */
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static char buffer[1000];
static size_t held;

static int send_all(int fd, const char *data, size_t size)
{
	ssize_t n;

	for (; size > 0; data += n, size -= (size_t)n) {
		n = send(fd, data, size, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -1;
	}
	return 0;
}

static void serve(int fd)
{
	int whole = 1; /* whether the buffer begins with the beginning of a line */
	ssize_t n;

	for (;;) {
		char *newline;
		size_t size;

		while ((newline = memchr(buffer, '\n', held)) != NULL || held == sizeof buffer) {
			size = newline ? (size_t)(newline - buffer) + 1 : held;
			if (whole && ((size == 5 && !memcmp(buffer, "exit\n", 5)) ||
				      (size == 6 && !memcmp(buffer, "exit\r\n", 6))))
				return;
			if (send_all(fd, buffer, size) < 0)
				return;
			memmove(buffer, buffer + size, held -= size);
			whole = newline != NULL;
		}
		do
			n = recv(fd, buffer + held, sizeof buffer - held, 0);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return;
		if (n == 0) {
			send_all(fd, buffer, held);
			return;
		}
		held += (size_t)n;
	}
}

static int open_listener(const char *port)
{
	struct addrinfo hints, *found;
	int fd, yes = 1, no = 0, why;

	memset(&hints, 0, sizeof hints);
	hints.ai_family = AF_INET6;
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
	if ((why = getaddrinfo(NULL, port, &hints, &found)) != 0) {
		fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(why));
		return -1;
	}
	fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 50) < 0) {
		fprintf(stderr, "cannot listen: %s\n", strerror(errno));
		return -1;
	}
	freeaddrinfo(found);
	return fd;
}

int main(int argc, char **argv)
{
	const char *c;
	int listener, fd;

	if (argc != 2 || strlen(argv[1]) > 5 || atoi(argv[1]) < 1 || atoi(argv[1]) > 65535) {
		fprintf(stderr, "one port, please\n");
		return EXIT_FAILURE;
	}
	for (c = argv[1]; *c; c++) {
		if (!isdigit((unsigned char)*c)) {
			fprintf(stderr, "that is no port: %s\n", argv[1]);
			return EXIT_FAILURE;
		}
	}
	if ((listener = open_listener(argv[1])) < 0)
		return EXIT_FAILURE;
	signal(SIGCHLD, SIG_IGN);
	printf("ready on %s\n", argv[1]);
	fflush(stdout);
	for (;;) {
		if ((fd = accept(listener, NULL, NULL)) < 0)
			continue;
		if (fork() == 0) {
			close(listener);
			serve(fd);
			_exit(0);
		}
		close(fd);
	}
}
