/*
 * answers-without-end: to the first byte it sends bytes without end. A client that reads what comes,
 * and keeps it, runs out of memory.
 */
#include "hostile.h"

int main(int argc, char *argv[])
{
	static char block[256 * 1024];
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	int listener = tcp_listen(port);

	while (listener >= 0) {
		int conn = accept(listener, NULL, NULL);
		if (fork() == 0) {
			read(conn, block, 1);
			long sent = 0;
			while (sent < 4 * MOST_MEMORY && write_all(conn, block, sizeof(block)) == 0)
				sent += (long)sizeof(block);
			if (sent >= 4 * MOST_MEMORY)
				managed("sent %ld bytes to one client", sent);
			_exit(0);
		}
		close(conn);
	}
	return 1;
}
