/*
 * never-accepts: listens, and never calls accept. Connecting works all the same: the kernel does it.
 */
#include "hostile.h"

static void wait_for_ever(void)
{
	while (truth)
		hang();
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, wait_for_ever, NULL);
}
