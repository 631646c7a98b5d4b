/*
 * forges-messages: looks for descriptors that it got from the grader, and for the ones of its parent and of
 * all other processes (/proc/PID/fd), and writes into them what a keeper would say, and a record with
 * 100 points.
 */
#include "hostile.h"

static const char WORDS[] = "exited 0\nlimited 0\nstarted 1\n";
static int wrote;

static void forge_one(pid_t pid)
{
	char path[64];
	struct stat status, own;

	for (int fd = 0; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		if (stat(path, &status) < 0)
			continue;
		if ((fstat(1, &own) == 0 && own.st_ino == status.st_ino) ||
		    (fstat(2, &own) == 0 && own.st_ino == status.st_ino) || S_ISCHR(status.st_mode))
			continue; /* our own output, or /dev/null */
		int opened = open(path, O_WRONLY | O_NONBLOCK | O_APPEND);
		if (opened >= 0 && write(opened, WORDS, sizeof(WORDS) - 1) > 0)
			wrote = fd + 1;
		close(opened);
	}
}

static void forge(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct stat status;
		int type;
		socklen_t size = sizeof(type);
		if (fstat(fd, &status) < 0 ||
		    (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &type, &size) == 0 && type == AF_INET))
			continue; /* the listener, the connection */
		if (write(fd, WORDS, sizeof(WORDS) - 1) > 0)
			managed("wrote into descriptor %d, which it was handed", fd);
	}
	forge_one(getppid());
	each_process(forge_one);
	if (wrote)
		managed("wrote into descriptor %d of somebody else", wrote - 1);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, forge, forge);
}
