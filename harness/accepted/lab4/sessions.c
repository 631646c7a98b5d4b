/*
 * Lab 4 in old C, all of it in static globals: each child leads a session and a process group of
 * its own, which is what gets the SIGTERM. The children stand in a hash table that the handler
 * changes, so main looks at it behind sigprocmask only. The handler puts its line together by
 * itself, and a shut-down listener ends accept without a gap.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 1031 /* a prime */
#define FREE 0
#define USED_BEFORE (-1)

static volatile pid_t slot[SLOTS];
static volatile sig_atomic_t over;
static int lfd = -1;
static sigset_t guarded, normal;
static char text[1400];

/* The slot of WHO, or a place for it, or -1. */
static int find(pid_t who, int to_put)
{
	int i, tries;

	i = (int)(who % SLOTS);
	for (tries = 0; tries < SLOTS; tries++) {
		if (slot[i] == who)
			return i;
		if (to_put && (slot[i] == FREE || slot[i] == USED_BEFORE))
			return i;
		if (!to_put && slot[i] == FREE)
			return -1;
		i = (i + 1) % SLOTS;
	}
	return -1;
}

static char *put_text(char *p, char *s)
{
	while (*s)
		*p++ = *s++;
	return p;
}

static char *put_number(char *p, int n)
{
	if (n >= 10)
		p = put_number(p, n / 10);
	*p++ = (char)('0' + n % 10);
	return p;
}

static void report(pid_t who, int status)
{
	char line[80], *p;

	p = put_number(put_text(line, "child "), (int)who);
	if (WIFEXITED(status))
		p = put_number(put_text(p, " exited with status "), WEXITSTATUS(status));
	else
		p = put_number(put_text(p, " killed by signal "), WTERMSIG(status));
	*p++ = '\n';
	if (write(1, line, (size_t)(p - line)) < 0)
		return; /* nobody listens */
}

static void undertaker(int sig)
{
	int status, i, old;
	pid_t who;

	old = errno;
	(void)sig;
	for (;;) {
		who = waitpid((pid_t)-1, &status, WNOHANG);
		if (who <= 0)
			break;
		if ((i = find(who, 0)) >= 0)
			slot[i] = USED_BEFORE;
		report(who, status);
	}
	errno = old;
}

static void closing_time(int sig)
{
	int old;

	old = errno;
	(void)sig;
	over = 1;
	shutdown(lfd, SHUT_RDWR); /* whether accept waits already or will only begin to */
	errno = old;
}

static void install(int sig, void (*what)(int), int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof sa);
	sa.sa_handler = what;
	sa.sa_mask = guarded;
	sa.sa_flags = flags;
	if (sigaction(sig, &sa, NULL) < 0) {
		perror("sigaction");
		exit(1);
	}
}

static int put_all(int fd, char *p, int n)
{
	int k;

	for (; n > 0; p += k, n -= k) {
		k = (int)write(fd, p, (size_t)n);
		if (k < 0 && errno != EINTR)
			return -1;
		if (k < 0)
			k = 0;
	}
	return 0;
}

static int wait_on(int fd)
{
	int n, have, size, inside;
	char *nl;

	have = 0;
	inside = 0;
	for (;;) {
		n = (int)read(fd, text + have, sizeof text - (size_t)have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 || put_all(fd, text, have) < 0;
		have += n;
		while (have > 0) {
			nl = memchr(text, '\n', (size_t)have);
			if (nl == NULL && have < (int)sizeof text)
				break;
			size = nl == NULL ? have : (int)(nl - text) + 1;
			if (!inside && size == 5 && memcmp(text, "exit\n", 5) == 0)
				return 0;
			if (!inside && size == 6 && memcmp(text, "exit\r\n", 6) == 0)
				return 0;
			if (put_all(fd, text, size) < 0)
				return 1;
			inside = nl == NULL;
			have -= size;
			memmove(text, text + size, (size_t)have);
		}
	}
}

static void child(int fd)
{
	close(lfd);
	setsid();
	signal(SIGCHLD, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	sigprocmask(SIG_SETMASK, &normal, NULL);
	_exit(wait_on(fd));
}

static void welcome(int fd)
{
	pid_t who;
	int i;

	sigprocmask(SIG_BLOCK, &guarded, &normal);
	who = fork();
	if (who == 0)
		child(fd);
	if (who < 0) {
		perror("fork");
	} else if ((i = find(who, 1)) >= 0) {
		slot[i] = who;
	} else {
		fprintf(stderr, "too many clients\n");
		kill(who, SIGKILL);
	}
	sigprocmask(SIG_SETMASK, &normal, NULL);
}

static void end_all(void)
{
	int i, status;
	pid_t who;

	sigprocmask(SIG_BLOCK, &guarded, NULL);
	for (i = 0; i < SLOTS; i++)
		/* No such group yet: it has not come to setsid, and is told by its pid. */
		if (slot[i] > 0 && kill(-slot[i], SIGTERM) < 0)
			kill(slot[i], SIGTERM);
	while ((who = wait(&status)) > 0)
		report(who, status);
}

static void listen_on(int port)
{
	struct sockaddr_in here;
	int one;

	one = 1;
	memset(&here, 0, sizeof here);
	here.sin_family = AF_INET;
	here.sin_port = htons((unsigned short)port);
	here.sin_addr.s_addr = htonl(INADDR_ANY);
	lfd = socket(AF_INET, SOCK_STREAM, 0);
	if (lfd < 0 || setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(lfd, (struct sockaddr *)&here, sizeof here) < 0 || listen(lfd, SOMAXCONN) < 0) {
		perror("cannot listen");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int port, fd;
	char more;

	if (argc != 2 || strspn(argv[1], "0123456789") != strlen(argv[1]) || strlen(argv[1]) > 5 ||
	    sscanf(argv[1], "%d%c", &port, &more) != 1 || port < 1 || port > 65535) {
		fprintf(stderr, "usage: %s port\n", argv[0]);
		exit(2);
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&guarded);
	sigaddset(&guarded, SIGCHLD);
	sigaddset(&guarded, SIGTERM);
	sigaddset(&guarded, SIGINT);
	install(SIGCHLD, undertaker, SA_RESTART | SA_NOCLDSTOP);
	install(SIGTERM, closing_time, 0);
	install(SIGINT, closing_time, 0);
	listen_on(port);
	while (!over) {
		fd = accept(lfd, NULL, NULL);
		if (fd >= 0) {
			welcome(fd);
			close(fd);
			continue;
		}
		if (over || errno == EINTR || errno == ECONNABORTED)
			continue;
		perror("accept");
		sleep(1);
	}
	close(lfd);
	end_all();
	return 0;
}
