/*
 * drops-the-preload: starts itself anew without LD_PRELOAD, and has a fork and a write of its own, so that
 * nothing that was preloaded sees what it does.
 */
#include "hostile.h"

#include <sys/syscall.h>

pid_t fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

ssize_t write(int fd, const void *data, size_t size)
{
	return syscall(SYS_write, fd, data, size);
}

int main(int argc, char *argv[])
{
	if (getenv("LD_PRELOAD")) {
		unsetenv("LD_PRELOAD");
		execv("/proc/self/exe", argv);
	}
	return serve(argc, argv, NULL, NULL);
}
