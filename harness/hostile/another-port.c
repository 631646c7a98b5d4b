/*
 * another-port: listens on another port than it was told to, a different one each time, and says that
 * it listens on the right one.
 */
#include "hostile.h"

int main(int argc, char *argv[])
{
	int port = argc == 2 ? parse_port(argv[1]) : -1;
	if (port < 0)
		return 2;
	int listener = tcp_listen(port < 40000 ? port + 20000 + getpid() % 1000 : port - 20000);
	printf("listening on port %d\n", port);
	fflush(stdout);
	while (listener >= 0)
		close(accept(listener, NULL, NULL));
	return 1;
}
