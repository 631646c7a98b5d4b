/*
 * buffer.c: what printf has not yet written is copied by fork, and written by exit.
 *
 *	cc -o build/try/buffer docs/examples/lab2/buffer.c
 *	build/try/buffer
 *	build/try/buffer | cat
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	printf("listening\n");
	if (fork() == 0)
		exit(0);
	wait(NULL);
}
