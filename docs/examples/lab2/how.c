/*
 * how.c: how did that program end?
 *
 *	cc -o build/try/how docs/examples/lab2/how.c
 *	build/try/how sh -c 'exit 3'
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	int status;

	if (argc > 1 && fork() == 0) {
		execvp(argv[1], argv + 1);
		_exit(127); /* there is no such program */
	}
	if (wait(&status) < 0) {
		perror("wait");
		return 1;
	}
	if (WIFEXITED(status))
		printf("0x%04x: exited with %d\n", (unsigned)status, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		printf("0x%04x: killed by signal %d\n", (unsigned)status, WTERMSIG(status));
}
