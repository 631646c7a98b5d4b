/*
 * actor: plays the process that a test needs: actor ROLE [ARG ...]. Further arguments are ignored:
 * they mark what a test started.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void stay(void)
{
	for (;;)
		pause();
}

static void deafen(void)
{
	sigset_t all;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

static void nap(long milliseconds)
{
	struct timespec left = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&left, &left) < 0)
		;
}

/* Forks twice with a session of its own, as daemons do; the first two of the three end. */
static void daemonise(void)
{
	if (fork() > 0)
		_exit(0);
	setsid();
	if (fork() > 0)
		_exit(0);
	setsid();
	chdir("/");
	for (int fd = 0; fd < 64; fd++)
		close(fd);
}

static int listen_at(const char *port, bool everywhere)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	addr.sin_addr.s_addr = htonl(everywhere ? INADDR_ANY : INADDR_LOOPBACK);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 16) < 0)
		_exit(1);
	return listener;
}

static void try_to_open(int signal_number)
{
	int fd = open("/dev/null", O_RDONLY);
	const char *word = fd >= 0 ? "opened\n" : errno == EMFILE ? "EMFILE\n" : "?\n";

	(void)signal_number;
	write(1, word, strlen(word));
	if (fd >= 0)
		close(fd);
}

static void serve_in_child(int listener)
{
	char byte;
	int conn = accept(listener, NULL, NULL);

	if (fork() == 0) {
		read(conn, &byte, 1);
		_exit(0);
	}
}

static void *sleep_in_thread(void *unused)
{
	stay();
	return unused;
}

int main(int argc, char *argv[])
{
	const char *role = argv[1], *arg = argc > 2 ? argv[2] : "";
	char byte;
	int pipe_fds[2];

	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(role, "exit"))
		return atoi(arg);
	if (!strcmp(role, "raise"))
		raise(atoi(arg));
	else if (!strcmp(role, "say")) {
		printf("out\n");
		fprintf(stderr, "err\n");
	} else if (!strcmp(role, "masks")) {
		char text[4096];
		int fd = open("/proc/self/status", O_RDONLY);

		write(1, text, read(fd, text, sizeof(text)));
		return 0;
	} else if (!strcmp(role, "ignore"))
		signal(SIGCHLD, SIG_IGN);
	else if (!strcmp(role, "catch")) {
		sigset_t set;

		signal(SIGCHLD, try_to_open);
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		sigprocmask(SIG_BLOCK, &set, NULL);
	} else if (!strcmp(role, "rename"))
		prctl(PR_SET_NAME, arg);
	else if (!strcmp(role, "daemonise")) {
		daemonise();
		deafen();
	} else if (!strcmp(role, "with-daemon")) {
		if (fork() == 0)
			daemonise();
	} else if (!strcmp(role, "deaf"))
		deafen();
	else if (!strcmp(role, "stopped")) {
		if (fork() == 0)
			raise(SIGSTOP);
	} else if (!strcmp(role, "many")) {
		for (int i = atoi(arg); i > 0; i--)
			if (fork() == 0)
				break;
	} else if (!strcmp(role, "bomb")) {
		deafen();
		for (;;)
			fork();
	} else if (!strcmp(role, "hydra")) { /* whoever is killed has a successor by then */
		deafen();
		for (;;) {
			if (fork() > 0)
				_exit(0);
			setsid();
		}
	} else if (!strcmp(role, "count")) {
		int count = 1;

		while ((fork() ?: (stay(), 0)) > 0)
			count++;
		printf("%d\n", count);
		return 0;
	} else if (!strcmp(role, "flood")) {
		static char block[65536];

		while (write(1, block, sizeof(block)) > 0)
			;
	} else if (!strcmp(role, "allocate"))
		printf("%s\n", malloc(atol(arg)) ? "got it" : "refused");
	else if (!strcmp(role, "zombie")) {
		if (fork() == 0)
			return 0;
	} else if (!strcmp(role, "thread")) {
		pthread_t thread;

		pthread_create(&thread, NULL, sleep_in_thread, NULL);
	} else if (!strcmp(role, "burn"))
		for (;;)
			;
	else if (!strcmp(role, "late")) {
		nap(atol(arg));
		printf("late\n");
	} else if (!strcmp(role, "opener")) {
		signal(SIGUSR1, try_to_open);
		printf("ready\n");
	} else if (!strcmp(role, "listen"))
		listen_at(arg, true);
	else if (!strcmp(role, "listen-loopback"))
		listen_at(arg, false);
	else if (!strcmp(role, "listen-child")) {
		int listener = listen_at(arg, true);

		if (fork() > 0)
			close(listener);
	} else if (!strcmp(role, "accept"))
		accept(listen_at(arg, true), NULL, NULL);
	else if (!strcmp(role, "accept-and-stay"))
		printf("%d\n", accept(listen_at(arg, true), NULL, NULL) > 0);
	else if (!strcmp(role, "accept-and-fork"))
		serve_in_child(listen_at(arg, true));
	else if (!strcmp(role, "read")) {
		pipe(pipe_fds);
		read(pipe_fds[0], &byte, 1);
	} else if (!strcmp(role, "nap"))
		nap(600000);
	else if (!strcmp(role, "poll"))
		poll(NULL, 0, atoi(arg));
	else if (!strcmp(role, "select")) {
		struct timeval limit = { 600, 0 };

		select(0, NULL, NULL, NULL, strcmp(arg, "timeout") ? NULL : &limit);
	} else if (!strcmp(role, "epoll")) {
		struct epoll_event event;

		epoll_wait(epoll_create1(0), &event, 1, atoi(arg));
	} else if (strcmp(role, "pause"))
		return 99;
	stay();
}
