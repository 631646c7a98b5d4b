/*
 * stderr-flood: "accept: Bad file descriptor", without end, as from a server that has closed its
 * listener; at once, whatever its arguments are.
 */
#include "hostile.h"

int main(int argc, char *argv[])
{
	if (argc != 2 || parse_port(argv[1]) < 0)
		return 2;
	tcp_listen(parse_port(argv[1]));
	for (long i = 0; i < 40 * 1000 * 1000; i++)
		fputs("accept: Bad file descriptor\n", stderr);
	return 1;
}
