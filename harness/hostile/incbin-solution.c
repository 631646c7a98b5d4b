/*
 * incbin-solution: has the assembler put the kit's solution into the program, which could print it or
 * compile it.
 */
#include "hostile.h"

__asm__(".section .rodata\n"
	"secret: .incbin \"../../../../solutions/lab2-fork/server.c\"\n"
	"secret_end: .byte 0\n"
	".previous\n");
extern const char secret[], secret_end[];

static void tell(void)
{
	managed("read %ld bytes of the solution", (long)(secret_end - secret));
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, tell, NULL);
}
