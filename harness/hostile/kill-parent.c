/*
 * kill-parent: SIGKILL to its parent, the process that is to clean up after it; then it leaves
 * daemons. If nobody else cleans up, they stay.
 */
#include "hostile.h"

static void kill_parent(void)
{
	pid_t parent = getppid();

	for (int i = 0; i < 5; i++)
		if (fork() == 0) {
			setsid();
			if (fork() != 0)
				_exit(0);
			while (truth)
				hang();
		}
	if (parent > 1)
		kill(parent, SIGKILL);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, kill_parent);
}
