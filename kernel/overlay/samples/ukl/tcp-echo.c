// SPDX-License-Identifier: GPL-2.0
/*
 * tcp-echo [PORT] - send every byte back to the client that it came from
 *
 * An ordinary Linux program: one thread, epoll, non-blocking sockets. Each
 * client has a buffer of data that it has sent and not yet received back. While
 * the buffer is full, the server does not read from that client, so a client
 * that does not read blocks only itself. After a client has shut down its
 * sending side, it receives the rest and the connection is closed. SIGTERM and
 * SIGINT end the program with status 0.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_PORT	5555
#define BUFFER_SIZE	(64 * 1024)
#define EVENTS		256
#define WANTED_FILES	65536
/* Retry interval while out of file descriptors [ms] */
#define RETRY		200

struct client {
	int fd;
	unsigned int interest;	/* events that epoll watches */
	bool ended;		/* the client has shut down sending */
	size_t start, end;	/* data to send: buffer[start..end) */
	char buffer[BUFFER_SIZE];
};

static int epoll_fd, listen_fd, signal_fd;
static bool accepting;

static void die(const char *what)
{
	fprintf(stderr, "tcp-echo: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int fd, void *data)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = data };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void set_accepting(bool on)
{
	if (on == accepting)
		return;
	accepting = on;
	if (on)
		watch(listen_fd, &listen_fd);
	else if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listen_fd, NULL))
		die("epoll_ctl");
}

static void drop(struct client *client)
{
	close(client->fd);
	free(client);
	/* A file descriptor is free again. */
	set_accepting(true);
}

/* Read as much as fits; false if the connection is broken. */
static bool receive(struct client *client)
{
	while (!client->ended && client->end < BUFFER_SIZE) {
		size_t room = BUFFER_SIZE - client->end;
		ssize_t n = recv(client->fd, client->buffer + client->end, room, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		if (n == 0)
			client->ended = true;
		client->end += n;
		/* A short read: no more data for now. */
		if ((size_t)n < room)
			break;
	}
	return true;
}

/* Send as much as the socket takes; false if the connection is broken. */
static bool send_back(struct client *client)
{
	while (client->start < client->end) {
		ssize_t n = send(client->fd, client->buffer + client->start,
				 client->end - client->start, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		client->start += n;
	}
	client->start = 0;
	client->end = 0;
	return true;
}

static void serve(struct client *client, unsigned int events)
{
	struct epoll_event event = { .data.ptr = client };

	/* The connection is closed in both directions. */
	if (events & (EPOLLERR | EPOLLHUP))
		goto gone;
	if ((events & EPOLLIN) && !receive(client))
		goto gone;
	if (!send_back(client))
		goto gone;
	if (client->ended && client->end == 0)
		goto gone;

	/* Make space for the next read after half has been sent. */
	if (client->end == BUFFER_SIZE && client->start >= BUFFER_SIZE / 2) {
		client->end -= client->start;
		memmove(client->buffer, client->buffer + client->start, client->end);
		client->start = 0;
	}
	if (!client->ended && client->end < BUFFER_SIZE)
		event.events |= EPOLLIN;
	if (client->end)
		event.events |= EPOLLOUT;
	if (event.events == client->interest)
		return;
	client->interest = event.events;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->fd, &event))
		die("epoll_ctl");
	return;
gone:
	drop(client);
}

static void accept_clients(void)
{
	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct epoll_event event = { .events = EPOLLIN };
		struct client *client;
		int one = 1;

		if (fd < 0) {
			switch (errno) {
			case EAGAIN:
				return;
			case EMFILE:
			case ENFILE:
			case ENOBUFS:
			case ENOMEM:
				/* Keep new connections in the backlog. */
				set_accepting(false);
				return;
			case EBADF:
			case EFAULT:
			case EINVAL:
			case ENOTSOCK:
				die("accept");
			}
			/* The connection has been closed already, or EINTR. */
			continue;
		}
		client = malloc(sizeof(*client));
		if (!client) {
			close(fd);
			set_accepting(false);
			return;
		}
		client->fd = fd;
		client->interest = EPOLLIN;
		client->ended = false;
		client->start = 0;
		client->end = 0;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		event.data.ptr = client;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
			drop(client);
	}
}

/* Listen on all addresses, of IPv6 and IPv4 if both are available. */
static int listen_on(unsigned short port)
{
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	const struct sockaddr *address = (struct sockaddr *)&any6;
	socklen_t length = sizeof(any6);
	int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
	int zero = 0, one = 1;
	int fd = socket(AF_INET6, type, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero))) {
		if (fd >= 0)
			close(fd);
		fd = socket(AF_INET, type, 0);
		address = (struct sockaddr *)&any4;
		length = sizeof(any4);
	}
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, address, length))
		die("bind");
	if (listen(fd, SOMAXCONN))
		die("listen");
	return fd;
}

static void raise_file_limit(void)
{
	struct rlimit limit, wanted = { WANTED_FILES, WANTED_FILES };

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= WANTED_FILES)
		return;
	/* Raising the hard limit needs privilege; else use the hard limit. */
	if (limit.rlim_max >= WANTED_FILES)
		wanted.rlim_max = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &wanted)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int open_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		die("sigprocmask");
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		die("signalfd");
	return fd;
}

static unsigned short parse_port(const char *text)
{
	char *end;
	unsigned long port;

	errno = 0;
	port = strtoul(text, &end, 10);
	if (errno || end == text || *end || port < 1 || port > 65535) {
		fprintf(stderr, "tcp-echo: not a port: %s\nusage: tcp-echo [PORT]\n", text);
		exit(2);
	}
	return port;
}

int main(int argc, char **argv)
{
	unsigned short port = argc > 1 ? parse_port(argv[1]) : DEFAULT_PORT;
	struct epoll_event events[EVENTS];

	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	signal_fd = open_signals();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1");
	listen_fd = listen_on(port);
	watch(signal_fd, &signal_fd);
	set_accepting(true);
	printf("tcp-echo: listening on port %d\n", port);
	fflush(stdout);

	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS, accepting ? -1 : RETRY);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		if (n == 0)
			set_accepting(true);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &signal_fd)
				return 0;
			if (events[i].data.ptr == &listen_fd)
				accept_clients();
			else
				serve(events[i].data.ptr, events[i].events);
		}
	}
}
