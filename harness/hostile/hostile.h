/*
 * hostile.h: what the hostile programs share: a right echo server (lab 2's), with two places where
 * a program does its mischief: once it listens, and when its first client has connected.
 *
 * What a program must not be able to do, it tells with managed(), and then stops serving: so that
 * the record shows both, a lost point and the words.
 *
 * Where nothing bounds them, the programs stop by themselves, at the bounds below.
 */
#ifndef FORKLAB_HOSTILE_H
#define FORKLAB_HOSTILE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "net.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEBIBYTE (1024L * 1024)
#define MOST_MEMORY (1536 * MEBIBYTE)
#define MOST_DISK (1024 * MEBIBYTE)
#define MOST_FILES 20000
#define MOST_SECONDS 300

/* Tells what should have been impossible, and ends. */
__attribute__((format(printf, 1, 2), noreturn, unused)) static void managed(const char *format, ...)
{
	char text[400] = "managed: ";
	va_list words;

	va_start(words, format);
	vsnprintf(text + 9, sizeof(text) - 10, format, words);
	va_end(words);
	strcat(text, "\n");
	write_all(STDOUT_FILENO, text, strlen(text));
	_exit(9);
}

/* Sleeps until a signal, or for as long as any of this may last. */
__attribute__((unused)) static void hang(void)
{
	const struct timespec long_time = { .tv_sec = MOST_SECONDS };

	nanosleep(&long_time, NULL);
}

/* Calls VISIT with the number of each process that /proc shows, other than our own. */
__attribute__((unused)) static void each_process(void (*visit)(pid_t pid))
{
	DIR *proc = opendir("/proc");

	for (struct dirent *entry; proc && (entry = readdir(proc)) != NULL;) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid > 0 && pid != getpid())
			visit(pid);
	}
	if (proc)
		closedir(proc);
}

/* Fills PATH with where the kit's NAME would be, seen from our own program; false: nowhere. */
__attribute__((unused)) static int find_in_kit(const char *name, char path[4096])
{
	char here[2048];
	ssize_t n = readlink("/proc/self/exe", here, sizeof(here) - 1);

	if (n < 0)
		return 0;
	here[n] = '\0';
	for (char *slash; (slash = strrchr(here, '/')) != NULL;) {
		*slash = '\0';
		snprintf(path, 4096, "%s/%s", here, name);
		if (access(path, F_OK) == 0)
			return 1;
	}
	return 0;
}

/* Never a value: without it, the compiler would say that what follows is never reached. */
__attribute__((unused)) static volatile int truth = 1;

static void serve_client(int conn)
{
	char buffer[4096];
	ssize_t n;

	while ((n = read(conn, buffer, sizeof(buffer))) > 0)
		if (write_all(conn, buffer, (size_t)n) < 0)
			break;
}

/* The whole server. Either piece of mischief may be NULL. */
__attribute__((unused)) static int serve(int argc, char *argv[], void (*when_listening)(void),
					 void (*at_first_client)(void))
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	if (when_listening)
		when_listening();

	for (int first = 1;; first = 0) {
		int conn = accept(listener, NULL, NULL);
		if (conn < 0) {
			perror("accept");
			continue;
		}
		if (first && at_first_client)
			at_first_client();
		switch (fork()) {
		case -1:
			perror("fork");
			break;
		case 0:
			close(listener);
			serve_client(conn);
			_exit(0);
		}
		close(conn);
	}
}

#endif
