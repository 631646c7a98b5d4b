/*
 * ptraces: attaches to its parent, and to every process that it may (ptrace(2)), as a debugger would: it
 * could change what they think or have them do things.
 */
#include "hostile.h"

#include <sys/ptrace.h>

static pid_t self;

static void attach(pid_t pid)
{
	if (pid == self || ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
		return;
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	managed("attached to process %d", pid);
}

static void attach_to_all(void)
{
	self = getpid();
	attach(getppid());
	each_process(attach);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, attach_to_all, attach_to_all);
}
