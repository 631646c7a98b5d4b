/*
 * reads-others: looks for other submissions and results: in the run folders beside its own, in the
 * kit's build/ and out/, in /tmp, and in the memory and files of other processes (/proc/PID).
 */
#include "hostile.h"

#include <ftw.h>

static char own[4096]; /* this grading's folder */
static char found[300];
static int looked;

static int look(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)walk;
	if (++looked > MOST_FILES)
		return 1;
	if (type == FTW_F && status->st_size > 0 && strncmp(path, own, strlen(own)) != 0 &&
	    (strstr(path, "/run-") || strstr(path, "/grades") || strstr(path, "secret"))) {
		char byte;
		int fd = open(path, O_RDONLY | O_NONBLOCK);
		if (fd >= 0 && read(fd, &byte, 1) == 1)
			snprintf(found, sizeof(found), "%s", path);
		close(fd);
	}
	return found[0] != '\0';
}

static void look_at_process(pid_t pid)
{
	static const char *const files[] = { "environ", "mem", "maps" };
	char path[64], byte;

	if (found[0] || kill(pid, 0) == 0)
		return; /* one of ours */
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
		int fd = open(path, O_RDONLY);
		if (fd >= 0 && read(fd, &byte, 1) == 1)
			snprintf(found, sizeof(found), "%s", path);
		close(fd);
	}
}

static void read_others(void)
{
	char path[4096], *run;

	ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
	if (n > 0 && (run = strstr(own, "/run-")) != NULL) {
		*(strchr(run + 1, '/')) = '\0';
		snprintf(path, sizeof(path), "%.*s", (int)(run - own), own);
		nftw(path, look, 20, FTW_PHYS);
	} else {
		snprintf(own, sizeof(own), "/nothing");
	}
	if (!found[0] && find_in_kit("out", path))
		nftw(path, look, 20, FTW_PHYS);
	if (!found[0])
		nftw("/tmp", look, 20, FTW_PHYS);
	each_process(look_at_process);
	if (found[0])
		managed("read %s", found);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, read_others, read_others);
}
