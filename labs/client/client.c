/*
 * client: sends the lines you type to an echo server, and shows what comes back.
 *
 *	make client PORT=9190				type lines at the prompt
 *	printf 'one\ntwo\n' | build/client 127.0.0.1 9190	only the echo, nothing else
 * Ctrl-D or END ends your side and shows what is still to come; exit asks the server to end.
 * While nothing comes back you can go on typing: see the second client of lab 1 wait.
 */
#include "net.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE 1000 /* milliseconds without an answer before we say so */

struct session {
	int conn;
	bool interactive;
	bool typing;      /* more may come from stdin */
	bool exiting;     /* the last line is exit: the server may end without an echo */
	bool refused;     /* the server would not take all that we had to send */
	bool half_closed; /* the server knows that no more comes from us */
	bool told;        /* that nothing comes back; once is enough */
	bool prompted;    /* the cursor stands behind a prompt */
	bool mid_line;    /* the cursor stands behind text that came back */
	bool long_line;   /* the line being typed began before input[ready] */
	size_t owed;      /* bytes sent that have not come back */
	size_t answered;  /* bytes that came back since nothing was owed */
	/* input[sent..ready) waits to be sent, input[ready..end) is a line not whole yet. */
	size_t sent, ready, end;
	char input[64 * 1024];
};

/* Our own words go to stderr: stdout holds what came back and nothing else. */
static void fresh_line(struct session *s)
{
	fflush(stdout);
	if (s->prompted || s->mid_line)
		fputc('\n', stderr);
	s->prompted = s->mid_line = false;
}

/* Says which call failed and why. Returns -1, for the caller to pass on. */
static int fail(struct session *s, const char *call)
{
	int saved_errno = errno;

	if (s->interactive)
		fresh_line(s);
	fprintf(stderr, "client: %s: %s\n", call, strerror(saved_errno));
	return -1;
}

/* Asks for the next line, once all that was typed has come back. */
static void prompt(struct session *s)
{
	bool answered = s->sent == s->ready && s->owed == 0;

	if (!s->interactive || !s->typing || !answered || s->prompted)
		return;
	fresh_line(s);
	fputs("> ", stderr);
	s->prompted = true;
}

/* Makes control characters visible. Bytes from 128 on may be letters in UTF-8: they stay. */
static void show_char(unsigned char c)
{
	if (c == '\r')
		fputs("\\r", stdout);
	else if (iscntrl(c) && c != '\n' && c != '\t')
		printf("\\x%02x", c);
	else
		putchar(c);
}

/* Shows what came back. 0, or -1 when stdout can't be written. */
static int show(struct session *s, const char *data, size_t size)
{
	if (s->interactive) {
		if (s->prompted) /* nobody asked: don't put it where you type */
			fresh_line(s);
		for (size_t i = 0; i < size; i++)
			show_char((unsigned char)data[i]);
		s->mid_line = data[size - 1] != '\n';
	} else {
		fwrite(data, 1, size, stdout);
	}
	return fflush(stdout) == 0 ? 0 : fail(s, "stdout");
}

/* Whether LINE is WORD and nothing else. */
static bool is_word(const char *line, size_t size, const char *word)
{
	if (size > 0 && line[size - 1] == '\n')
		size--;
	if (size > 0 && line[size - 1] == '\r') /* a file from another system */
		size--;
	return size == strlen(word) && memcmp(line, word, size) == 0;
}

/* Lets one line, or a piece of one, go to the server, unless it is a word for us. */
static void accept_line(struct session *s, size_t size)
{
	const char *line = s->input + s->ready;

	if (!s->long_line && is_word(line, size, "END")) {
		s->typing = false;
		return;
	}
	if (!s->long_line && is_word(line, size, "exit")) {
		s->exiting = true;
		s->typing = s->told = false;
	}
	s->long_line = line[size - 1] != '\n';
	s->ready += size;
}

/* Reads what was typed and looks for whole lines in it. 0, or -1 when it can't. */
static int read_input(struct session *s)
{
	/* Only what fits: a server that doesn't read must not make us keep everything. */
	ssize_t n = read(STDIN_FILENO, s->input + s->end, sizeof(s->input) - s->end);
	if (n < 0)
		return errno == EINTR ? 0 : fail(s, "read");
	s->end += (size_t)n;
	if (n > 0 && s->input[s->end - 1] == '\n')
		s->prompted = false; /* the terminal has echoed the newline */

	char *newline;
	while (s->typing && (newline = memchr(s->input + s->ready, '\n', s->end - s->ready)))
		accept_line(s, (size_t)(newline + 1 - (s->input + s->ready)));

	/* No more room, or no more input: what is left goes as it is. */
	bool full = s->ready == 0 && s->end == sizeof(s->input);
	if (s->typing && s->end > s->ready && (n == 0 || full))
		accept_line(s, s->end - s->ready);
	if (n == 0)
		s->typing = false;
	return 0;
}

/* The server won't take any more. What it wrote before may still be on its way to us. */
static void give_up_sending(struct session *s)
{
	s->typing = false;
	s->refused = s->half_closed = true;
	s->sent = s->ready = s->end = 0;
}

/* Sends what the connection takes now, and no more. */
static void send_input(struct session *s)
{
	/* Without MSG_DONTWAIT both sides could wait in write, each for the other to read. */
	ssize_t n = send(s->conn, s->input + s->sent, s->ready - s->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EINTR && errno != EAGAIN)
			give_up_sending(s);
		return;
	}
	s->sent += (size_t)n;
	s->owed += (size_t)n;

	if (s->sent == s->ready) { /* make room */
		memmove(s->input, s->input + s->ready, s->end - s->ready);
		s->end -= s->ready;
		s->sent = s->ready = 0;
	}
}

/* Takes what has come, however little. 1, or 0 when the server has closed, or -1. */
static int receive(struct session *s)
{
	char data[16 * 1024];
	ssize_t n = recv(s->conn, data, sizeof(data), 0);
	if (n == 0)
		return 0;
	if (n < 0)
		return errno == EINTR ? 1 : fail(s, "recv");

	/* Some servers say more than they were told: then nothing is owed. */
	size_t echoed = (size_t)n < s->owed ? (size_t)n : s->owed;
	s->owed -= echoed;
	s->answered = s->owed > 0 ? s->answered + echoed : 0;
	if (s->owed == 0)
		s->told = false;
	return show(s, data, (size_t)n) < 0 ? -1 : 1;
}

/* Ends our side. The other one stays open: what is still to come comes. */
static void half_close(struct session *s)
{
	shutdown(s->conn, SHUT_WR); /* fails only if the server has gone; receive will tell */
	s->half_closed = true;
	s->told = false;
}

/* Nothing came for a while. Says so, once. */
static void lose_patience(struct session *s)
{
	if (s->interactive) {
		fresh_line(s);
		if (s->owed == 0)
			fputs("(the server has not closed yet; Ctrl-C leaves)\n", stderr);
		else if (s->answered == 0)
			fputs("(nothing back yet)\n", stderr);
		else
			fprintf(stderr, "(%zu bytes not back yet)\n", s->owed);
	}
	s->told = true;
	if (s->exiting && !s->half_closed) /* exit means nothing to this server */
		half_close(s);
}

/* Waits for something to do: 1, 0 when nothing came in time, or -1. */
static int wait_for_news(struct session *s, struct pollfd fds[2])
{
	bool room = s->end < sizeof(s->input);
	bool waiting = s->owed > 0 || s->half_closed;
	bool hurry = waiting && !s->told && (s->interactive || s->exiting);

	/* poll passes over a negative descriptor. */
	fds[0] = (struct pollfd){ .fd = s->typing && room ? STDIN_FILENO : -1, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = s->conn, .events = POLLIN };
	if (s->sent < s->ready)
		fds[1].events |= POLLOUT;

	int ready = poll(fds, 2, hurry ? PATIENCE : -1);
	if (ready < 0)
		return errno == EINTR ? 1 : fail(s, "poll");
	return ready > 0;
}

/* One round of the conversation: 1 to go on, 0 when the server has closed, or -1. */
static int take_turn(struct session *s)
{
	struct pollfd fds[2];
	int news = wait_for_news(s, fds);
	if (news < 0)
		return -1;
	if (news == 0)
		lose_patience(s);

	if (fds[0].revents && read_input(s) < 0)
		return -1;
	if (fds[1].revents & POLLOUT)
		send_input(s);
	if (fds[1].revents & ~POLLOUT) /* POLLERR and POLLHUP too: recv says what it is */
		return receive(s);
	return 1;
}

/* Talks until the server has closed. 0, or -1 if something went wrong on the way. */
static int talk(struct session *s)
{
	int going_on;

	do {
		bool all_sent = !s->typing && s->sent == s->ready;

		/* After exit it is the server's turn to close, unless it has echoed even that. */
		if (all_sent && !s->half_closed && !(s->exiting && s->owed > 0))
			half_close(s);
		prompt(s);
		going_on = take_turn(s);
	} while (going_on > 0);
	if (going_on < 0)
		return -1;

	if (s->interactive)
		fresh_line(s);
	if (!s->refused && !s->typing && s->sent == s->ready)
		return 0;
	fputs("client: the server closed the connection first", stderr);
	if (s->owed > 0)
		fprintf(stderr, "; %zu bytes not back", s->owed);
	fputc('\n', stderr);
	return -1;
}

/* A connection to HOST, by IPv4 or IPv6, or -1 with the call and the reason on stderr. */
static int tcp_connect(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;
	const char *call = "socket";
	int conn = -1;

	int error = getaddrinfo(host, port, &hints, &found);
	if (error) {
		fprintf(stderr, "client: getaddrinfo: %s: %s\n", host, gai_strerror(error));
		return -1;
	}

	/* A name can have several addresses; the server may listen at one of them only. */
	for (struct addrinfo *a = found; a && conn < 0; a = a->ai_next) {
		call = "socket";
		conn = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (conn >= 0 && connect(conn, a->ai_addr, a->ai_addrlen) < 0) {
			int saved_errno = errno;

			call = "connect";
			close(conn);
			conn = -1;
			errno = saved_errno;
		}
	}
	if (conn < 0) {
		error = errno;
		fprintf(stderr, "client: %s to %s port %s: %s\n", call, host, port,
			strerror(error));
		if (error == ECONNREFUSED)
			fputs("Nobody listens there. Is the server running?\n", stderr);
	}
	freeaddrinfo(found);
	return conn;
}

int main(int argc, char *argv[])
{
	/* getaddrinfo alone would take 70000 too, and call it 4464. */
	if (argc != 3 || parse_port(argv[2]) < 0) {
		fprintf(stderr, "usage: %s HOST PORT    (a number from 1 to 65535)\n", argv[0]);
		return 2;
	}

	static struct session session = { .typing = true }; /* static: it is large */
	session.interactive = isatty(STDIN_FILENO);
	session.conn = tcp_connect(argv[1], argv[2]);
	if (session.conn < 0)
		return 1;
	if (session.interactive)
		fprintf(stderr, "Connected to %s:%s. Type lines; Ctrl-D, END or exit leaves.\n",
			argv[1], argv[2]);

	return talk(&session) < 0 ? 1 : 0;
}
