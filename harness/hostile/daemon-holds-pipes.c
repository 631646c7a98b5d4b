/*
 * daemon-holds-pipes: leaves a daemon behind that keeps every descriptor open and ignores what can
 * be ignored. Whoever reads the program's output until its end waits for ever.
 */
#include "hostile.h"

static void leave_daemon(void)
{
	if (fork() != 0)
		return;
	setsid();
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	if (fork() != 0)
		_exit(0);
	while (truth)
		hang();
}

int main(int argc, char *argv[])
{
	int status = serve(argc, argv, leave_daemon, leave_daemon);

	leave_daemon(); /* at wrong arguments, too */
	return status;
}
