// SPDX-License-Identifier: GPL-2.0
/*
 * Each check prints its name and "ok", or the error. In a normal process, the checks that
 * system calls can do too run the same; the others print "not here".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ukl-imports.h>
#include <unistd.h>

#define LARGE		300000

static const char *check;
static int failed;

#define TRY(CONDITION) \
do { \
	if (!(CONDITION)) { \
		printf("%s: line %d: %s (errno %d)\n", check, __LINE__, #CONDITION, errno); \
		failed = 1; \
		return; \
	} \
} while (0)

static void pair(int fds[2])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(fds[0], (struct sockaddr *)&address, sizeof(address)))
		abort();
	fds[1] = accept(listener, NULL, NULL);
	close(listener);
}

static void sockets(void)
{
	struct ukl_socket *one, *two;
	char small = 'x', got = 0, *large = malloc(LARGE), *copy = malloc(LARGE);
	int fds[2];
	size_t sent = 0, received = 0;

	pair(fds);
	TRY(!ukl_socket_open(&one, fds[0]));
	TRY(!ukl_socket_open(&two, fds[1]));
	TRY(ukl_socket_send(one, &small, 1, 0) == 1);
	TRY(ukl_socket_recv(two, &got, 1, 0) == 1 && got == 'x');
	TRY(ukl_socket_recv(two, &got, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	TRY(ukl_socket_recv(two, &got, 1, 0) == -1 && errno == EAGAIN);

	for (int i = 0; i < LARGE; i++)
		large[i] = i * 7 >> 3;
	while (received < LARGE) {
		ssize_t count;

		if (sent < LARGE) {
			count = ukl_socket_send(one, large + sent, LARGE - sent, MSG_DONTWAIT);
			TRY(count > 0 || errno == EAGAIN);
			sent += count > 0 ? count : 0;
		}
		count = ukl_socket_recv(two, copy + received, LARGE - received, 0);
		TRY(count > 0 || errno == EAGAIN);
		received += count > 0 ? count : 0;
	}
	TRY(!memcmp(large, copy, LARGE));

	/* An invalid address, as for the system calls. */
	TRY(ukl_socket_send(one, (void *)8, 1, 0) == -1 && errno == EFAULT);
	TRY(ukl_socket_send(one, (void *)-4096L, 1, 0) == -1 && errno == EFAULT);
	TRY(ukl_socket_send(one, &small, 1, 0) == 1);
	TRY(ukl_socket_poll(two) == 1);
	TRY(ukl_socket_recv(two, (void *)8, 1, 0) == -1 && errno == EFAULT);

	signal(SIGPIPE, SIG_IGN);
	shutdown(fds[0], SHUT_WR);
	TRY(ukl_socket_send(one, &small, 1, 0) == -1 && errno == EPIPE);
	fcntl(fds[1], F_SETFL, 0);
	while (ukl_socket_recv(two, copy, LARGE, 0) > 0)
		;
	TRY(ukl_socket_recv(two, copy, LARGE, 0) == 0);
	ukl_socket_close(one);
	ukl_socket_close(two);
	close(fds[0]);
	close(fds[1]);
}

/* The handle keeps the socket when its descriptor is closed. */
static void handles(void)
{
	struct ukl_socket *one;
	int fds[2];
	char got;

	pair(fds);
	TRY(!ukl_socket_open(&one, fds[0]));
	close(fds[0]);
	TRY(ukl_socket_send(one, "h", 1, 0) == 1);
	TRY(read(fds[1], &got, 1) == 1 && got == 'h');
	ukl_socket_close(one);
	TRY(read(fds[1], &got, 1) == 0);
	close(fds[1]);
}

static void others(void)
{
	struct ukl_socket *one;
	int fds[2];

	TRY(ukl_socket_open(&one, -1) == -1 && errno == EBADF);
	TRY(ukl_socket_open(&one, 0) == -1 && errno == ENOTSOCK);
	TRY(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	TRY(ukl_socket_open(&one, fds[0]) == -1 && errno == EOPNOTSUPP);
	TRY(!pipe(fds));
	TRY(ukl_socket_open((void *)8, fds[0]) == -1 && errno == ENOTSOCK);
}

static void nothing(int signal)
{
	(void)signal;
}

/* A signal ends the wait, and nothing restarts it. */
static void signals(void)
{
	struct sigaction action = { .sa_handler = nothing, .sa_flags = 0 };
	struct itimerval timer = { .it_value.tv_usec = 50000 };
	struct ukl_socket *one;
	int fds[2];
	char got;

	pair(fds);
	TRY(!ukl_socket_open(&one, fds[0]));
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	TRY(ukl_socket_recv(one, &got, 1, 0) == -1 && errno == EINTR);
	ukl_socket_close(one);
}

static void pages(void)
{
	char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t entry = 1;

	TRY(ukl_page_entry(memory, &entry) == 0);
	memory[0] = 1;
	TRY(ukl_page_entry(memory, &entry) == 4096);
	/* Present, writable, user, dirty, not executable: SDM volume 3, 4.5. */
	TRY((entry & 0x47) == 0x47 && entry >> 63);
	/* Text belongs to the kernel: not writable, not for user mode. */
	TRY(ukl_page_entry((void *)pages, &entry) >= 4096);
	TRY((entry & 7) == 1 && !(entry >> 63));
	TRY(ukl_page_entry(memory, (void *)8) == -1 && errno == EFAULT);
}

static void registers(void)
{
	uint64_t value = 0;

	/* IA32_EFER: long mode, SYSCALL, NX */
	TRY(!ukl_rdmsr(0xc0000080, &value));
	TRY((value & 0xd01) == 0xd01);
	TRY(!ukl_wrmsr(0xc0000080, value));
	TRY(ukl_rdmsr(0xc0000080, (void *)8) == -1 && errno == EFAULT);
}

static void completion(void)
{
	struct sched_param param;

	TRY(!ukl_run_to_completion(1));
	TRY(sched_getscheduler(0) == SCHED_FIFO);
	TRY(!sched_getparam(0, &param) && param.sched_priority == 99);
	TRY(!ukl_run_to_completion(0));
	TRY(sched_getscheduler(0) == SCHED_OTHER);
}

static void imported(void)
{
	struct timespec before, after;
	unsigned long now;

	clock_gettime(CLOCK_MONOTONIC, &before);
	now = kernel_ktime_get_mono_fast_ns();
	clock_gettime(CLOCK_MONOTONIC, &after);
	TRY(now >= before.tv_sec * 1000000000UL + before.tv_nsec);
	TRY(now <= after.tv_sec * 1000000000UL + after.tv_nsec);
	/* CAP_SYS_ADMIN */
	TRY(kernel_capable(21));
}

static void run(const char *name, void (*body)(void), int anywhere)
{
	check = name;
	failed = 0;
	if (!anywhere && !ukl_in_kernel()) {
		printf("%s: not here\n", name);
		return;
	}
	body();
	if (!failed)
		printf("%s: ok\n", name);
}

int main(void)
{
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
#ifdef LACKING
	LACKING();
#endif
	run("sockets", sockets, 1);
	run("handles", handles, 0);
	run("others", others, 0);
	run("signals", signals, 1);
	run("pages", pages, 0);
	run("registers", registers, 0);
	run("completion", completion, 1);
	if (ukl_in_kernel()) {
		run("imported", imported, 0);
		return 0;
	}
	/* In a normal process that call is an illegal instruction. */
	if (!fork()) {
		kernel_ktime_get_mono_fast_ns();
		_exit(0);
	}
	wait(&status);
	printf("imported: %s\n", strsignal(WTERMSIG(status)));
	return 0;
}
