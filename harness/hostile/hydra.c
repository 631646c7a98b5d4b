/*
 * hydra: whenever one of its processes dies, others take its place: each waits for its children
 * and forks two anew for one that is gone. Killing them one by one never ends.
 */
#include "hostile.h"

static void grow(void)
{
	while (truth) {
		for (int heads = 0; heads < 2; heads++)
			if (fork() == 0)
				setsid();
		wait(NULL);
	}
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, grow);
}
