/*
 * stops-itself: SIGSTOP to itself. It is there, it uses no time, it never answers, and SIGTERM
 * waits until somebody continues it.
 */
#include "hostile.h"

static void stop(void)
{
	raise(SIGSTOP);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, stop);
}
