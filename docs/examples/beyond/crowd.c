/*
 * crowd: many clients of an echo server, one after the other. Each connects, sends a line, waits
 * for its echo, and leaves.
 *
 *	crowd 9190 1000		a thousand of them
 */
#include "net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The time since some point in the past, in seconds. */
static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One client, from connect to close. 0, or -1 with errno. */
static int visit(int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	char echo[6];
	size_t size = 0;
	ssize_t n = 1;

	int conn = socket(AF_INET, SOCK_STREAM, 0);
	if (conn < 0)
		return -1;
	if (connect(conn, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    write_all(conn, "hello\n", sizeof(echo)) < 0)
		n = -1;
	while (n > 0 && size < sizeof(echo)) {
		n = read(conn, echo + size, sizeof(echo) - size);
		size += n > 0 ? (size_t)n : 0;
	}
	close(conn);
	return size == sizeof(echo) ? 0 : -1;
}

int main(int argc, char *argv[])
{
	int port = argc == 3 ? parse_port(argv[1]) : -1;
	long clients = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	if (port < 0 || clients < 1) {
		fprintf(stderr, "usage: %s PORT CLIENTS\n", argv[0]);
		return 2;
	}

	double start = now();
	for (long i = 0; i < clients; i++) {
		if (visit(port) < 0) {
			perror("client");
			return 1;
		}
	}
	printf("%.0f clients per second\n", (double)clients / (now() - start));
	return 0;
}
