// SPDX-License-Identifier: GPL-2.0
/*
 * syscalls - system calls by the C library's functions, on one processor
 *
 * The file is in the root file system (memory). The sockets are a pair of AF_UNIX streams, and
 * a pair of TCP sockets over the loopback device, where a send also does all the work of the
 * receiver's side of the network stack. Rows "ukl.h" call functions of the kernel, and rows
 * "kernel code" those of syscalls_kernel.c, where there are any.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <ukl.h>
#include <unistd.h>

#include "bench.h"
#include "syscalls_kernel.h"

#define LARGE	8192
#define BATCH	100	/* outstanding messages */
#define ROOM	(8 << 20)

static char buffer[LARGE];
static int file = -1;
static int zero = -1;
static int sockets[2];
static int tcp[2];
static struct ukl_socket *handles[2];
static struct sock *kernels[2];
static int pipes[2];
static int event;
static int poller;

enum way { CALL, SHORTCUT, KERNEL_CODE };

UKL_FALLBACK(side_empty)
{
	return 0;
}

/* In a normal process it is the descriptor. */
UKL_FALLBACK(side_socket)
{
	return (struct sock *)((intptr_t)fd + 1);
}

UKL_FALLBACK(side_send)
{
	return send((int)(intptr_t)sk - 1, data, 1, 0);
}

UKL_FALLBACK(side_receive)
{
	return recv((int)(intptr_t)sk - 1, data, 1, 0);
}

UKL_FALLBACK(side_release)
{
	(void)sk;
}

/* For each sample again: a connection's history decides how it acknowledges. */
static void connect_tcp(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	tcp[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(tcp[0], (struct sockaddr *)&address, sizeof(address)))
		bench_fail("TCP");
	tcp[1] = accept(listener, NULL, NULL);
	if (tcp[1] < 0 || setsockopt(tcp[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    ukl_socket_open(&handles[0], tcp[0]) || ukl_socket_open(&handles[1], tcp[1]))
		bench_fail("TCP");
	for (int i = 0; i < 2; i++)
		if (!(kernels[i] = side_socket(tcp[i])))
			bench_fail("TCP");
	close(listener);
}

static void disconnect_tcp(void)
{
	for (int i = 0; i < 2; i++) {
		ukl_socket_close(handles[i]);
		side_release(kernels[i]);
		close(tcp[i]);
	}
}

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
	zero = open("/dev/zero", O_RDWR);
	if (zero < 0)
		bench_fail("/dev/zero");
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

/* The library would call the vDSO, which is not a system call. */
static void call_clock(unsigned long count)
{
	struct timespec now;

	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	bench_end();
}

static void call_vdso(unsigned long count)
{
	struct timespec now;

	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		clock_gettime(CLOCK_MONOTONIC, &now);
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

/* What is sent must be received: in batches, measuring only one of the two. */
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

static void read_zero(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		check(read(zero, buffer, 1), 1, "read of /dev/zero");
	bench_end();
}

static void write_zero(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		check(write(zero, buffer, 1), 1, "write to /dev/zero");
	bench_end();
}

/* A byte at a time, in batches as above. */
static ssize_t send_byte(enum way way)
{
	if (way == KERNEL_CODE)
		return side_send(kernels[0], buffer);
	return way == SHORTCUT ? ukl_socket_send(handles[0], buffer, 1, 0) :
				 send(tcp[0], buffer, 1, 0);
}

static ssize_t receive_byte(enum way way)
{
	if (way == KERNEL_CODE)
		return side_receive(kernels[1], buffer);
	return way == SHORTCUT ? ukl_socket_recv(handles[1], buffer, 1, 0) :
				 recv(tcp[1], buffer, 1, 0);
}

static inline void pass_tcp(unsigned long count, int sending, enum way way)
{
	connect_tcp();
	for (unsigned long part; count; count -= part) {
		part = count < BATCH ? count : BATCH;
		if (sending)
			bench_begin();
		for (unsigned long i = 0; i < part; i++)
			check(send_byte(way), 1, "send by TCP");
		if (sending)
			bench_end();
		else
			bench_begin();
		for (unsigned long i = 0; i < part; i++)
			check(receive_byte(way), 1, "recv by TCP");
		if (!sending)
			bench_end();
	}
	disconnect_tcp();
}

static void send_tcp(unsigned long count)
{
	pass_tcp(count, 1, CALL);
}

static void receive_tcp(unsigned long count)
{
	pass_tcp(count, 0, CALL);
}

static void send_shortcut(unsigned long count)
{
	pass_tcp(count, 1, SHORTCUT);
}

static void receive_shortcut(unsigned long count)
{
	pass_tcp(count, 0, SHORTCUT);
}

static void send_kernel_code(unsigned long count)
{
	pass_tcp(count, 1, KERNEL_CODE);
}

static void receive_kernel_code(unsigned long count)
{
	pass_tcp(count, 0, KERNEL_CODE);
}

static void call_kernel_code(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		side_empty();
	bench_end();
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
	{ "clock_gettime, vDSO", call_vdso, 1000 },
	{ "read 1 B", read_1, 300 },
	{ "read 8 KiB", read_8k, 100 },
	{ "write 1 B", write_1, 200 },
	{ "write 8 KiB", write_8k, 100 },
	{ "read 1 B, /dev/zero", read_zero, 300 },
	{ "write 1 B, /dev/zero", write_zero, 300 },
	{ "send 1 B", send_1, 100 },
	{ "send 8 KiB", send_8k, 100 },
	{ "recv 1 B", receive_1, 100 },
	{ "recv 8 KiB", receive_8k, 100 },
	{ "TCP send 1 B", send_tcp, 100 },
	{ "TCP recv 1 B", receive_tcp, 100 },
	{ "TCP send 1 B, ukl.h", send_shortcut, 100 },
	{ "TCP recv 1 B, ukl.h", receive_shortcut, 100 },
	{ "kernel code, empty", call_kernel_code, 1000 },
	{ "TCP send 1 B, kernel code", send_kernel_code, 100 },
	{ "TCP recv 1 B, kernel code", receive_kernel_code, 100 },
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
