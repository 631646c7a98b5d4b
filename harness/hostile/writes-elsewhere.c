/*
 * writes-elsewhere: tries to write where the grader or somebody else would read: results, the kit, other
 * run folders, its own program, its home's start-up files.
 */
#include "hostile.h"

static void try_to_write(const char *folder)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/hostile-was-here", folder);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd >= 0)
		managed("wrote %s", path);
}

static void write_all_over(void)
{
	static const char *const names[] = { "labs",
					     "solutions",
					     "harness",
					     "harness/forklab",
					     "harness/checks",
					     "build",
					     "build/tools",
					     "build/runs",
					     "out",
					     ".",
					     "plain",
					     "plain/out",
					     "grades" };
	char path[4096];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (find_in_kit(names[i], path))
			try_to_write(path);
	try_to_write("..");
	try_to_write("../..");
	try_to_write("../../..");
	try_to_write("/usr/lib");
	try_to_write("/etc");
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 10);
	if (n > 0) {
		path[n] = '\0';
		struct stat program;
		if (open(path, O_WRONLY | O_APPEND) >= 0 ||
		    (stat(path, &program) == 0 && program.st_uid != getuid() &&
		     chmod(path, 0777) == 0))
			managed("can change its own program");
		char other[4096];
		snprintf(other, sizeof(other), "%.4000s-moved", path);
		if (rename(path, other) == 0)
			managed("moved its own program");
	}
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, write_all_over, NULL);
}
