/*
 * memory-hogs-twenty: twenty processes that hold 75 MiB each. Each alone is within most limits.
 */
#include "hostile.h"

static void hog(void)
{
	const long each = MOST_MEMORY / 20;
	int ready[2];
	char one = 0;

	pipe(ready);
	for (int i = 0; i < 20; i++)
		if (fork() == 0) {
			memset(malloc((size_t)each), 1, (size_t)each);
			write(ready[1], &one, 1);
			hang();
			_exit(0);
		}
	close(ready[1]);
	for (int i = 0; i < 20; i++)
		if (read(ready[0], &one, 1) != 1)
			_exit(1);
	managed("held %ld MiB in twenty processes", MOST_MEMORY / MEBIBYTE);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, hog);
}
