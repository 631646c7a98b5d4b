/*
 * bytes.c: what read says of the bytes on stdin, and what strlen says of them.
 *
 *	cc -o build/try/bytes docs/examples/lab1/bytes.c
 *	printf 'before\0after\n' | build/try/bytes
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	char buffer[64];
	ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer) - 1);

	if (n < 0)
		return 1;
	buffer[n] = '\0'; /* read has not put one there */
	printf("read brought %zd bytes, strlen finds %zu\n", n, strlen(buffer));
}
