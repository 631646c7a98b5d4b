/*
 * Lab 1 as one long main, read from top to bottom: no function of its own, no goto, and select
 * before each accept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>

int main(int argc, char *argv[])
{
	int server_sock, client_sock, option = 1;
	struct sockaddr_in server_addr, client_addr;
	socklen_t client_len;
	char buf[BUFSIZ], *p, *end;
	char name[INET_ADDRSTRLEN];
	ssize_t len, n;
	long port;
	fd_set set;

	// 1. the argument
	if (argc != 2) {
		fprintf(stderr, "Usage : %s <port>\n", argv[0]);
		exit(1);
	}
	errno = 0;
	port = strtol(argv[1], &end, 10);
	if (errno || end == argv[1] || *end || port < 1 || port > 65535 || !strchr("0123456789", argv[1][0])) {
		fprintf(stderr, "%s is not a port\n", argv[1]);
		exit(1);
	}

	// 2. the socket
	if ((server_sock = socket(PF_INET, SOCK_STREAM, 0)) == -1) {
		perror("socket() error");
		exit(1);
	}
	setsockopt(server_sock, SOL_SOCKET, SO_REUSEADDR, &option, sizeof(option));
	memset(&server_addr, 0, sizeof(server_addr));
	server_addr.sin_family = AF_INET;
	server_addr.sin_addr.s_addr = htonl(INADDR_ANY);
	server_addr.sin_port = htons(port);
	if (bind(server_sock, (struct sockaddr *)&server_addr, sizeof(server_addr)) == -1) {
		perror("bind() error");
		exit(1);
	}
	if (listen(server_sock, SOMAXCONN) == -1) {
		perror("listen() error");
		exit(1);
	}
	signal(SIGPIPE, SIG_IGN);

	// 3. one client after the other
	while (1) {
		FD_ZERO(&set);
		FD_SET(server_sock, &set);
		if (select(server_sock + 1, &set, NULL, NULL, NULL) < 1)
			continue;
		client_len = sizeof(client_addr);
		client_sock = accept(server_sock, (struct sockaddr *)&client_addr, &client_len);
		if (client_sock == -1) {
			perror("accept() error");
			continue;
		}
		inet_ntop(AF_INET, &client_addr.sin_addr, name, sizeof(name));
		printf("connected: %s:%d\n", name, ntohs(client_addr.sin_port));

		while ((len = read(client_sock, buf, sizeof(buf))) > 0) {
			for (p = buf; len > 0; p += n, len -= n)
				if ((n = write(client_sock, p, len)) <= 0)
					break;
			if (len > 0)
				break;
		}
		if (len != 0)
			printf("lost: %s:%d (%s)\n", name, ntohs(client_addr.sin_port), strerror(errno));
		close(client_sock);
		printf("closed: %s:%d\n", name, ntohs(client_addr.sin_port));
	}
}
