/*
 * includes-shadow: includes files that are none of its business, so that the compiler's words show them.
 */
#include "/etc/shadow"
#include "/proc/self/environ"
#include "/proc/1/environ"
#include "/root/.bashrc"
#include_next "/etc/gshadow"
int main(void)
{
	return 0;
}
