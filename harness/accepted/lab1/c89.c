/*
 * Lab 1 in the C of 1989: declarations come first, truth is an int, all state lives in static
 * globals, and the number of the port is put together digit by digit. Needs no other file.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK 1024

static char *program;
static int door = -1;
static int guest = -1;
static char block[BLOCK];
static long echoed;

static void die(char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
	exit(1);
}

static int to_port(char *s)
{
	long sum;
	int i;

	sum = 0;
	for (i = 0; s[i] != '\0'; i++) {
		if (s[i] < '0' || s[i] > '9' || i == 5)
			return 0;
		sum = 10 * sum + (s[i] - '0');
	}
	return sum > 65535L ? 0 : (int)sum;
}

static void open_door(int port)
{
	struct sockaddr_in here;
	int on;

	door = socket(AF_INET, SOCK_STREAM, 0);
	if (door == -1)
		die("socket");
	on = 1;
	if (setsockopt(door, SOL_SOCKET, SO_REUSEADDR, (char *)&on, sizeof on) == -1)
		die("setsockopt");
	memset(&here, 0, sizeof here);
	here.sin_family = AF_INET;
	here.sin_addr.s_addr = htonl(INADDR_ANY);
	here.sin_port = htons((unsigned short)port);
	if (bind(door, (struct sockaddr *)&here, sizeof here) == -1)
		die("bind");
	if (listen(door, SOMAXCONN) == -1)
		die("listen");
}

/* Sends the first N bytes of block back. 1 for done, 0 for a guest who can't be reached. */
static int give_back(int n)
{
	int sent, k;

	for (sent = 0; sent < n; sent += k) {
		k = (int)write(guest, block + sent, (size_t)(n - sent));
		if (k == -1 && errno == EINTR)
			k = 0;
		else if (k == -1)
			return 0;
	}
	echoed += n;
	return 1;
}

static void entertain(void)
{
	int n;

	echoed = 0;
	do {
		n = (int)read(guest, block, sizeof block);
		if (n == -1 && errno != EINTR)
			fprintf(stderr, "%s: read: %s\n", program, strerror(errno));
		if (n == -1 && errno != EINTR)
			break;
	} while (n == -1 || (n > 0 && give_back(n)));
	fprintf(stderr, "%s: %ld bytes went back\n", program, echoed);
}

int main(int argc, char **argv)
{
	int port;

	program = argc > 0 ? argv[0] : "server";
	port = argc == 2 ? to_port(argv[1]) : 0;
	if (port == 0) {
		fprintf(stderr, "usage: %s PORT\n", program);
		exit(2);
	}
	signal(SIGPIPE, SIG_IGN);
	open_door(port);
	while (1) {
		guest = accept(door, (struct sockaddr *)0, (socklen_t *)0);
		if (guest == -1) {
			perror("accept");
			continue;
		}
		entertain();
		close(guest);
	}
	/* NOTREACHED */
}
