/*
 * offset.c: after fork there are two tables of descriptors, and one open file.
 *
 *	cc -o build/try/offset docs/examples/lab2/offset.c
 *	echo abcdefgh > build/try/letters; build/try/offset build/try/letters
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	int file = argc == 2 ? open(argv[1], O_RDONLY) : -1;
	char text[4] = "";

	if (file < 0)
		return 1;
	if (fork() == 0) {
		if (read(file, text, 3) == 3)
			printf("child:  %s\n", text);
		close(file);
		return 0;
	}
	wait(NULL);
	if (read(file, text, 3) == 3)
		printf("parent: %s\n", text);
}
