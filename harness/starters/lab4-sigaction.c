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
/*
 * TODO 4e. To end its children the parent must know them. Make a table of their pids, and a
 * function replace_child(old, new) that puts one number in another's place (0: a free place) and
 * says whether it found it. Handlers will use the table, the listener and a flag that says "stop":
 * what type does signal-safety(7) ask of such a variable? Then let 4a take each child that it
 * reaps off the table.
 */
static int listener = -1;
/* end 4e */

/* step 4a: reap, and tell */
/*
 * TODO 4a. Write the handler, reap_children(int), and log_child(pid, status), which says either
 * "child 4242 exited with status 0" or "child 4242 killed by signal 9" (waitpid(2): WIFEXITED and
 * its sisters; safe_log, not printf). How many children can one SIGCHLD stand for? And which calls
 * may a handler make (signal-safety(7)), and what must it put back as it found it?
 */
/* end 4a */

/* step 4i: stop in good order */
/*
 * TODO 4i. Write stop_accepting(int), the handler of SIGTERM and SIGINT: it sets the flag and
 * closes the listener (once!). Why is the flag alone not enough if the signal comes just before
 * accept? And end_children: kill(2) for each pid on the table, then wait(2) until there are none, each with
 * its line in the log. Then go back to 4c and 4d for their last sentences.
 */
/* end 4i */

/* step 4b: which signal gets which handler */
/*
 * TODO 4b. Write handle(signal_number, handler, flags): one call of sigaction(2), so that 4c can
 * be short. sa_mask holds what waits while a handler runs: give it a function our_signals that
 * returns the set of SIGCHLD, SIGTERM and SIGINT (sigsetops(3)).
 */
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
	/*
	 * TODO 4c. Let handle give SIGCHLD to reap_children in place of this line, and say so if it
	 * fails. Do you want accept to be interrupted whenever a child ends? And a SIGCHLD when a
	 * child is only stopped? sigaction(2) has a flag for each. (After 4i: SIGTERM and SIGINT
	 * go to stop_accepting. Should those interrupt accept?)
	 */
	/* A parent that ignores SIGCHLD doesn't want to know: the kernel reaps for it. */
	signal(SIGCHLD, SIG_IGN);
	/* end 4c */

	listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);

	/* step 4j: until we are told to stop */
	/*
	 * TODO 4j. Go on only until you are told to stop. What 4f and 4g share, the set of our
	 * signals and the mask as it usually is, has its place here, in front of the loop.
	 */
	for (;;) {
		/* end 4j */
		struct sockaddr_in peer = { 0 };
		socklen_t peer_size = sizeof(peer);
		int conn = accept(listener, (struct sockaddr *)&peer, &peer_size);
		if (conn < 0) {
			/* step 4d: why accept failed */
			/*
			 * TODO 4d. Look at errno. Interrupted by a signal: nothing is wrong, say
			 * nothing. Out of descriptors (EMFILE, ENFILE; accept(2)): the client is
			 * still in the queue, and asking again at once spins; sleep(3) a little
			 * first. (After 4i: told to stop; nothing is wrong then, either.)
			 */
			perror("accept"); /* this client is lost; the next may be luckier */
			/* end 4d */
			continue;
		}
		log_client(&peer, "connected");

		/* step 4f: fork and note the child, with no signal in between */
		/*
		 * TODO 4f. A child can end before its parent has written it down; then the handler
		 * looks for a pid that isn't there yet. Block our signals (sigprocmask(2)) before
		 * fork, and keep the mask as it was: 4g puts it back. Declare the two sets at 4j.
		 */
		pid_t pid = fork();
		/* end 4f */
		switch (pid) {
		case -1:
			perror("fork"); /* may be temporary: only this client is turned away */
			break;
		case 0:
			/* step 4h: a child has none of its parent's duties */
			/*
			 * TODO 4h. fork copied the handlers and the blocked signals. A child has no
			 * children to reap and no server to stop: give it SIG_DFL back for all
			 * three signals, and only then the usual mask. What would kill do to it
			 * otherwise?
			 */
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
			/*
			 * TODO 4g. The parent's case: write the child down. If the table is full,
			 * you can't look after one more: end that child. After the switch, put
			 * the signal mask back, also when fork failed.
			 */
			break;
		}
		/* end 4g */

		/* Both have it open now. Until both close it, the client sees no end. */
		close(conn);
	}

	/* step 4k: nobody is left behind */
	/*
	 * TODO 4k. Out of the loop means: told to stop. Block our signals, so that end_children and
	 * the handler don't reap side by side; end the children; return 0.
	 */
	/* end 4k */
}
