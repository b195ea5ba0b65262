// SPDX-License-Identifier: GPL-2.0
/*
 * A server on port 5555 with a process per client, which waits by epoll. It returns each byte
 * and then does what that says, for LONG. A `q` ends it: it prints what the kernel has held.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LONG	1000	/* ms */
#define BULK	(1 << 20)

static const struct timespec long_time = { LONG / 1000, LONG % 1000 * 1000000 };
static char bulk[BULK];

static void compute(void)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += LONG / 1000;
	end.tv_nsec += LONG % 1000 * 1000000;
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec ||
		 (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
}

static void act(char what, int client)
{
	int word = 0;

	switch (what) {
	case 'c':
		compute();
		break;
	case 's':
		nanosleep(&long_time, NULL);
		break;
	case 'f':
		syscall(SYS_futex, &word, FUTEX_WAIT, 0, &long_time, NULL, 0);
		break;
	case 't':
		raise(SIGSTOP);		/* its parent resumes it */
		break;
	case 'k':
		raise(SIGKILL);
		break;
	case 'h':			/* others compute on the same processor */
		for (int i = 0; i < 4; i++) {
			if (!fork()) {
				compute();
				_exit(0);
			}
		}
		compute();
		break;
	case 'b':
		/* Many packets, more than the device has room for. */
		for (size_t sent = 0; sent < BULK; ) {
			ssize_t n = write(client, bulk + sent, BULK - sent);

			if (n <= 0)
				_exit(1);
			sent += (size_t)n;
		}
		compute();
		break;
	}
}

static void serve(int client)
{
	struct epoll_event event = { .events = EPOLLIN };
	int poller = epoll_create1(0);
	struct pollfd pollfd = { .fd = client, .events = POLLIN };
	fd_set set;

	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, client, &event))
		_exit(1);
	for (unsigned int round = 0;; round++) {
		int n;
		char what;

		/* All calls that wait for events */
		switch (round % 3) {
		case 0:
			n = epoll_wait(poller, &event, 1, -1);
			break;
		case 1:
			n = poll(&pollfd, 1, -1);
			break;
		default:
			FD_ZERO(&set);
			FD_SET(client, &set);
			n = select(client + 1, &set, NULL, NULL, NULL);
			break;
		}
		if (n != 1 || read(client, &what, 1) != 1)
			_exit(0);
		if (write(client, &what, 1) != 1)
			_exit(1);
		act(what, client);
	}
}

static void resume_stopped(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (WIFSTOPPED(status)) {
			nanosleep(&long_time, NULL);
			kill(pid, SIGCONT);
		}
	}
}

int main(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(5555) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, client;
	char text[200] = "", what;
	FILE *counts;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
		return 1;
	puts("listening");
	for (;;) {
		struct pollfd wanted = { .fd = listener, .events = POLLIN };

		resume_stopped();
		if (poll(&wanted, 1, 20) != 1)
			continue;
		client = accept(listener, NULL, NULL);
		if (client < 0)
			return 2;
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (recv(client, &what, 1, MSG_PEEK) == 1 && what == 'q')
			break;
		if (!fork())
			serve(client);
		close(client);
	}
	counts = fopen("/sys/module/held_kick/parameters/counts", "r");
	if (!counts || !fgets(text, sizeof(text), counts))
		return 3;
	printf("counts: %s", text);
	return 0;
}
