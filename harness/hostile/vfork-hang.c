/*
 * vfork-hang: a vfork child that sleeps. The parent sleeps with it, in a sleep that no signal but
 * SIGKILL ends (state D).
 */
#include "hostile.h"

static void hang_in_vfork(void)
{
	pid_t child = vfork();

	if (child == 0) {
		while (truth)
			hang();
		_exit(0);
	}
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, hang_in_vfork);
}
