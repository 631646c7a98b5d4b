/*
 * connects-out: connects to a machine elsewhere (192.0.2.1, an address that documents use), as one
 * does who sends the grader's files to himself.
 */
#include "hostile.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static void connect_out(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };
	const struct timeval second = { .tv_sec = 1 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "192.0.2.1", &address.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		managed("connected to 192.0.2.1");
	close(fd);
}

int main(int argc, char *argv[])
{
	return serve(argc, argv, connect_out, NULL);
}
