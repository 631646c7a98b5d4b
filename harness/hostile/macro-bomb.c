/*
 * macro-bomb: ten macros, each ten times the one before: ten thousand million operands.
 */
#define A(x) x x x x x x x x x x
#define B(x) A(A(x))
#define C(x) B(B(x))
#define D(x) C(C(x))
int main(void)
{
	return 0 D(B(+1));
}
