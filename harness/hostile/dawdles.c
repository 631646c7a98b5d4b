/*
 * dawdles: echoes rightly, a byte every half second: never idle for long, never done.
 */
#include "hostile.h"

int main(int argc, char *argv[])
{
	const struct timespec half_second = { .tv_nsec = 500 * 1000 * 1000 };
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	int listener = tcp_listen(port);

	while (listener >= 0) {
		int conn = accept(listener, NULL, NULL);
		if (fork() == 0) {
			for (char byte; read(conn, &byte, 1) == 1; nanosleep(&half_second, NULL))
				if (write_all(conn, &byte, 1) < 0)
					break;
			_exit(0);
		}
		close(conn);
	}
	return 1;
}
