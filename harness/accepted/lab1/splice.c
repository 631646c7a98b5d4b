/*
 * Lab 1 without a buffer: splice moves the bytes from the connection into a pipe and from the
 * pipe back into the connection, so the program never has one of them in its own memory.
 * Each client gets a new pipe: what is left in it when a client vanishes goes with it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 65536, READ_END = 0, WRITE_END = 1 };

/* Moves exactly SIZE bytes out of the pipe. */
static int drain(int from, int to, ssize_t size)
{
	while (size > 0) {
		ssize_t n = splice(from, NULL, to, NULL, (size_t)size, SPLICE_F_MOVE);
		if (n > 0)
			size -= n;
		else if (n == 0 || errno != EINTR)
			return -1;
	}
	return 0;
}

static void turn_around(int conn)
{
	int duct[2];
	ssize_t n;

	if (pipe2(duct, O_CLOEXEC) < 0) {
		perror("pipe2");
		return;
	}
	for (;;) {
		n = splice(conn, NULL, duct[WRITE_END], NULL, AT_ONCE, SPLICE_F_MOVE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || drain(duct[READ_END], conn, n) < 0)
			break;
	}
	if (n != 0)
		perror("splice");
	close(duct[READ_END]);
	close(duct[WRITE_END]);
}

int main(int argc, char *argv[])
{
	unsigned port;
	char rest;

	/* Digits only, since scanf's %u takes a sign and blanks too; at most 5 of them. */
	if (argc != 2 || argv[1][0] < '0' || argv[1][0] > '9' ||
	    sscanf(argv[1], "%5u%c", &port, &rest) != 1 || port == 0 || port > UINT16_MAX) {
		fprintf(stderr, "usage: %s PORT\n", argc > 0 ? argv[0] : "splice");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);

	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	const char *failed = NULL;

	if (listener < 0)
		failed = "socket";
	else if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) < 0)
		failed = "SO_REUSEADDR";
	else if (bind(listener, (struct sockaddr *)&any, sizeof(any)) < 0)
		failed = "bind";
	else if (listen(listener, SOMAXCONN) < 0)
		failed = "listen";
	if (failed) {
		perror(failed);
		return 1;
	}
	for (;;) {
		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0) {
			perror("accept4");
			continue;
		}
		turn_around(conn);
		close(conn);
	}
}
