/*
 * cpu-spin: computes without end at its first client. By accident: a read of 0 bytes taken for "try
 * again".
 */
#include "hostile.h"

static void spin(void)
{
	time_t end = time(NULL) + MOST_SECONDS;

	while (time(NULL) < end)
		;
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, spin);
}
