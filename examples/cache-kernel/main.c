// SPDX-License-Identifier: GPL-2.0
/*
 * cache-kernel - a cache in memory that speaks a part of memcached's protocol
 *
 * Requests: get, set, stats, version, quit. Nothing expires; a full cache refuses new values.
 * Kernel code (answer.c) answers "get KEY"; a connection comes here with its first request of
 * another kind, and goes back when that is answered. In a normal process, all connections stay
 * here, and the table is the one at the end of this file. SIGTERM and SIGINT end the program with
 * status 0.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "cache.h"

#define PORT		11211
#define EVENTS		256
#define INPUT_SIZE	(LINE_SIZE + VALUE_SIZE + 1024)
#define KEYS		64		/* in one get */
#define OUTPUT_SIZE	(KEYS * REPLY_SIZE)

struct client {
	int fd;
	int connection;			/* of cache_attach() */
	size_t got;			/* input[0..got) */
	size_t skip;			/* bytes of a value that is too large */
	size_t start, end;		/* to send: output[start..end) */
	char input[INPUT_SIZE];
	char output[OUTPUT_SIZE];
};

static volatile sig_atomic_t stopped;
static int cache;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int failed(const char *what)
{
	fprintf(stderr, "cache-kernel: %s: %s\n", what, strerror(errno));
	return 1;
}

__attribute__((format(printf, 2, 3)))
static void reply(struct client *client, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	client->end += vsprintf(client->output + client->end, format, arguments);
	va_end(arguments);
}

static void get(struct client *client, char *keys)
{
	int number = 0;
	char *key;

	while ((key = strsep(&keys, " "))) {
		long size = strlen(key);

		if (!size)
			continue;
		if (size > KEY_SIZE || number++ == KEYS) {
			client->end = 0;
			return reply(client, "CLIENT_ERROR bad command line format\r\n");
		}
		size = cache_get(cache, key, size, client->output + client->end);
		if (size > 0)
			client->end += size;
	}
	if (number)
		reply(client, "END\r\n");
	else
		reply(client, "ERROR\r\n");
}

/* Returns the size of the value with its end of line, 0 if that has not arrived completely. */
static size_t set(struct client *client, char *line, char *value, size_t left)
{
	unsigned int flags, size;
	char key[KEY_SIZE + 1], quiet[8] = "";
	long error;

	if (sscanf(line, "%250s %u %*d %u %7s", key, &flags, &size, quiet) < 3) {
		reply(client, "CLIENT_ERROR bad command line format\r\n");
		return left;		/* nobody knows where the next request is */
	}
	if (size > VALUE_SIZE) {
		reply(client, "SERVER_ERROR object too large for cache\r\n");
		client->skip = size + 2UL;
		return left < client->skip ? left : client->skip;
	}
	if (left < size + 2UL)
		return 0;
	if (memcmp(value + size, "\r\n", 2)) {
		reply(client, "CLIENT_ERROR bad data chunk\r\n");
		return left;
	}
	error = cache_set(cache, key, strlen(key), value, size, flags);
	if (error)
		reply(client, "SERVER_ERROR out of memory storing object\r\n");
	else if (strcmp(quiet, "noreply"))
		reply(client, "STORED\r\n");
	return size + 2UL;
}

/* Answer the first request of the input. Returns 1, 0 if it is not complete, -1 at the end. */
static int answer_one(struct client *client)
{
	char line[LINE_SIZE + 1024], *end;
	size_t size, used;

	if (client->skip) {
		used = client->skip < client->got ? client->skip : client->got;
		client->skip -= used;
		goto consumed;
	}
	end = memchr(client->input, '\n', client->got);
	if (!end || end - client->input >= (long)sizeof(line))
		return client->got < sizeof(line) ? 0 : -1;
	used = end + 1 - client->input;
	size = end - client->input;
	if (size && end[-1] == '\r')
		size--;
	memcpy(line, client->input, size);
	line[size] = '\0';

	if (!strncmp(line, "get ", 4)) {
		get(client, line + 4);
	} else if (!strncmp(line, "set ", 4)) {
		size_t value = set(client, line + 4, end + 1, client->got - used);

		if (!value && !client->end)
			return 0;
		if (client->skip)
			client->skip -= value;
		used += value;
	} else if (!strcmp(line, "stats")) {
		long number = cache_answered(cache);

		reply(client, "STAT get_kernel %ld\r\nEND\r\n", number > 0 ? number : 0);
	} else if (!strcmp(line, "version")) {
		reply(client, "VERSION 1\r\n");
	} else if (!strcmp(line, "quit")) {
		return -1;
	} else {
		reply(client, "ERROR\r\n");
	}
consumed:
	client->got -= used;
	memmove(client->input, client->input + used, client->got);
	return 1;
}

/* Returns 1 if everything is sent, 0 if the socket takes no more, -1 if it is broken. */
static int send_all(struct client *client)
{
	while (client->start < client->end) {
		ssize_t sent = send(client->fd, client->output + client->start,
				    client->end - client->start, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN ? 0 : -1;
		client->start += sent;
	}
	client->start = 0;
	client->end = 0;
	return 1;
}

/* Answer what there is; returns 0 at the end of the connection. */
static int serve(struct client *client)
{
	if (client->connection >= 0) {
		long taken = cache_take(client->connection, client->input + client->got);

		if (taken < 0)
			return taken == -EAGAIN;
		client->got += taken;
	}
	for (;;) {
		int done = send_all(client);
		ssize_t got;

		if (done <= 0)		/* EPOLLOUT follows */
			return done == 0;
		done = client->got ? answer_one(client) : 0;
		if (done < 0)
			return 0;
		if (done)
			continue;
		got = recv(client->fd, client->input + client->got, INPUT_SIZE - client->got, 0);
		if (!got || (got < 0 && errno != EAGAIN))
			return 0;
		if (got > 0) {
			client->got += got;
			continue;
		}
		if (!client->got && !client->skip && client->connection >= 0)
			cache_give(client->connection);
		return 1;
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
		memset(client, 0, offsetof(struct client, input));
		client->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		event.data.ptr = client;
		/* Without it, all requests of this client are answered here. */
		client->connection = cache_attach(cache, fd);
		if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
			close(client->connection);
			close(fd);
			free(client);
		}
	}
}

static int run(int listener)
{
	struct epoll_event events[EVENTS], event = { .events = EPOLLIN };
	int poller = epoll_create1(EPOLL_CLOEXEC);

	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
		return failed("epoll");
	while (!stopped) {
		int number = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < number; i++) {
			struct client *client = events[i].data.ptr;

			if (!client) {
				accept_clients(poller, listener);
			} else if (!serve(client)) {
				close(client->connection);
				close(client->fd);
				free(client);
			}
		}
	}
	return 0;
}

int main(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct sigaction action = { .sa_handler = on_signal };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	cache = cache_open();
	if (cache < 0) {
		errno = -cache;
		return failed("cache");
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof(any)) ||
	    listen(listener, SOMAXCONN))
		return failed("listen");
	printf("cache-kernel: listening on port %d\n", PORT);
	fflush(stdout);
	return run(listener);
}

/* --- the table of a normal process ---------------------------------------------------------- */

#define BUCKETS		(1 << 16)
#define LIMIT		(64UL << 20)

struct entry {
	struct entry *next;
	unsigned int flags, key_size, size;
	char data[];
};

static struct entry *buckets[BUCKETS];
static size_t used;

static struct entry **find(const char *key, unsigned int size)
{
	unsigned int hash = 2166136261u;	/* FNV-1a */
	struct entry **at;

	for (unsigned int i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)key[i]) * 16777619u;
	for (at = &buckets[hash % BUCKETS]; *at; at = &(*at)->next)
		if ((*at)->key_size == size && !memcmp((*at)->data, key, size))
			break;
	return at;
}

UKL_FALLBACK(cache_open)
{
	return 0;
}

UKL_FALLBACK(cache_set)
{
	struct entry **at = find(key, key_size), *old = *at;
	size_t before = old ? sizeof(*old) + old->key_size + old->size : 0;
	struct entry *entry;

	(void)fd;
	if (used - before + sizeof(*entry) + key_size + size > LIMIT)
		return -ENOMEM;
	entry = malloc(sizeof(*entry) + key_size + size);
	if (!entry)
		return -ENOMEM;
	entry->next = old ? old->next : NULL;
	entry->flags = flags;
	entry->key_size = key_size;
	entry->size = size;
	memcpy(entry->data, key, key_size);
	memcpy(entry->data + key_size, value, size);
	used += sizeof(*entry) + key_size + size - before;
	*at = entry;
	free(old);
	return 0;
}

UKL_FALLBACK(cache_get)
{
	struct entry *entry = *find(key, key_size);
	int length;

	(void)fd;
	if (!entry)
		return 0;
	length = sprintf(reply, "VALUE %.*s %u %u\r\n", (int)key_size, key, entry->flags,
			 entry->size);
	memcpy(reply + length, entry->data + key_size, entry->size);
	memcpy(reply + length + entry->size, "\r\n", 2);
	return length + entry->size + 2;
}
