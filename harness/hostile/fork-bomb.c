/*
 * fork-bomb: forks as fast as it can; the children sleep. By accident: fork stands in the loop that
 * was meant for accept, and nobody looks at what it returns.
 */
#include "hostile.h"

static void bomb(void)
{
	while (truth)
		if (fork() == 0)
			hang();
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, bomb);
}
