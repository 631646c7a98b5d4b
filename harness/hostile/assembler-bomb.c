/*
 * assembler-bomb: nested repetitions in the assembler, behind the compiler's back: no end of text, time or
 * file.
 */
__asm__(".rept 100000\n.rept 100000\n.rept 100000\n.byte 1\n.endr\n.endr\n.endr\n");

int main(void)
{
	return 0;
}
