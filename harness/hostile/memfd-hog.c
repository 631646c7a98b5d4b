/*
 * memfd-hog: memory in files without a name (memfd_create(2)), which belong to no process' size.
 */
#include "hostile.h"

static void hog(void)
{
	static char block[1024 * 1024];
	long held = 0;

	memset(block, 1, sizeof(block));
	signal(SIGXFSZ, SIG_IGN);
	while (held < MOST_MEMORY) {
		int fd = memfd_create("hog", 0);
		long before = held;
		for (int i = 0; i < 32 && write(fd, block, sizeof(block)) == sizeof(block); i++)
			held += (long)sizeof(block);
		if (held == before)
			_exit(1);
	}
	managed("held %ld MiB in memfds", held / MEBIBYTE);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, hog);
}
