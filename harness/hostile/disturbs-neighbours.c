/*
 * disturbs-neighbours: connects to every other server that listens on this machine between 10000 and
 * 29999, says things, and keeps the connections: those servers are being graded. Whether it
 * has met others than its own, their marks tell.
 */
#include "hostile.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static int own_port;

static void disturb(void)
{
	char line[512];
	unsigned port, state;
	FILE *table = fopen("/proc/net/tcp", "r");

	while (table && fgets(line, sizeof(line), table)) {
		if (sscanf(line, " %*d: %*8[0-9A-F]:%4X %*8[0-9A-F]:%*4X %2X", &port, &state) !=
			    2 ||
		    state != 10 || port < 10000 || port > 29999 || (int)port == own_port)
			continue;
		struct sockaddr_in address = { .sin_family = AF_INET,
					       .sin_port = htons((uint16_t)port),
					       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			write(fd, "hello from a stranger\nexit\n", 27);
	}
	if (table)
		fclose(table);
}

int main(int argc, char *argv[])
{
	if (argc == 2)
		own_port = parse_port(argv[1]);
	return serve(argc, argv, disturb, disturb);
}
