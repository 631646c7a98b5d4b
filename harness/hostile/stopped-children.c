/*
 * stopped-children: every child stops itself, in a session of its own, before it serves. Whoever
 * waits for children to end waits for ever.
 */
#include "hostile.h"

static void stop_children(void)
{
	for (int i = 0; i < 10; i++)
		if (fork() == 0) {
			setsid();
			while (truth)
				raise(SIGSTOP);
		}
	while (wait(NULL) > 0)
		;
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, stop_children);
}
