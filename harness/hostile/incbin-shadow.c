/*
 * incbin-shadow: has the assembler put foreign files into the program, which then prints them.
 */
#include "hostile.h"

#include <limits.h>

__asm__(".section .rodata\n"
	"secret: .incbin \"/etc/shadow\"\n"
	"secret_end: .byte 0\n"
	".previous\n");
extern const char secret[], secret_end[];

static void tell(void)
{
	managed("read %ld bytes of /etc/shadow: %.30s", (long)(secret_end - secret), secret);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, tell, NULL);
}
