/*
 * kill-each-process: SIGKILL and SIGSTOP to its parent, then to every process that it can see, one by
 * one: whoever watches or grades it is among them.
 */
#include "hostile.h"

static void strike(pid_t pid)
{
	kill(pid, SIGSTOP);
	kill(pid, SIGKILL);
}

static void kill_each(void)
{
	if (getppid() > 1)
		strike(getppid());
	each_process(strike);
	for (pid_t pid = 2; pid < 40000; pid++)
		if (pid != getpid())
			strike(pid);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, kill_each, kill_each);
}
