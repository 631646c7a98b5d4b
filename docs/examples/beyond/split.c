/*
 * split: an echo client in two processes. One sends what comes on stdin, the other shows what
 * comes back. Neither ever has to wait for the other.
 *
 *	split 9190 < FILE		as it should be
 *	split 9190 close < FILE		the sender only closes: the end never comes
 */
#include "net.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A connection to PORT of this machine, or -1 with errno. */
static int connect_to(int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int conn = socket(AF_INET, SOCK_STREAM, 0);

	if (conn < 0 || connect(conn, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return conn;
}

/* Copies what comes on FROM to TO, until its end. 0, or -1 with errno. */
static int copy(int from, int to)
{
	char buffer[4096];
	ssize_t n;

	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write_all(to, buffer, (size_t)n) < 0)
			return -1;
	return (int)n;
}

/* Sends stdin, tells the server that no more comes, and waits for RECEIVER. The exit status. */
static int send_all(int conn, pid_t receiver, bool only_close)
{
	int failed = copy(STDIN_FILENO, conn) < 0;

	if (only_close)
		close(conn); /* one descriptor of two: TCP hears nothing of it */
	else
		shutdown(conn, SHUT_WR); /* the connection itself, whoever has it open */

	int status;
	waitpid(receiver, &status, 0);
	return failed || status != 0;
}

int main(int argc, char *argv[])
{
	int port = argc == 2 || argc == 3 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT [close]\n", argv[0]);
		return 2;
	}

	int conn = connect_to(port);
	if (conn < 0) {
		perror("connect");
		return 1;
	}

	pid_t receiver = fork();
	switch (receiver) {
	case -1:
		perror("fork");
		return 1;
	case 0:
		_exit(copy(conn, STDOUT_FILENO) < 0);
	default:
		return send_all(conn, receiver, argc == 3);
	}
}
