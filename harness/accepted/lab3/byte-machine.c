/*
 * Lab 3 as a machine that looks at one byte at a time and has no line buffer at all: its state
 * is how much of "exit\r\n" the line has been so far, and what it held back it can write out
 * again from that. stdio streams in both directions give the bytes their buffers; the outgoing
 * one is emptied at each newline.
 */
#include "net.h"
#include "safe_log.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum state { START, E, EX, EXI, EXIT, EXIT_CR, OTHER };

static enum state next(enum state state, int byte)
{
	switch (state) {
	case START:
		return byte == 'e' ? E : OTHER;
	case E:
		return byte == 'x' ? EX : OTHER;
	case EX:
		return byte == 'i' ? EXI : OTHER;
	case EXI:
		return byte == 't' ? EXIT : OTHER;
	case EXIT:
		return byte == '\r' ? EXIT_CR : OTHER;
	default:
		return OTHER;
	}
}

/* How many bytes of "exit\r" are held back in a state. */
static size_t held_in(enum state state)
{
	return state == OTHER ? 0 : (size_t)state;
}

static int run(FILE *in, FILE *out)
{
	enum state state = START;
	int byte;

	while ((byte = getc(in)) != EOF) {
		if (byte == '\n' && (state == EXIT || state == EXIT_CR))
			return 0;

		enum state after = next(state, byte);
		if (after == OTHER) {
			fwrite("exit\r", 1, held_in(state), out);
			putc(byte, out);
		}
		state = after;
		if (byte == '\n') {
			state = START;
			if (fflush(out) == EOF)
				return 1;
		}
		if (ferror(out))
			return 1;
	}
	if (ferror(in))
		return 1;
	/* The end came in the middle of a line: it was no command. */
	fwrite("exit\r", 1, held_in(state), out);
	return fflush(out) == EOF;
}

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	int listener, conn;

	if (port < 0) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	if ((listener = tcp_listen(port)) < 0)
		return 1;
	safe_log("listening on port %d", port);
	for (;;) {
		if ((conn = accept(listener, NULL, NULL)) < 0) {
			perror("accept");
			continue;
		}
		pid_t pid = fork();
		if (pid < 0)
			perror("fork");
		if (pid == 0) {
			close(listener);
			FILE *in = fdopen(conn, "r"), *out = fdopen(dup(conn), "w");
			_exit(in && out ? run(in, out) : 1);
		}
		close(conn);
	}
}
