/*
 * daemonises: forks twice, begins a session of its own, and the started process ends. As many a
 * book tells servers to do; the lab asks for a server that stays in the foreground.
 */
#include "hostile.h"

static void daemonise(void)
{
	if (fork() != 0)
		_exit(0);
	setsid();
	if (fork() != 0)
		_exit(0);
	chdir("/");
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, daemonise, NULL);
}
