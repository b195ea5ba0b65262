// SPDX-License-Identifier: GPL-2.0
/*
 * tcp-echo-kernel - send every byte back to the client that it came from
 *
 * The event loop is kernel code, in echo.c. In a normal process it is the one below, which does
 * the same by epoll. SIGTERM and SIGINT end the program with status 0.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo.h"

#define PORT		5555
#define BUFFER_SIZE	(16 * 1024)
#define EVENTS		256

struct client {
	int fd;
	size_t start, end;	/* data to send: buffer[start..end) */
	char buffer[BUFFER_SIZE];
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int failed(const char *what)
{
	fprintf(stderr, "tcp-echo-kernel: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Send as much as the socket takes; 0 if the connection is broken. */
static int send_back(struct client *client)
{
	while (client->start < client->end) {
		ssize_t sent = send(client->fd, client->buffer + client->start,
				    client->end - client->start, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN;
		client->start += sent;
	}
	client->start = 0;
	client->end = 0;
	return 1;
}

/* Send back what has come; 0 at the end of the connection. */
static int serve(struct client *client)
{
	for (;;) {
		ssize_t got;

		if (!send_back(client))
			return 0;
		if (client->end)	/* EPOLLOUT follows */
			return 1;
		got = recv(client->fd, client->buffer, BUFFER_SIZE, 0);
		if (got <= 0)
			return got < 0 && errno == EAGAIN;
		client->end = got;
		if (got < BUFFER_SIZE)
			return send_back(client);
	}
}

static void accept_clients(int poller, int listener)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *client = malloc(sizeof(*client));

		if (!client) {
			close(fd);
			return;
		}
		client->fd = fd;
		client->start = 0;
		client->end = 0;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		event.data.ptr = client;
		if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
			close(fd);
			free(client);
		}
	}
}

UKL_FALLBACK(echo_serve)
{
	struct epoll_event events[EVENTS], event = { .events = EPOLLIN };
	int poller = epoll_create1(EPOLL_CLOEXEC);

	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		return -errno;
	while (!stopped) {
		int number = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < number; i++) {
			struct client *client = events[i].data.ptr;

			if (!client) {
				accept_clients(poller, fd);
			} else if (!serve(client)) {
				close(client->fd);
				free(client);
			}
		}
	}
	return -EINTR;
}

int main(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct sigaction action = { .sa_handler = on_signal };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	long error;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof(any)) ||
	    listen(listener, SOMAXCONN))
		return failed("listen");
	printf("tcp-echo-kernel: listening on port %d\n", PORT);
	fflush(stdout);
	/* A signal that is not ours (a debugger's stop and go) ends a call, too. */
	do
		error = echo_serve(listener);
	while (error == -EINTR && !stopped);
	if (error == -EINTR)
		return 0;
	errno = (int)-error;
	return failed("serve");
}
