/*
 * squats-ports: takes every port that other gradings would use (10000 to 29999), with as many processes
 * as it gets, and the names by which graders reserve ports and users (abstract sockets, unix(7)). It
 * serves well itself.
 */
#include "hostile.h"

#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

static int squat(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
		close(fd);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	int n = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "forklab-port-%d", port);
	bind(fd, (struct sockaddr *)&name,
	     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n));
	return fd;
}

static void squat_all(void)
{
	int ready[2];
	char nothing;

	pipe(ready);
	for (int i = 0; i < 40; i++)
		if (fork() == 0) {
			for (int port = 10000 + i * 500; port < 10500 + i * 500; port++)
				if (squat(port) < 0)
					break;
			close(ready[0]);
			close(ready[1]);
			hang();
			_exit(0);
		}
	close(ready[1]);
	read(ready[0], &nothing, 1); /* until each has its ports */
	close(ready[0]);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, squat_all, NULL);
}
