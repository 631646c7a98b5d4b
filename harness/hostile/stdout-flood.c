/*
 * stdout-flood: prints without end. By accident: a message in a loop that spins at end of file.
 */
#include "hostile.h"

static void flood(void)
{
	static char line[64 * 1024];

	memset(line, 'y', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	signal(SIGXFSZ, SIG_IGN); /* the limit of a file's size is not to end it */
	for (long written = 0; written < MOST_DISK; written += (long)sizeof(line))
		write(STDOUT_FILENO, line, sizeof(line));
	managed("wrote without end");
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, flood);
}
