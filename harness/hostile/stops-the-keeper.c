/*
 * stops-the-keeper: SIGSTOP to its parent, and a lower priority for it: what is stopped cleans nothing up
 * and answers nobody.
 */
#include "hostile.h"

#include <sys/resource.h>

static void stop_keeper(void)
{
	pid_t parent = getppid();

	if (parent <= 1)
		return;
	setpriority(PRIO_PROCESS, (id_t)parent, 19);
	kill(parent, SIGSTOP);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, stop_keeper);
}
