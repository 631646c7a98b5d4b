/*
 * memory-hog: takes memory without end and uses it, at its first client. By accident: realloc in a
 * loop whose end never comes.
 */
#include "hostile.h"

static void hog(void)
{
	for (long held = 0; held < MOST_MEMORY; held += 8 * MEBIBYTE)
		memset(malloc(8 * MEBIBYTE), 1, 8 * MEBIBYTE); /* nobody looks at malloc's answer */
	managed("held %ld MiB in one process", MOST_MEMORY / MEBIBYTE);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, NULL, hog);
}
