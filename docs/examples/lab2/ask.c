/*
 * ask.c: the three answers of waitpid with WNOHANG.
 *
 *	cc -o build/try/ask docs/examples/lab2/ask.c && build/try/ask
 */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	pid_t child = fork();

	if (child < 0)
		return 1;
	if (child == 0) {
		pause(); /* until a signal ends it */
		_exit(0);
	}
	printf("while it lives: %d\n", waitpid(child, NULL, WNOHANG));
	kill(child, SIGTERM);
	printf("when it has ended: %d\n", waitpid(child, NULL, 0)); /* sleeps till then */
	printf("after that: %d\n", waitpid(child, NULL, WNOHANG));
	perror("waitpid");
}
