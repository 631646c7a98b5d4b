/*
 * includes-itself: twice, so that each of the 200 levels that the compiler allows has twice as many as the
 * one above. By accident: a header without a guard, included by itself.
 */
#include __FILE__
#include __FILE__
int main(void)
{
	return 0;
}
