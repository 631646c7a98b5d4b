/*
 * deep-folders: folders in folders, too deep for a path, a name that is no text, and no right to
 * enter: for whoever removes its files afterwards. It serves well.
 */
#include "hostile.h"

static void dig(const char *start)
{
	int home = open(".", O_RDONLY | O_DIRECTORY);

	if (chdir(start) == 0 && mkdir("hostile-\xff\n\033[2J", 0700) == 0) {
		chdir("hostile-\xff\n\033[2J");
		for (int i = 0; i < 2500 && mkdir("ddddddddd", 0700) == 0; i++)
			if (chdir("ddddddddd") < 0)
				break;
		close(open("file", O_CREAT | O_WRONLY, 0));
		chmod(".", 0);
	}
	fchdir(home);
	close(home);
}

static void dig_all(void)
{
	dig(".");
	dig("/tmp");
	symlink("/etc", "etc");
	mkfifo("pipe", 0600); /* who opens it waits for a writer */
	chmod(".", 0);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, dig_all, NULL);
}
