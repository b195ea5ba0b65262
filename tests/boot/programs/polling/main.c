// SPDX-License-Identifier: GPL-2.0
/*
 * Echo one client on port 5555, byte by byte. The first byte chooses how: 'w' waits for each byte
 * in epoll_wait(), 's' has the interrupts of its NAPI instance suspended and polls in epoll_wait()
 * (Documentation/networking/napi.rst, IRQ suspension). At the end, print how many interrupts of
 * the network device came in.
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* linux/netdev.h and linux/eventpoll.h are newer than the C libraries that this is for. */
#define MY_NETDEV_CMD_NAPI_SET		14
#define MY_NETDEV_A_NAPI_ID		2
#define MY_NETDEV_A_DEFER_HARD_IRQS	5
#define MY_NETDEV_A_GRO_FLUSH_TIMEOUT	6
#define MY_NETDEV_A_IRQ_SUSPEND_TIMEOUT	7

struct my_epoll_params {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll, pad;
};
#define MY_EPIOCSPARAMS	_IOW(0x8a, 1, struct my_epoll_params)

struct message {
	struct nlmsghdr head;
	struct genlmsghdr generic;
	char attributes[2000];
};

static int fail(const char *what)
{
	perror(what);
	exit(1);
}

static void start(struct message *message, int family, int command, int version)
{
	memset(message, 0, sizeof(*message));
	message->head.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	message->head.nlmsg_type = family;
	message->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	message->generic.cmd = command;
	message->generic.version = version;
}

static void add(struct message *message, int type, const void *data, int size)
{
	struct nlattr *attribute = (void *)((char *)message + message->head.nlmsg_len);

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + size;
	memcpy((char *)attribute + NLA_HDRLEN, data, size);
	message->head.nlmsg_len += NLA_ALIGN(attribute->nla_len);
}

/* The answer is in `message`. Returns an errno. */
static int ask(int netlink, struct message *message)
{
	struct nlmsgerr *error = (void *)&message->generic;

	if (send(netlink, message, message->head.nlmsg_len, 0) < 0 ||
	    recv(netlink, message, sizeof(*message), 0) < 0)
		fail("netlink");
	return message->head.nlmsg_type == NLMSG_ERROR ? -error->error : 0;
}

static int family_of(const char *name)
{
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	struct message message;
	char *at = message.attributes;

	start(&message, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	add(&message, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
	if (ask(netlink, &message))
		fail("family");
	close(netlink);
	while (at < (char *)&message + message.head.nlmsg_len) {
		struct nlattr *attribute = (void *)at;

		if (attribute->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(uint16_t *)(at + NLA_HDRLEN);
		at += NLA_ALIGN(attribute->nla_len);
	}
	return fail("family");
}

/* For a second; after an empty poll, interrupts are on again 100 us later. */
static int suspend(uint32_t napi)
{
	uint64_t suspended = 1000000000, flush = 100000;
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	struct message message;
	uint32_t polls = 1;
	int error;

	start(&message, family_of("netdev"), MY_NETDEV_CMD_NAPI_SET, 1);
	add(&message, MY_NETDEV_A_NAPI_ID, &napi, sizeof(napi));
	add(&message, MY_NETDEV_A_DEFER_HARD_IRQS, &polls, sizeof(polls));
	add(&message, MY_NETDEV_A_GRO_FLUSH_TIMEOUT, &flush, sizeof(flush));
	add(&message, MY_NETDEV_A_IRQ_SUSPEND_TIMEOUT, &suspended, sizeof(suspended));
	error = ask(netlink, &message);
	close(netlink);
	return error;
}

/* Of all processors, and of the device's queue that receives. */
static long interrupts(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char line[1024], *at, *end;
	long sum = 0, n;

	while (file && fgets(line, sizeof(line), file)) {
		at = strchr(line, ':');
		if (!at || !strstr(line, "-input."))
			continue;
		for (at++; n = strtol(at, &end, 10), end != at; at = end)
			sum += n;
	}
	if (!file || fclose(file))
		fail("/proc/interrupts");
	return sum;
}

int main(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(5555) };
	int server = socket(AF_INET6, SOCK_STREAM, 0), set = epoll_create1(0), client;
	struct my_epoll_params params = { 1000000, 8, 1, 0 };
	struct epoll_event event = { .events = EPOLLIN };
	socklen_t size = sizeof(uint32_t);
	long bytes = 0, before;
	uint32_t napi = 0;
	char byte;

	if (bind(server, (void *)&any, sizeof(any)) || listen(server, 1))
		fail("listen");
	printf("listening\n");
	fflush(stdout);
	client = accept(server, NULL, NULL);
	if (client < 0 || read(client, &byte, 1) != 1)
		fail("client");
	if (getsockopt(client, SOL_SOCKET, SO_INCOMING_NAPI_ID, &napi, &size))
		fail("SO_INCOMING_NAPI_ID");
	printf("NAPI instance: %s\n", napi ? "known" : "unknown");
	if (byte == 's') {
		printf("suspension: errno %d\n", suspend(napi));
		printf("polling: errno %d\n", ioctl(set, MY_EPIOCSPARAMS, &params) ? errno : 0);
	}
	if (epoll_ctl(set, EPOLL_CTL_ADD, client, &event))
		fail("epoll_ctl");
	before = interrupts();
	do {
		if (write(client, &byte, 1) != 1)
			fail("write");
		if (epoll_wait(set, &event, 1, -1) != 1)
			fail("epoll_wait");
		bytes++;
	} while (read(client, &byte, 1) == 1);
	printf("bytes: %ld\ninterrupts: %ld\n", bytes, interrupts() - before);
	return 0;
}
