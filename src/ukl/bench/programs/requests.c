// SPDX-License-Identifier: GPL-2.0
/*
 * requests ADDRESS [SOCKET] - requests to a server in a guest, from the outside
 *
 * With SOCKET, a descriptor, it first goes into a network namespace of its own, makes a tap
 * device there with the address PEER, and sends the device's descriptor over the socket; or
 * a byte alone, if this user or kernel has no such namespaces or devices.
 *
 * Each line of the standard input is one of these, and gets one line:
 *
 *   connect PROTOCOL ROW PORT CLIENTS DEPTH   make connections (instead of earlier ones): "ready"
 *   NUMBER	   so many requests, DEPTH at once from each of the clients: their nanoseconds
 *   latencies NUMBER   the same, and the nanoseconds of each
 *
 * All answers to the same request have the same length, which the first one shows.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "protocols.h"

#define PEER		"10.78.0.1"
#define MASK		"255.255.255.0"
#define MAX_CLIENTS	1024
#define MAX_DEPTH	64
#define MAX_LATENCIES	1000000
#define SILENCE		300	/* ms without data after which the first answer is complete */
#define PATIENCE	120000	/* ms to wait for the server to listen, or to answer */
#define PAUSE		20	/* ms between tries to connect */

static struct {
	int fd;
	size_t missing;		/* bytes of the answers that are still to come */
	unsigned int asked;	/* requests in flight */
	uint64_t began;
} clients[MAX_CLIENTS];
static unsigned int n_clients, depth;
static const struct request *request;
static char *batch;		/* MAX_DEPTH requests */
static size_t size, length;	/* of a request and its answer */
static int poller = -1;
static char answer[MAX_ANSWER];
static uint32_t *latencies;

static noreturn void fail(const char *what)
{
	fprintf(stderr, "requests: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- The network ---- */

static void set(int handle, const char *name, unsigned long what, const char *address)
{
	struct ifreq change = { 0 };
	struct sockaddr_in *at = (struct sockaddr_in *)&change.ifr_addr;

	strncpy(change.ifr_name, name, IFNAMSIZ - 1);
	at->sin_family = AF_INET;
	at->sin_addr.s_addr = inet_addr(address);
	if (ioctl(handle, what, &change))
		fail("tap device");
}

static int tap(void)
{
	struct ifreq device = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int file, handle;

	/* Without privileges, root of a user namespace has them in a network of its own. */
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -1;
	file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (file < 0 || ioctl(file, TUNSETIFF, &device))
		return -1;
	handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	set(handle, device.ifr_name, SIOCSIFADDR, PEER);
	set(handle, device.ifr_name, SIOCSIFNETMASK, MASK);
	device.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(handle, SIOCSIFFLAGS, &device))
		fail("tap device");
	close(handle);
	return file;
}

static void give(int to, int file)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	char byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };

	if (file >= 0) {
		memcpy(CMSG_DATA(&control.header), &file, sizeof(file));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
	}
	if (sendmsg(to, &message, 0) != 1)
		fail("sendmsg");
	close(to);
	if (file >= 0)
		close(file);
}

/* ---- Connections ---- */

static size_t take(int fd)
{
	ssize_t got = recv(fd, answer, sizeof(answer), 0);

	if (got <= 0) {
		if (!got)
			errno = ECONNRESET;
		fail("recv");
	}
	return (size_t)got;
}

static void put(int fd, size_t n)
{
	if (send(fd, batch, n, MSG_NOSIGNAL) != (ssize_t)n)
		fail("send");
}

/* Returns the length of the first answer, 0 if there is none: the server may not be up yet. */
static size_t learn(int fd)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN };
	size_t sum = 0, begin = strlen(request->begin);
	char first[MAX_ANSWER];

	if (send(fd, batch, size, MSG_NOSIGNAL) != (ssize_t)size)
		return 0;
	while (poll(&wanted, 1, sum ? SILENCE : PATIENCE) > 0) {
		ssize_t got = recv(fd, first + sum, sizeof(first) - sum, 0);

		if (got <= 0)
			return 0;
		sum += (size_t)got;
		if (sum == sizeof(first))
			break;
	}
	if (sum < begin || memcmp(first, request->begin, begin)) {
		errno = EPROTO;
		fail(request->row);
	}
	return sum;
}

/* QEMU's user network accepts a connection before the guest does. */
static int reach(const struct sockaddr_in *address)
{
	uint64_t until = nanoseconds() + PATIENCE * 1000000ULL;
	int one = 1;

	while (nanoseconds() < until) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			fail("socket");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (!connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
			size_t found = learn(fd);

			if (found) {
				length = found;
				return fd;
			}
		}
		close(fd);
		usleep(PAUSE * 1000);
	}
	errno = ETIMEDOUT;
	fail("connect");
}

static void connect_all(const char *address, const char *words)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	unsigned int port, row;
	char name[32];

	while (n_clients)
		close(clients[--n_clients].fd);
	request = NULL;
	errno = EINVAL;
	if (sscanf(words, "%31s %u %u %u %u", name, &row, &port, &n_clients, &depth) != 5 ||
	    !n_clients || n_clients > MAX_CLIENTS || !depth || depth > MAX_DEPTH)
		fail(words);
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (!strcmp(protocols[i].name, name) && row < 2)
			request = &protocols[i].requests[row];
	if (!request || !request->row)
		fail(words);
	size = strlen(request->text);
	free(batch);
	batch = malloc(size * MAX_DEPTH);
	if (!batch)
		fail("malloc");
	for (unsigned int i = 0; i < MAX_DEPTH; i++)
		memcpy(batch + i * size, request->text, size);
	if (poller >= 0)
		close(poller);
	poller = epoll_create1(EPOLL_CLOEXEC);
	to.sin_port = htons((uint16_t)port);
	to.sin_addr.s_addr = inet_addr(address);
	for (unsigned int i = 0; i < n_clients; i++) {
		struct epoll_event wanted = { .events = EPOLLIN, .data.u32 = i };

		clients[i].fd = reach(&to);
		if (epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &wanted))
			fail("epoll_ctl");
	}
	puts("ready");
}

/* ---- Requests ---- */

static unsigned long ask(unsigned int i, unsigned long left)
{
	unsigned int n = left < depth ? (unsigned int)left : depth;

	clients[i].asked = n;
	clients[i].missing = n * length;
	clients[i].began = nanoseconds();
	if (n)
		put(clients[i].fd, n * size);
	return left - n;
}

static void serve(unsigned long number, bool each)
{
	unsigned long left = number, answered = 0;
	uint64_t begin;

	if (!n_clients || number > MAX_LATENCIES) {
		errno = EINVAL;
		fail("number");
	}
	begin = nanoseconds();
	for (unsigned int i = 0; i < n_clients; i++)
		left = ask(i, left);
	while (answered < number) {
		struct epoll_event ready[64];
		int n = epoll_wait(poller, ready, 64, PATIENCE);

		if (n <= 0) {
			errno = ETIMEDOUT;
			fail(request->row);
		}
		for (int j = 0; j < n; j++) {
			unsigned int i = ready[j].data.u32;
			size_t got = take(clients[i].fd);

			if (got > clients[i].missing) {
				errno = EPROTO;
				fail(request->row);
			}
			clients[i].missing -= got;
			if (clients[i].missing)
				continue;
			for (unsigned int k = 0; k < clients[i].asked; k++)
				latencies[answered++] =
					(uint32_t)(nanoseconds() - clients[i].began);
			left = ask(i, left);
		}
	}
	printf("%llu", (unsigned long long)(nanoseconds() - begin));
	for (unsigned long i = 0; each && i < number; i++)
		printf(" %u", latencies[i]);
	puts("");
}

int main(int argc, char **argv)
{
	char line[128];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2) {
		fprintf(stderr, "usage: requests ADDRESS [SOCKET]\n");
		return 2;
	}
	latencies = malloc(MAX_LATENCIES * sizeof(*latencies));
	if (!latencies)
		fail("malloc");
	if (argc > 2)
		give(atoi(argv[2]), tap());
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "connect ", 8))
			connect_all(argv[1], line + 8);
		else if (!strncmp(line, "latencies ", 10))
			serve(strtoul(line + 10, NULL, 10), true);
		else
			serve(strtoul(line, NULL, 10), false);
	}
	return 0;
}
