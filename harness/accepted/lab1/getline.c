/* Lab 1, echoing whole lines, NULs and all. */
#include "safe_log.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* The port that TEXT names, 1 to 65535, or -1 if it is anything but such a number. */
static int parse_port(const char *text)
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

/* A socket that listens on PORT, or -1 with the failed call and the reason on stderr. */
static int tcp_listen(int port)
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

/* Writes all SIZE bytes, however many calls of write that takes. 0, or -1 with errno. */
static int write_all(int fd, const void *data, size_t size)
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

/* Echoes the lines that come on CONN until its client sends no more. 0, or -1 with errno. */
static int serve_client(int conn)
{
	FILE *in = fdopen(conn, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int result = in ? 0 : -1;

	while (result == 0 && (n = getline(&line, &room, in)) > 0)
		result = write_all(conn, line, (size_t)n);
	free(line);
	if (in)
		fclose(in); /* and conn with it */
	return result;
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT    (a number from 1 to 65535)\n", argv[0]);
		return 2;
	}

	/* Writing to a closed connection raises SIGPIPE. Ignored, write fails with EPIPE. */
	signal(SIGPIPE, SIG_IGN);

	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);

	for (;;) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_size = sizeof(peer);
		int conn = accept(listener, (struct sockaddr *)&peer, &peer_size);
		if (conn < 0) {
			perror("accept"); /* this client is lost; the next may be luckier */
			continue;
		}
		log_client(&peer, "connected");

		if (serve_client(conn) < 0)
			perror("client");
		log_client(&peer, "gone");
	}
}
