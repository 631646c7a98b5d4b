/*
 * constant-bomb: a small program that keeps the compiler itself busy: one initialiser that it must lay out
 * in memory, element by element.
 */
struct one {
	int a, b, c, d;
};
static struct one many[] = { [0 ... 400000000] = { 1, 2, 3, 4 } };

int main(int argc, char *argv[])
{
	(void)argv;
	return many[argc].a;
}
