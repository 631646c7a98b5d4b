/*
 * odd-names: calls itself, and children that it leaves, "x) Z 1 (", "keeper", a name with a newline, and
 * no name: for whoever reads /proc/PID/stat or ps. It serves well.
 */
#include "hostile.h"

#include <sys/prctl.h>

static char **arguments;

static void rename_all(void)
{
	static const char *const names[] = { ") Z 1 (", "keeper",  "a\nPPid:\t1\nb",
					     "",        "\033[2J", "\xff\xfe" };

	for (int i = 0; i < 6; i++)
		if (fork() == 0) {
			prctl(PR_SET_NAME, names[i]);
			memset(arguments[0], 0, strlen(arguments[0]));
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	prctl(PR_SET_NAME, ") Z 1 (");
}

int main(int argc, char *argv[])
{
	arguments = argv;
	return serve(argc, argv, rename_all, NULL);
}
