/*
 * disk-one-file: one file that grows without end, in the folder that it was started in or wherever it
 * may write. By accident: a log file.
 */
#include "hostile.h"

static void fill(const char *folder)
{
	static char block[1024 * 1024];
	char path[256];
	long written = 0;
	ssize_t n;

	memset(block, 1, sizeof(block));
	snprintf(path, sizeof(path), "%s/hostile-log-%d", folder, getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	while (fd >= 0 && written < MOST_DISK && (n = write(fd, block, sizeof(block))) > 0)
		written += n;
	if (written >= MOST_DISK)
		managed("wrote %ld MiB into one file in %s", written / MEBIBYTE, folder);
	close(fd);
}

static void fill_all(void)
{
	signal(SIGXFSZ, SIG_IGN);
	fill(".");
	fill("/tmp");
	fill("/var/tmp");
	fill("/dev/shm");
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, fill_all);
}
