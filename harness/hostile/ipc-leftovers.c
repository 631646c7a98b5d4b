/*
 * ipc-leftovers: makes a little of each thing that outlives its maker: shared memory, semaphores and
 * queues, System V's and POSIX's. A server that forgot to clean up; it serves well.
 */
#include "hostile.h"

#include <mqueue.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void leave(void)
{
	char name[64];

	shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	snprintf(name, sizeof(name), "/hostile-%d", getpid());
	mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
	shm_open(name, O_CREAT | O_RDWR, 0600);
	sem_open(name, O_CREAT, 0600, 0);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, leave, NULL);
}
