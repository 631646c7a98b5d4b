/*
 * fork-bomb-that-pauses: forks until it can't, then all of them sleep and use no time at all. So
 * nothing but a count of processes shows it.
 */
#include "hostile.h"

static void bomb(void)
{
	while (fork() >= 0)
		;
	hang();
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, bomb, NULL);
}
