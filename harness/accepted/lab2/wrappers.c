/*
 * Lab 2 with a wrapper for each system call that deals with its errors, as some textbooks have
 * them. The child is a session leader of its own that dies with its parent (PDEATHSIG), and it
 * serves on descriptors 0 and 1, like a filter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static void fatal(const char *call)
{
	fprintf(stderr, "%s: %s\n", call, strerror(errno));
	exit(EXIT_FAILURE);
}

static int Socket(int family, int type)
{
	int fd = socket(family, type, 0);

	if (fd < 0)
		fatal("socket");
	return fd;
}

static void Reuse(int fd)
{
	int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		fatal("setsockopt");
}

static void Bind(int fd, in_addr_t address, in_port_t port)
{
	struct sockaddr_in where;

	memset(&where, 0, sizeof(where));
	where.sin_family = AF_INET;
	where.sin_addr.s_addr = htonl(address);
	where.sin_port = htons(port);
	if (bind(fd, (const struct sockaddr *)&where, sizeof(where)) < 0)
		fatal("bind");
}

static void Listen(int fd, int queue)
{
	if (listen(fd, queue) < 0)
		fatal("listen");
}

/* The errors of these two concern one client only: the wrappers return them. */
static int Accept(int fd)
{
	int conn;

	while ((conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0 && errno == EINTR)
		;
	if (conn < 0)
		fprintf(stderr, "accept4: %s\n", strerror(errno));
	return conn;
}

static pid_t Fork(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fprintf(stderr, "fork: %s\n", strerror(errno));
	return pid;
}

static void Dup2(int from, int to)
{
	if (dup2(from, to) < 0)
		_exit(EXIT_FAILURE);
}

static ssize_t Read(int fd, void *room, size_t size)
{
	ssize_t n;

	while ((n = read(fd, room, size)) < 0 && errno == EINTR)
		;
	return n;
}

static int Write(int fd, const char *data, size_t size)
{
	ssize_t n;

	if (size == 0)
		return 0;
	n = write(fd, data, size);
	if (n < 0)
		return errno == EINTR ? Write(fd, data, size) : -1;
	return Write(fd, data + n, size - (size_t)n);
}

static void filter(void)
{
	char room[1500];
	ssize_t n;

	while ((n = Read(STDIN_FILENO, room, sizeof(room))) > 0)
		if (Write(STDOUT_FILENO, room, (size_t)n) < 0)
			_exit(EXIT_FAILURE);
	_exit(n < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static long Port(int argc, char **argv)
{
	char *end;
	long port;

	if (argc == 2 && *argv[1] >= '1' && *argv[1] <= '9') {
		port = strtol(argv[1], &end, 10);
		if (*end == '\0' && port < 65536)
			return port;
	}
	fprintf(stderr, "usage: %s PORT\n", argv[0]);
	exit(2);
}

int main(int argc, char **argv)
{
	long port = Port(argc, argv);
	int listener = Socket(AF_INET, SOCK_STREAM);
	int conn;
	pid_t me = getpid();

	signal(SIGPIPE, SIG_IGN);
	Reuse(listener);
	Bind(listener, INADDR_ANY, (in_port_t)port);
	Listen(listener, SOMAXCONN);
	for (;;) {
		if ((conn = Accept(listener)) < 0)
			continue;
		if (Fork() == 0) {
			setsid();
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			if (getppid() != me) /* it died before we asked to be told */
				_exit(EXIT_FAILURE);
			Dup2(conn, STDIN_FILENO);
			Dup2(conn, STDOUT_FILENO);
			close(conn);
			close(listener);
			filter();
		}
		close(conn);
	}
}
