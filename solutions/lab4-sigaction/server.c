/*
 * lab 4: a child for every client; the parent reaps each one and tells how it ended.
 *
 * Start it, connect two clients, kill one child by hand, then stop the server:
 *	make run LAB=4 PORT=9190		make client PORT=9190
 *	ps --forest -o pid,ppid,stat,caught,comm -C server
 *	kill -KILL <a child>			kill -TERM <the server>
 * Each end is one line of the log, and nothing stays behind.
 */
#include "net.h"
#include "safe_log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* step 4e: what the handlers share with main */
#define MAX_CHILDREN 1024

/* The children that live, in no order; 0 is a free place. */
static volatile sig_atomic_t children[MAX_CHILDREN];
/* The listening socket, and whether we were told to stop. */
static volatile sig_atomic_t listener = -1;
static volatile sig_atomic_t stopping;

/* Puts NEW where OLD stands in children. False if OLD is nowhere. */
static bool replace_child(pid_t old, pid_t new)
{
	for (int i = 0; i < MAX_CHILDREN; i++) {
		if (children[i] == old) {
			children[i] = new;
			return true;
		}
	}
	return false;
}
/* end 4e */

/* step 4a: reap, and tell */
static void log_child(pid_t pid, int status)
{
	if (WIFEXITED(status))
		safe_log("child %d exited with status %d", pid, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		safe_log("child %d killed by signal %d", pid, WTERMSIG(status));
}

/*
 * Handles SIGCHLD. Signals don't queue: one delivery may stand for many children, so it
 * asks until nobody is left to reap. WNOHANG: those that still live are not waited for.
 *
 * Safe in a handler: waitpid is on the list in signal-safety(7), safe_log keeps to it, and
 * main never looks at children while SIGCHLD can come. waitpid sets errno; the code that
 * was interrupted may be just about to read its own.
 */
static void reap_children(int signal_number)
{
	(void)signal_number;
	int saved_errno = errno;
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		replace_child(pid, 0);
		log_child(pid, status);
	}
	errno = saved_errno;
}
/* end 4a */

/* step 4i: stop in good order */
/*
 * Handles SIGTERM and SIGINT. Closing the listener here, and not only setting a flag, leaves
 * no gap: an accept that waits is interrupted, one that is about to wait fails with EBADF.
 */
static void stop_accepting(int signal_number)
{
	(void)signal_number;
	int saved_errno = errno;

	if (!stopping && listener >= 0)
		close(listener);
	stopping = 1;
	errno = saved_errno;
}

/* Ends every child and waits for it. SIGCHLD must be blocked. */
static void end_children(void)
{
	pid_t pid;
	int status;

	for (int i = 0; i < MAX_CHILDREN; i++)
		if (children[i] > 0)
			kill(children[i], SIGTERM);
	while ((pid = wait(&status)) > 0)
		log_child(pid, status);
}
/* end 4i */

/* step 4b: which signal gets which handler */
/* The signals that work on children and listener: while one is handled, the others wait. */
static sigset_t our_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return set;
}

static int handle(int signal_number, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_mask = our_signals(), .sa_flags = flags };

	action.sa_handler = handler;
	return sigaction(signal_number, &action, NULL);
}
/* end 4b */

/* Whether LINE, of SIZE bytes, is "exit" and nothing else. */
static bool is_exit(const char *line, size_t size)
{
	return (size == 5 && memcmp(line, "exit\n", 5) == 0) ||
	       (size == 6 && memcmp(line, "exit\r\n", 6) == 0);
}

/* Echoes the lines that come on CONN until "exit" or the end. 0, or -1 with errno. */
static int serve_client(int conn)
{
	struct line_reader reader = { .fd = conn };
	char *line;
	ssize_t n;

	while ((n = read_line(&reader, &line)) > 0) {
		if (!reader.continued && is_exit(line, (size_t)n))
			return 0;
		if (write_all(conn, line, (size_t)n) < 0)
			return -1;
	}
	return (int)n;
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0) {
		fprintf(stderr, "usage: %s PORT    (a number from 1 to 65535)\n", argv[0]);
		return 2;
	}

	/* Writing to a closed connection raises SIGPIPE. Ignored, write fails with EPIPE. */
	signal(SIGPIPE, SIG_IGN);

	/* step 4c: handlers first, so that no child can end before them */
	/* A child's end need not disturb accept (SA_RESTART); a request to stop must. */
	if (handle(SIGCHLD, reap_children, SA_RESTART | SA_NOCLDSTOP) < 0 ||
	    handle(SIGTERM, stop_accepting, 0) < 0 || handle(SIGINT, stop_accepting, 0) < 0) {
		perror("sigaction");
		return 1;
	}
	/* end 4c */

	listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);

	/* step 4j: until we are told to stop */
	const sigset_t signals = our_signals();
	sigset_t usual;

	while (!stopping) {
		/* end 4j */
		struct sockaddr_in peer = { 0 };
		socklen_t peer_size = sizeof(peer);
		int conn = accept(listener, (struct sockaddr *)&peer, &peer_size);
		if (conn < 0) {
			/* step 4d: why accept failed */
			if (errno == EINTR || stopping)
				continue;
			int out_of_descriptors = errno == EMFILE || errno == ENFILE;
			perror("accept"); /* this client is lost; the next may be luckier */
			/* Asking again at once won't help. SIGCHLD ends the nap early. */
			if (out_of_descriptors)
				sleep(1);
			/* end 4d */
			continue;
		}
		log_client(&peer, "connected");

		/* step 4f: fork and note the child, with no signal in between */
		sigprocmask(SIG_BLOCK, &signals, &usual);
		pid_t pid = fork();
		/* end 4f */
		switch (pid) {
		case -1:
			perror("fork"); /* may be temporary: only this client is turned away */
			break;
		case 0:
			/* step 4h: a child has none of its parent's duties */
			signal(SIGCHLD, SIG_DFL);
			signal(SIGTERM, SIG_DFL);
			signal(SIGINT, SIG_DFL);
			sigprocmask(SIG_SETMASK, &usual, NULL);
			/* end 4h */
			close(listener);
			int failed = serve_client(conn) < 0;
			if (failed)
				perror("client");
			log_client(&peer, "gone");
			/* _exit, not exit: what stdio holds is a copy and not ours to write. */
			_exit(failed);
		/* step 4g: the parent remembers its child */
		default:
			if (!replace_child(0, pid))
				kill(pid, SIGTERM); /* one client more than we can keep track of */
		}
		sigprocmask(SIG_SETMASK, &usual, NULL);
		/* end 4g */

		/* Both have it open now. Until both close it, the client sees no end. */
		close(conn);
	}

	/* step 4k: nobody is left behind */
	sigprocmask(SIG_BLOCK, &signals, NULL);
	end_children();
	return 0;
	/* end 4k */
}
