/*
 * forks: how long it takes to make a child that ends at once, and to reap it.
 *
 *	forks 0 100	first with next to no memory, then with 100 MiB more
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILDREN 200

/* The time since some point in the past, in nanoseconds. */
static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Makes the process larger by SIZE bytes, in pages of the usual size. */
static void grow(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	madvise(memory, size, MADV_NOHUGEPAGE); /* where there are no huge ones, it fails: fine */
	memset(memory, 1, size);                /* only what was written to is there */
}

int main(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		long mebibytes = strtol(argv[i], NULL, 10);
		if (mebibytes > 0)
			grow((size_t)mebibytes * 1024 * 1024);

		long long start = now();
		for (int n = 0; n < CHILDREN; n++) {
			pid_t pid = fork();
			if (pid == 0)
				_exit(0);
			if (pid < 0 || waitpid(pid, NULL, 0) < 0) {
				perror("fork");
				return 1;
			}
		}
		printf("%ld MiB more: %lld ns a child\n", mebibytes, (now() - start) / CHILDREN);
	}
	return 0;
}
