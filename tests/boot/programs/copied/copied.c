// SPDX-License-Identifier: GPL-2.0
/*
 * A server of which a test starts copies: answers each line with what the test wants to know.
 * Each connection stays open, and its errors are counted.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT	5555
#define CLIENTS	16
#define SIZE	(8 << 20)

static struct pollfd fds[1 + CLIENTS];
static unsigned int *data;
static volatile sig_atomic_t told;
static int resets;
static unsigned char first[16];	/* drawn at once: later, time alone would make copies differ */

static void on_cont(int number)
{
	(void)number;
	(void)!getrandom(first, sizeof(first), 0);
	told++;
}

static char *hex(char *end, const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		end += sprintf(end, "%02x", bytes[i]);
	return end;
}

static void answer(int fd)
{
	unsigned char bytes[16];
	char host[65] = "", line[300], *end = line;
	unsigned int sum = 0;

	for (size_t i = 0; i < SIZE / sizeof(*data); i++)
		sum = sum * 31 + data[i];
	gethostname(host, sizeof(host) - 1);
	(void)!getrandom(bytes, sizeof(bytes), 0);
	end += sprintf(end, "name=%s time=%lld told=%d resets=%d sum=%u random=", host,
		       (long long)time(NULL), (int)told, resets, sum);
	end = hex(end, bytes, sizeof(bytes));
	end = hex(end + sprintf(end, " first="), first, sizeof(first));
	*end++ = '\n';
	(void)!write(fd, line, end - line);
}

static void serve(struct pollfd *client)
{
	char line[100];
	ssize_t got = read(client->fd, line, sizeof(line));

	if (got > 0) {
		answer(client->fd);
		return;
	}
	resets += got < 0 && errno == ECONNRESET;
	close(client->fd);
	client->fd = -1;
}

static void take(void)
{
	int fd = accept(fds[0].fd, NULL, NULL);

	for (int i = 1; i <= CLIENTS; i++)
		if (fds[i].fd < 0) {
			fds[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
			return;
		}
	close(fd);
}

int main(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	signal(SIGCONT, on_cont);
	data = malloc(SIZE);
	for (size_t i = 0; i < SIZE / sizeof(*data); i++)
		data[i] = i * 2654435761u;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 16)) {
		perror("copied");
		return 1;
	}
	for (int i = 0; i <= CLIENTS; i++)
		fds[i].fd = -1;
	fds[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
	puts("copied: listening");
	fflush(stdout);
	for (;;) {
		if (poll(fds, 1 + CLIENTS, -1) < 0)
			continue;
		for (int i = 1; i <= CLIENTS; i++)
			if (fds[i].fd >= 0 && fds[i].revents)
				serve(&fds[i]);
		if (fds[0].revents)
			take();
	}
}
