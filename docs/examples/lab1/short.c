/*
 * short.c: a write that takes only a part, made to order.
 *
 *	cc -o build/try/short docs/examples/lab1/short.c && build/try/short
 * Nobody reads from the pipe, so it fills up. Then a signal comes while write sleeps.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static char data[1000000];

static void wake(int number)
{
	(void)number; /* that write wakes up is all we want */
}

int main(void)
{
	int ends[2];

	if (pipe(ends) < 0)
		return 1;
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = wake }, NULL);
	ualarm(100000, 100000); /* microseconds: ten times a second */

	ssize_t n = write(ends[1], data, sizeof(data));
	printf("write took %zd of %zu bytes\n", n, sizeof(data));
}
