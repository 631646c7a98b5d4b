/*
 * array-bomb: 16 GiB of data that must be in the program's file. By accident: a zero too many in a constant.
 */
static char table[16UL << 30] = { 1 };

int main(int argc, char *argv[])
{
	(void)argv;
	return table[argc];
}
