/*
 * reads-solutions: looks for the kit's solutions while it runs. What it finds it could send or print,
 * or run.
 */
#include "hostile.h"

static void read_solutions(void)
{
	static const char *const names[] = { "solutions/lab2-fork/server.c",
					     "harness/mutants/lab2.toml",
					     "harness/checks/test_lab2.py" };
	static char text[100000], path[4096];

	for (int i = 0; i < 3; i++) {
		int fd = find_in_kit(names[i], path) ? open(path, O_RDONLY) : -1;
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
		close(fd);
		if (n > 0)
			managed("read %zd bytes of %s", n, names[i]);
	}
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, read_solutions, NULL);
}
