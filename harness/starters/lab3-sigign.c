/*
 * lab 3: a child for every client, and no zombies: the parent ignores SIGCHLD.
 *
 * Start it, connect a client, type a few lines, then exit, and look at the family:
 *	make run LAB=3 PORT=9190		make client PORT=9190
 *	ps --forest -o pid,ppid,stat,ignored,comm -C server
 * The child is gone without a trace; bit 16 of IGNORED (0x10000) is SIGCHLD.
 */
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* step 3b: is this line the command to end the session? */
/*
 * TODO 3b. Write is_exit(line, size): true if the line is the word exit alone, ended by "\n" or
 * by "\r\n". A line is SIZE bytes with no NUL behind them, so strcmp is out; memcmp(3) is in.
 * Not: "exits", " exit", "please exit". (The compiler warns of an unused function until 3c.)
 */
/* end 3b */

/* Echoes the lines that come on CONN until "exit" or the end. 0, or -1 with errno. */
static int serve_client(int conn)
{
	/* step 3c: echo line by line */
	/*
	 * TODO 3c. read gives you bytes, not lines. read_line (net.h says how) puts lines together.
	 * Echo each line it gives you; at is_exit, return 0 without an echo. A line too long for
	 * the buffer comes in pieces: the tail of such a line is never the command, even if it
	 * reads "exit". Which field of struct line_reader tells you?
	 */
	char buffer[4096];
	ssize_t n;

	/* n counts bytes; they may hold NULs, so nothing here may treat them as a string. */
	while ((n = read(conn, buffer, sizeof(buffer))) > 0)
		if (write_all(conn, buffer, (size_t)n) < 0)
			return -1;
	return (int)n;
	/* end 3c */
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

	/* step 3a: no zombies */
	/*
	 * TODO 3a. Every child that ends sends its parent SIGCHLD and then stays as a zombie until
	 * the parent asks for its status. Tell the kernel that this parent never will: signal(2)
	 * and one of its two ready-made dispositions. wait(2), NOTES, says what follows.
	 */
	/* end 3a */

	int listener = tcp_listen(port);
	if (listener < 0)
		return 1;
	safe_log("listening on port %d", port);

	for (;;) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_size = sizeof(peer);
		int conn = accept(listener, (struct sockaddr *)&peer, &peer_size);
		if (conn < 0) {
			perror("accept"); /* this client is lost; the next may be luckier */
			continue;
		}
		log_client(&peer, "connected");

		switch (fork()) {
		case -1:
			perror("fork"); /* may be temporary: only this client is turned away */
			break;
		case 0:
			close(listener);
			int failed = serve_client(conn) < 0;
			if (failed)
				perror("client");
			log_client(&peer, "gone");
			/* _exit, not exit: what stdio holds is a copy and not ours to write. */
			_exit(failed);
		}

		/* Both have it open now. Until both close it, the client sees no end. */
		close(conn);
	}
}
