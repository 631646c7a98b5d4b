/*
 * ignores-signals: ignores and blocks all that can be, in every process, and does not end when it
 * is asked to. Only SIGKILL is left. It serves well meanwhile.
 */
#include "hostile.h"

static void ignore_all(void)
{
	sigset_t all;

	for (int i = 1; i < NSIG; i++)
		if (i != SIGCHLD)
			signal(i, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, ignore_all, NULL);
}
