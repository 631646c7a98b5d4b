/*
 * Lab 4 with a handler that takes three arguments, reaps, and writes down in a ring what it
 * learnt; main, which is never interrupted but in ppoll, prints it with printf. The signals are
 * blocked all the time but there, so the ring needs no other protection. A handler that finds
 * the ring full leaves the rest for main to ask for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENDS 64
#define MOST 500

struct end {
	pid_t pid;
	int status;
};

static struct end ends[ENDS];
static volatile unsigned ends_in, ends_out;
static volatile sig_atomic_t asked_to_stop;
static pid_t living[MOST];
static int living_count;

static void note_ends(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)number;
	(void)info; /* it tells of one child only, and there may be more */
	(void)context;
	while (ends_in - ends_out < ENDS) {
		struct end *next = &ends[ends_in % ENDS];

		next->pid = waitpid(-1, &next->status, WNOHANG);
		if (next->pid <= 0)
			break;
		ends_in++;
	}
	errno = saved;
}

static void note_stop(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	asked_to_stop = 1;
}

/* Signals are blocked here. */
static void print_ends(void)
{
	while (ends_in != ends_out) {
		const struct end end = ends[ends_out++ % ENDS];
		const char *how = WIFEXITED(end.status) ? "exited with status" : "killed by signal";

		printf("child %ld %s %d\n", (long)end.pid, how,
		       WIFEXITED(end.status) ? WEXITSTATUS(end.status) : WTERMSIG(end.status));
		for (int i = 0; i < living_count; i++) {
			if (living[i] == end.pid) {
				living[i] = living[--living_count];
				break;
			}
		}
		if (ends_in == ends_out)
			note_ends(0, NULL, NULL); /* had it been full? */
	}
	fflush(stdout);
}

static bool send_all(int fd, const char *data, size_t size)
{
	ssize_t n;

	for (; size > 0; data += n, size -= (size_t)n)
		if ((n = send(fd, data, size, MSG_NOSIGNAL)) < 0) {
			if (errno != EINTR)
				return false;
			n = 0;
		}
	return true;
}

static int chat(int fd)
{
	char text[5000];
	size_t held = 0;
	bool fresh = true;
	ssize_t n;

	while ((n = recv(fd, text + held, sizeof(text) - held, 0)) != 0) {
		char *start = text, *nl;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 1;
		held += (size_t)n;
		while ((nl = memchr(start, '\n', held)) || held == sizeof(text)) {
			size_t size = nl ? (size_t)(nl - start) + 1 : held;

			if (fresh && nl && size >= 5 && size <= 6 && !memcmp(start, "exit", 4) &&
			    (size == 5 || start[4] == '\r'))
				return 0;
			if (!send_all(fd, start, size))
				return 1;
			fresh = nl != NULL;
			start += size;
			held -= size;
		}
		memmove(text, start, held);
	}
	return send_all(fd, text, held) ? 0 : 1;
}

static int open_port(const char *text)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	int fd, on = 1, port = 0;

	for (const char *p = text; *p >= '0' && *p <= '9' && port < 65536; p++)
		port = 10 * port + (*p - '0');
	if (port < 1 || port > 65535 || text[strspn(text, "0123456789")])
		return -2;
	at.sin_port = htons((in_port_t)port);
	if ((fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, SOMAXCONN) < 0)
		return -1;
	return fd;
}

static void catch(int number, void (*handler)(int, siginfo_t *, void *), const sigset_t *mask)
{
	struct sigaction how = { .sa_mask = *mask, .sa_flags = SA_SIGINFO };

	how.sa_sigaction = handler;
	sigaction(number, &how, NULL);
}

int main(int argc, char *argv[])
{
	struct pollfd door = { .events = POLLIN };
	sigset_t ours, outside;
	struct timespec nap = { .tv_sec = 1 };
	bool tired = false;

	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigprocmask(SIG_BLOCK, &ours, &outside);
	catch(SIGCHLD, note_ends, &ours);
	catch(SIGTERM, note_stop, &ours);
	catch(SIGINT, note_stop, &ours);

	door.fd = argc == 2 ? open_port(argv[1]) : -2;
	if (door.fd == -2) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	if (door.fd == -1) {
		fprintf(stderr, "port %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	while (!asked_to_stop) {
		/* Tired: accept has failed, so look for signals only, and for a second at most. */
		int ready = ppoll(&door, tired ? 0 : 1, tired ? &nap : NULL, &outside);

		tired = false;
		print_ends();
		if (ready <= 0)
			continue;

		int fd = accept4(door.fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			tired = errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				errno == ENOMEM;
			if (errno != EAGAIN)
				perror("accept4");
			continue;
		}
		pid_t pid = living_count < MOST ? fork() : -1;
		if (pid == 0) {
			signal(SIGCHLD, SIG_DFL);
			signal(SIGTERM, SIG_DFL);
			signal(SIGINT, SIG_DFL);
			sigprocmask(SIG_SETMASK, &outside, NULL);
			close(door.fd);
			_exit(chat(fd));
		}
		if (pid < 0)
			fprintf(stderr, "no child for this client\n");
		else
			living[living_count++] = pid;
		close(fd);
	}
	close(door.fd);
	for (int i = 0; i < living_count; i++)
		kill(living[i], SIGTERM);
	while (living_count > 0) {
		/* Nothing is left to do but to wait: sigsuspend lets the handler work. */
		note_ends(0, NULL, NULL);
		print_ends();
		if (living_count > 0)
			sigsuspend(&outside);
	}
	return EXIT_SUCCESS;
}
