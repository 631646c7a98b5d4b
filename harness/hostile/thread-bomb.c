/*
 * thread-bomb: threads instead of processes, for those who count processes. Says how many it got
 * when there are more than any server of these labs could want.
 */
#include "hostile.h"

#include <pthread.h>

static void *sleep_on(void *nothing)
{
	hang();
	return nothing;
}

static void bomb(void)
{
	pthread_attr_t small;
	pthread_t thread;
	int count = 0;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	while (count < 500 && pthread_create(&thread, &small, sleep_on, NULL) == 0)
		count++;
	if (count == 500)
		managed("%d threads", count);
	hang();
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, bomb);
}
