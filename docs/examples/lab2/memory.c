/*
 * memory.c: after fork, parent and child each have a variable of their own at one address.
 *
 *	cc -o build/try/memory docs/examples/lab2/memory.c && build/try/memory
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int clients = 1;

	switch (fork()) {
	case -1:
		perror("fork");
		return 1;
	case 0:
		clients = 2;
		printf("child:  %d, at address %lu\n", clients, (unsigned long)&clients);
		return 0;
	}
	wait(NULL); /* so that the child speaks first */
	printf("parent: %d, at address %lu\n", clients, (unsigned long)&clients);
}
