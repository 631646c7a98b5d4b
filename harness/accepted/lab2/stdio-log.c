/*
 * Lab 2 with a log in stdio's full buffer, done right: it is emptied before each fork, so that
 * the child's copy is empty, and the child empties its own part before _exit. Thus every line
 * comes once, also into a file.
 */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static char log_buffer[1 << 15];

static void tell(const struct sockaddr_in *who, const char *what)
{
	char host[INET_ADDRSTRLEN] = "?";

	inet_ntop(AF_INET, &who->sin_addr, host, sizeof host);
	printf("[%ld] %s:%u %s", (long)getpid(), host, (unsigned)ntohs(who->sin_port), what);
	putchar('\n');
}

static _Noreturn void child_main(int fd, const struct sockaddr_in *who)
{
	char chunk[2048];
	ssize_t n;
	int status = 0;
	unsigned long long total = 0;

	tell(who, "begins");
	while ((n = read(fd, chunk, sizeof chunk)) != 0) {
		if (n < 0 || write_all(fd, chunk, (size_t)n) < 0) {
			printf("[%ld] %s\n", (long)getpid(), strerror(errno));
			status = 1;
			break;
		}
		total += (unsigned long long)n;
	}
	printf("[%ld] %llu bytes\n", (long)getpid(), total);
	tell(who, "ends");
	fflush(stdout);
	_exit(status);
}

int main(int argc, char **argv)
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	int listener;

	if (port == -1) {
		fputs("usage: server PORT\n", stderr);
		return 2;
	}
	setvbuf(stdout, log_buffer, _IOFBF, sizeof log_buffer);
	signal(SIGPIPE, SIG_IGN);
	listener = tcp_listen(port);
	if (listener == -1)
		return 1;
	printf("%ld: up on %d\n", (long)time(NULL), port);
	fflush(stdout);
	for (;;) {
		struct sockaddr_in who;
		socklen_t size = sizeof who;
		int fd = accept(listener, (struct sockaddr *)&who, &size);
		pid_t child;

		if (fd == -1) {
			perror("accept");
			continue;
		}
		tell(&who, "has come");
		fflush(stdout); /* or the child has this line too */
		child = fork();
		if (child == 0) {
			close(listener);
			child_main(fd, &who);
		}
		if (child == -1)
			printf("no child for it: %s\n", strerror(errno));
		else
			printf("child %ld has it\n", (long)child);
		close(fd);
	}
}
