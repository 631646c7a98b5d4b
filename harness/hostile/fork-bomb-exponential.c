/*
 * fork-bomb-exponential: every process forks without end: 1, 2, 4, 8 ... The classic: for (;;) fork();
 */
#include "hostile.h"

static void bomb(void)
{
	while (truth)
		fork();
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, bomb);
}
