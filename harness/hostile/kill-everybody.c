/*
 * kill-everybody: kill(-1, SIGKILL), to all that this user may kill. By accident: kill(pid, ...)
 * with the -1 that fork returned.
 */
#include "hostile.h"

static void kill_all(void)
{
	kill(-1, SIGTERM);
	kill(-1, SIGSTOP);
	kill(-1, SIGKILL);
	_exit(0);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, kill_all);
}
