// SPDX-License-Identifier: 0BSD
/* Answers each request with a line of text: in the kernel, by @NAME@-kernel.c. */

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "@NAME@-kernel.h"

#define PORT 8080

/* What runs instead in a normal process (ukl run --mode process) */
UKL_FALLBACK(answer)
{
	char request[4096];
	const char *body = "Hello from a process.\n";

	if (read(connection, request, sizeof(request)) <= 0)
		return -1;
	return dprintf(connection,
		       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
		       "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
		       strlen(body), body);
}

int main(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;

	signal(SIGPIPE, SIG_IGN);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof(any)) ||
	    listen(listener, SOMAXCONN)) {
		perror("@NAME@");
		return 1;
	}
	printf("listening on port %d\n", PORT);
	fflush(stdout);
	for (;;) {
		int connection = accept(listener, NULL, NULL);

		if (connection < 0)
			continue;
		answer(connection);
		close(connection);
	}
}
