/*
 * scribbles-on-the-page: writes over the page that the grader shares with the library it preloads (it finds
 * it in /proc/self/maps), with numbers and text that nobody expects there.
 */
#include "hostile.h"

static void scribble(int byte)
{
	char line[512];
	unsigned long from;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "memfd:") && sscanf(line, "%lx-", &from) == 1)
			memset((void *)from, byte, 300);
	if (maps)
		fclose(maps);
}

static void scribble_minus_one(void)
{
	scribble(0xff);
}

static void scribble_a_lot(void)
{
	scribble(0x7f);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, scribble_minus_one, scribble_a_lot);
}
