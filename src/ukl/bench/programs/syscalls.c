// SPDX-License-Identifier: GPL-2.0
/*
 * syscalls - system calls by the C library's functions, on one processor
 *
 * A file is in the root file system (memory); sockets are a pair of AF_UNIX streams.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define LARGE	8192
#define BATCH	100	/* messages on their way at a time */
#define ROOM	(8 << 20)

static char buffer[LARGE];
static int file = -1;
static int sockets[2];
static int pipes[2];
static int event;
static int poller;

static void prepare(void)
{
	struct epoll_event wanted = { .events = EPOLLIN };
	int room = ROOM;

	file = open("/tmp/bench", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || write(file, buffer, LARGE) != LARGE)
		bench_fail("/tmp/bench");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) ||
	    setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)))
		bench_fail("socketpair");
	if (pipe(pipes))
		bench_fail("pipe");
	event = eventfd(1, 0);
	poller = epoll_create1(0);
	if (event < 0 || poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, event, &wanted))
		bench_fail("epoll");
}

static void loop(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		bench_barrier();
	bench_end();
}

static void call_getppid(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		getppid();
	bench_end();
}

/* The library would ask the vDSO, which is no system call. */
static void call_clock(unsigned long count)
{
	struct timespec now;

	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	bench_end();
}

static void check(ssize_t done, size_t size, const char *what)
{
	if (done != (ssize_t)size)
		bench_fail(what);
}

static void read_file(unsigned long count, size_t size)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		check(pread(file, buffer, size, 0), size, "pread");
	bench_end();
}

static void write_file(unsigned long count, size_t size)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		check(pwrite(file, buffer, size, 0), size, "pwrite");
	bench_end();
}

static void fill(unsigned long count, size_t size)
{
	for (unsigned long i = 0; i < count; i++)
		check(send(sockets[0], buffer, size, 0), size, "send");
}

static void drain(unsigned long count, size_t size)
{
	for (unsigned long i = 0; i < count; i++)
		check(recv(sockets[1], buffer, size, MSG_WAITALL), size, "recv");
}

/* What is sent must be received: in batches, of which one half is measured. */
static void send_batches(unsigned long count, size_t size)
{
	for (unsigned long part; count; count -= part) {
		part = count < BATCH ? count : BATCH;
		bench_begin();
		fill(part, size);
		bench_end();
		drain(part, size);
	}
}

static void receive_batches(unsigned long count, size_t size)
{
	for (unsigned long part; count; count -= part) {
		part = count < BATCH ? count : BATCH;
		fill(part, size);
		bench_begin();
		drain(part, size);
		bench_end();
	}
}

static void pass_pipe(unsigned long count, size_t size)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++) {
		check(write(pipes[1], buffer, size), size, "write to a pipe");
		check(read(pipes[0], buffer, size), size, "read from a pipe");
	}
	bench_end();
}

static void call_epoll(unsigned long count)
{
	struct epoll_event found;

	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		check(epoll_wait(poller, &found, 1, -1), 1, "epoll_wait");
	bench_end();
}

static void call_futex(unsigned long count)
{
	uint32_t word = 0;

	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		check(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0,
		      "futex");
	bench_end();
}

static void read_1(unsigned long count)
{
	read_file(count, 1);
}

static void read_8k(unsigned long count)
{
	read_file(count, LARGE);
}

static void write_1(unsigned long count)
{
	write_file(count, 1);
}

static void write_8k(unsigned long count)
{
	write_file(count, LARGE);
}

static void send_1(unsigned long count)
{
	send_batches(count, 1);
}

static void send_8k(unsigned long count)
{
	send_batches(count, LARGE);
}

static void receive_1(unsigned long count)
{
	receive_batches(count, 1);
}

static void receive_8k(unsigned long count)
{
	receive_batches(count, LARGE);
}

static void pipe_1(unsigned long count)
{
	pass_pipe(count, 1);
}

static void pipe_8k(unsigned long count)
{
	pass_pipe(count, LARGE);
}

static const struct bench_row rows[] = {
	{ "loop", loop, 1000 },
	{ "getppid", call_getppid, 1000 },
	{ "clock_gettime", call_clock, 1000 },
	{ "read 1 B", read_1, 300 },
	{ "read 8 KiB", read_8k, 100 },
	{ "write 1 B", write_1, 200 },
	{ "write 8 KiB", write_8k, 100 },
	{ "send 1 B", send_1, 100 },
	{ "send 8 KiB", send_8k, 100 },
	{ "recv 1 B", receive_1, 100 },
	{ "recv 8 KiB", receive_8k, 100 },
	{ "pipe 1 B", pipe_1, 100 },
	{ "pipe 8 KiB", pipe_8k, 100 },
	{ "epoll_wait", call_epoll, 300 },
	{ "futex wake", call_futex, 500 },
};

int main(int argc, char **argv)
{
	memset(buffer, 'x', sizeof(buffer));
	prepare();
	return BENCH_MAIN(argc, argv, rows);
}
