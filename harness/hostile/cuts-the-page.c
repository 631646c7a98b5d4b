/*
 * cuts-the-page: makes the file behind that shared page empty, or larger: who looks at it would get
 * SIGBUS. And makes its own output's files odd: cut, and with a hole of a terabyte.
 */
#include "hostile.h"

static void cut_page(void)
{
	char line[512], path[100];
	unsigned long from, to;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strstr(line, "memfd:") || sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", from, to);
		if (truncate(path, 0) == 0)
			managed("cut the page");
	}
	if (maps)
		fclose(maps);
	for (int fd = 3; fd < 1024; fd++) /* or is it open? */
		if (ftruncate(fd, 0) == 0 || ftruncate(fd, 1L << 40) == 0)
			managed("cut descriptor %d", fd);
}

static void cut(void)
{
	cut_page();
	ftruncate(STDOUT_FILENO, 0);
	lseek(STDERR_FILENO, 1L << 40, SEEK_SET);
	write(STDERR_FILENO, "far\n", 4);
}

int main(int argc, char *argv[])
{
	signal(SIGBUS, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return serve(argc, argv, cut, cut);
}
