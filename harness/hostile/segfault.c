/*
 * segfault: a null pointer at the first client, in the parent: the most usual of all ends.
 */
#include "hostile.h"

static void crash(void)
{
	*(volatile int *)(truth ? NULL : &truth) = 1;
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, crash);
}
