/*
 * descriptors: opens files until it can't, in itself and in sixty children: the machine must not run
 * out. By accident: no close(conn). No descriptor is left for a client.
 */
#include "hostile.h"

static long hoard(void)
{
	long count = 0;
	int fd;

	while (count < 100000 && (fd = open("/dev/null", O_RDONLY)) >= 0)
		count++;
	return count;
}

static void hoard_all(void)
{
	for (int i = 0; i < 60; i++)
		if (fork() == 0) {
			hoard();
			hang();
			_exit(0);
		}
	if (hoard() >= 100000)
		managed("opened 100000 descriptors in one process");
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, hoard_all);
}
