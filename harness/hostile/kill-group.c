/*
 * kill-group: kill(0, SIGKILL), to its own process group. By accident: kill(pid, ...) with the 0
 * that fork returned.
 */
#include "hostile.h"

static void kill_group(void)
{
	kill(0, SIGKILL);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, kill_group);
}
