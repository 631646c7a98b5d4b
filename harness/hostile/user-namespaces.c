/*
 * user-namespaces: makes user namespaces in user namespaces, each with a count of processes of its own,
 * and becomes root there; then forks, mounts and renames the host.
 */
#include "hostile.h"

#include <sched.h>
#include <sys/mount.h>

static void fork_in_namespaces(void)
{
	int ready[2], count = 0;
	char one = 1;

	fcntl(0, F_SETFL, O_NONBLOCK);
	pipe2(ready, O_NONBLOCK);
	for (int spaces = 0; spaces < 8; spaces++) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID) < 0 &&
		    unshare(CLONE_NEWUSER) < 0)
			break;
		sethostname("hostile", 7);
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
		mount("hostile", "/tmp", "tmpfs", 0, NULL);
		for (int i = 0; i < 60; i++) {
			pid_t child = fork();
			if (child < 0)
				break;
			if (child == 0) {
				write(ready[1], &one, 1);
				hang();
				_exit(0);
			}
			count++;
		}
	}
	if (count > 200)
		managed("%d processes", count);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, fork_in_namespaces);
}
