/*
 * sysv-shm-hog: System V shared memory, which outlives its makers until somebody removes it; and a
 * semaphore set and a message queue beside it, which do so as well.
 */
#include "hostile.h"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static void hog(void)
{
	long held = 0;

	semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	while (held < MOST_MEMORY) {
		int id = shmget(IPC_PRIVATE, 32 * MEBIBYTE, IPC_CREAT | 0600);
		char *memory = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
		if (memory == (void *)-1)
			_exit(1);
		memset(memory, 1, 32 * MEBIBYTE);
		shmdt(memory); /* it is nobody's now, and still there */
		held += 32 * MEBIBYTE;
	}
	managed("held %ld MiB of System V shared memory", held / MEBIBYTE);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, hog);
}
