/*
 * disk-many-files: many files, each small enough for a limit on files; and twenty thousand empty ones,
 * which take no room but an inode each.
 */
#include "hostile.h"

static long fill(const char *folder, long most_files, long size)
{
	static char block[8 * 1024 * 1024];
	char path[256];
	long files = 0;

	memset(block, 1, sizeof(block));
	for (; files < most_files; files++) {
		snprintf(path, sizeof(path), "%s/hostile-%d-%ld", folder, getpid(), files);
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd < 0 || write(fd, block, (size_t)size) != size) {
			close(fd);
			break;
		}
		close(fd);
	}
	return files;
}

static void fill_all(void)
{
	static const char *const folders[] = { ".", "/tmp", "/var/tmp", "/dev/shm", "/run/lock" };
	const long big = 8 * MEBIBYTE;
	long bytes = 0, files = 0;

	for (int i = 0; i < 5; i++)
		bytes += big * fill(folders[i], MOST_DISK / big, big);
	for (int i = 0; i < 5; i++)
		files += fill(folders[i], MOST_FILES, 0);
	if (bytes >= MOST_DISK)
		managed("wrote %ld MiB in all", bytes / MEBIBYTE);
	if (files >= MOST_FILES)
		managed("made %ld files", files);
	_exit(1);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, fill_all);
}
