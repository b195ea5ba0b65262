// SPDX-License-Identifier: GPL-2.0
/*
 * load PROTOCOL - requests to a server on this machine, from CLIENTS connections at a time
 *
 * Each connection has one outstanding request (no pipelining): when its answer is complete,
 * the next one is sent. All answers to the same request have the same length, which the first
 * one shows. load therefore parses nothing, and adds little to what is counted.
 *
 * With `time`, a row of latencies follows each row: from the sending of a request to the end
 * of its answer, for each of LATENCIES requests. Meanwhile the server answers the other
 * connections, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "protocols.h"

#define CLIENTS		10
#define SILENCE		200	/* ms without data after which the first answer is complete */
#define PATIENCE	60000	/* ms to wait for the server to listen, or to answer */
#define LATENCIES	2000

#define PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

static const struct protocol *protocol;
static int connections[CLIENTS];
static size_t missing[CLIENTS];	/* bytes of the answer that are still to come */
static uint64_t began[CLIENTS];	/* ns, while latencies are measured */
static uint64_t latencies[LATENCIES];
static int measure_latencies;
static int poller;
static char answer[MAX_ANSWER];

/* The request fits into the socket's buffer. */
static void ask(int connection, const struct request *request)
{
	size_t size = strlen(request->text);

	if (send(connection, request->text, size, 0) != (ssize_t)size)
		bench_fail("send");
}

static size_t take(int connection)
{
	ssize_t got = recv(connection, answer, sizeof(answer), 0);

	if (got <= 0) {
		if (got == 0)
			errno = ECONNRESET;
		bench_fail("recv");
	}
	return (size_t)got;
}

/* Returns the length of the answer; ends the program if it is not the expected one. */
static size_t learn(const struct request *request)
{
	struct pollfd wanted = { .fd = connections[0], .events = POLLIN };
	size_t length = 0, begin = strlen(request->begin);
	char whole[MAX_ANSWER];

	ask(connections[0], request);
	while (poll(&wanted, 1, length ? SILENCE : PATIENCE) > 0) {
		size_t got = take(connections[0]);

		if (length + got > sizeof(whole))
			break;
		memcpy(whole + length, answer, got);
		length += got;
	}
	if (length < begin || memcmp(whole, request->begin, begin) != 0) {
		errno = EPROTO;
		bench_fail(request->row);
	}
	return length;
}

static void ask_next(int i, const struct request *request, size_t length)
{
	missing[i] = length;
	if (measure_latencies)
		began[i] = bench_ns();
	ask(connections[i], request);
}

static void serve(const struct request *request, unsigned long count)
{
	size_t length = learn(request);
	unsigned long asked = 0, answered = 0;

	bench_begin();
	for (int i = 0; i < CLIENTS && asked < count; i++, asked++) {
		ask_next(i, request, length);
	}
	while (answered < count) {
		struct epoll_event ready[CLIENTS];
		int number = epoll_wait(poller, ready, CLIENTS, PATIENCE);

		if (number <= 0)
			bench_fail("epoll_wait");
		for (int j = 0; j < number; j++) {
			int i = (int)ready[j].data.u32;
			size_t got = take(connections[i]);

			if (got > missing[i]) {
				errno = EPROTO;
				bench_fail(request->row);
			}
			missing[i] -= got;
			if (missing[i])
				continue;
			if (measure_latencies)
				latencies[answered] = bench_ns() - began[i];
			answered++;
			if (asked < count) {
				ask_next(i, request, length);
				asked++;
			}
		}
	}
	bench_end();
}

static void first(unsigned long count)
{
	serve(&protocol->requests[0], count);
}

static void second(unsigned long count)
{
	serve(&protocol->requests[1], count);
}

static void print_latencies(const struct request *request)
{
	measure_latencies = 1;
	serve(request, LATENCIES);
	measure_latencies = 0;
	printf("{\"row\": \"%s, latency\", \"count\": 1, \"ns\": [", request->row);
	for (int i = 0; i < LATENCIES; i++)
		printf("%s%llu", i ? ", " : "", (unsigned long long)latencies[i]);
	printf("]}\n");
}

static int reach(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(protocol->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;

	for (int waited = 0; waited < PATIENCE; waited += 10) {
		int connection = socket(AF_INET, SOCK_STREAM, 0);

		if (connection < 0)
			bench_fail("socket");
		if (connect(connection, (struct sockaddr *)&address, sizeof(address)) == 0) {
			setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			return connection;
		}
		close(connection);
		usleep(10000);
	}
	bench_fail("connect");
}

int main(int argc, char **argv)
{
	struct bench_row rows[] = { { NULL, first, 200 }, { NULL, second, 200 } };
	size_t number = 0;
	int status;

	for (size_t i = 0; argc > 1 && i < PROTOCOLS; i++)
		if (strcmp(argv[1], protocols[i].name) == 0)
			protocol = &protocols[i];
	if (!protocol) {
		fprintf(stderr, "usage: load redis|memcached|nginx|tcp-echo METER...\n");
		return 2;
	}
	while (protocol->requests[number].row) {
		rows[number].name = protocol->requests[number].row;
		number++;
	}
	poller = epoll_create1(0);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct epoll_event wanted = { .events = EPOLLIN, .data.u32 = i };

		connections[i] = reach();
		if (epoll_ctl(poller, EPOLL_CTL_ADD, connections[i], &wanted))
			bench_fail("epoll_ctl");
	}
	status = bench_main(argc - 1, argv + 1, rows, number);
	if (status == 0 && strcmp(argv[2], "time") == 0)
		for (size_t i = 0; i < number; i++)
			print_latencies(&protocol->requests[i]);
	return status;
}
