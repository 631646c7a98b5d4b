/*
 * cpu-spin-forty: forty processes that compute without end, in sessions of their own, while the server
 * serves well: a load for whoever is graded beside it.
 */
#include "hostile.h"

static void spin(void)
{
	time_t end = time(NULL) + MOST_SECONDS;

	for (int i = 0; i < 40; i++)
		if (fork() == 0) {
			setsid();
			while (time(NULL) < end)
				;
			_exit(0);
		}
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, spin, NULL);
}
