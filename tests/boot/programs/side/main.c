// SPDX-License-Identifier: GPL-2.0
/* Calls its own kernel code, and says of each part `NAME: ok`, or what was wrong. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "buffers.h"
#include "code.h"
#include "shared.h"

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("%s: line %d: %s\n", part, __LINE__, #condition);\
		wrong = 1;						\
		return;							\
	}								\
} while (0)

#define TF	0x100

static const char *part;
static int wrong;
static volatile sig_atomic_t signals;
static volatile uintptr_t seen_ip[64];

UKL_FALLBACK(sum)
{
	return a + b + c + (long)d + e + f;
}

UKL_FALLBACK(nothing)
{
}

static void on_signal(int number)
{
	(void)number;
	signals++;
}

static int failed(const void *pointer, int error)
{
	return (intptr_t)pointer == -error;
}

static long sum_right(void)
{
	return sum(-1, 1L << 40, 0xffffffffu, 7, -3, -4) == (1L << 40) + 0xffffffffL - 1;
}

static void arguments(void)
{
	nothing();
	CHECK(sum_right());
}

static void process(void)
{
	CHECK(!initialised());
	CHECK(count(NULL, 1) == -ENOSYS);
	CHECK(publish(1) == (unsigned long)-ENOSYS);
	CHECK(pid() == -ENOSYS);
	CHECK(failed(pin(NULL, 1, 1), ENOSYS));
	unpin(NULL);
}

static void facilities(void)
{
	struct totals totals = { 0 };
	pid_t child;
	int status;

	CHECK(initialised());
	CHECK(on_kernel_stack());
	CHECK(!count(&totals, 5) && totals.calls == 1 && totals.bytes == 5);
	CHECK(!count(&totals, 2) && totals.calls == 2 && totals.bytes == 7);
	CHECK(count(NULL, 0) == -EFAULT);
	CHECK(count((void *)~0xfffUL, 0) == -EFAULT);
	CHECK(publish(11) == 0);
	CHECK(publish(12) == 11);
	CHECK(patched(10, 0) == 11);
	CHECK(patched(10, 1) == 24);
	CHECK(patched(10, 0) == 11);
	CHECK(caught((void *)0xffff7fffffff0000) == -EFAULT);
	CHECK(caught(NULL) == -EINVAL);
	CHECK(pid() == getpid());
	CHECK(!nap(2));
	child = fork();
	if (!child)
		_exit(pid() == getpid() && sum_right() ? 7 : 1);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

/* A signal ends a loop and a sleep, and is delivered before the next line. */
static void interrupted(void)
{
	struct itimerval soon = { .it_value.tv_usec = 20000 };
	pid_t child;
	int status;

	signal(SIGALRM, on_signal);
	signals = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	CHECK(spin() > 0 && signals == 1);
	setitimer(ITIMER_REAL, &soon, NULL);
	CHECK(nap(60000) == -EINTR && signals == 2);
	child = fork();
	if (!child) {
		signal(SIGALRM, SIG_DFL);
		alarm(1);
		spin();
		_exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

/* Interrupts and signals at any instruction of the entries */
static void stormed(void)
{
	struct itimerval often = { .it_value.tv_usec = 100, .it_interval.tv_usec = 100 }, off = { 0 };

	signals = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	for (long i = 0; i < 3000000 && signals < 300; i++)
		CHECK(sum(i, 2, 3, 4, 5, 6) == i + 20);
	setitimer(ITIMER_REAL, &off, NULL);
	CHECK(signals > 10);
}

static void on_trap(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)number;
	(void)info;
	if (signals < 64)
		seen_ip[signals] = uc->uc_mcontext.gregs[REG_RIP];
	/* A mode that stays on would step for ever. */
	if (++signals >= 64)
		uc->uc_mcontext.gregs[REG_EFL] &= ~TF;
}

/* With TF set, the function is one step, and no trap has an address of the kernel. */
static void stepped(void)
{
	struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	long result;

	sigaction(SIGTRAP, &trap, NULL);
	signals = 0;
	__asm__ volatile("pushfq\n\torl %0, (%%rsp)\n\tpopfq" : : "i" (TF) : "memory", "cc");
	result = sum(1, 2, 3, 4, 5, 6);
	__asm__ volatile("pushfq\n\tandl %0, (%%rsp)\n\tpopfq" : : "i" (~TF) : "memory", "cc");
	CHECK(result == 21);
	CHECK(signals > 5 && signals < 64);
	/* Text of the application is from the first page behind main() downwards. */
	for (int i = 0; i < signals; i++)
		CHECK(seen_ip[i] - (uintptr_t)stepped + (1 << 22) < (1 << 23));
}

static void *call_often(void *result)
{
	for (long i = 0; i < 20000; i++)
		if (sum(i, 2, 3, 4, 5, 6) != i + 20 || pid() != gettid())
			*(int *)result = 1;
	return NULL;
}

static void threads(void)
{
	int bad[4] = { 0 };
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&thread[i], NULL, call_often, &bad[i]));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(thread[i], NULL) && !bad[i]);
}

static long locked_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	long size = -1;

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "VmLck: %ld", &size);
	if (file)
		fclose(file);
	return size;
}

static void buffers(void)
{
	const size_t page = 4096, size = 3 * page;
	unsigned char *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rlimit limit = { .rlim_cur = 2 * page, .rlim_max = 2 * page };
	long before = locked_kib();
	struct ukl_buffer *buffer;
	pid_t child;
	int status;

	memset(data, 1, size);
	/* Unaligned, over three pages */
	buffer = pin(data + 100, 2 * page, 1);
	CHECK((uintptr_t)buffer < (uintptr_t)-4095);
	CHECK(locked_kib() == before + 12);
	CHECK(increment(buffer) == 2 * page);
	CHECK(data[99] == 1 && data[100] == 2 && data[100 + 2 * page - 1] == 2);
	CHECK(data[100 + 2 * page] == 1);
	/* The parent's pages stay the pinned ones. */
	child = fork();
	if (!child) {
		data[100] = 77;
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	data[100] = 3;
	CHECK(add(buffer) == 4 * page + 1);
	/* They outlive the mapping. */
	CHECK(!munmap(data, size));
	CHECK(add(buffer) == 4 * page + 1);
	unpin(buffer);
	CHECK(locked_kib() == before);

	CHECK(failed(pin(data, 0, 1), EINVAL));
	CHECK(failed(pin(data, page, 1), EFAULT));
	CHECK(failed(pin((void *)0xffffffff81000000, page, 0), EFAULT));
	CHECK(failed(pin(data, ~0UL, 1), EFAULT));
	CHECK(failed(pin((void *)"read-only", 5, 1), EFAULT));
	buffer = pin((void *)"read-only", 5, 0);
	CHECK((uintptr_t)buffer < (uintptr_t)-4095 && add(buffer) == 'r' + 'e' + 'a' + 'd' + '-');
	unpin(buffer);
	CHECK(locked_kib() == before);

	/* What counts for an ordinary user */
	child = fork();
	if (!child) {
		data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		_exit(setrlimit(RLIMIT_MEMLOCK, &limit) || setuid(1000) ||
		      !failed(pin(data, size, 1), ENOMEM) || failed(pin(data, page, 1), ENOMEM));
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void run(const char *name, void (*test)(void))
{
	part = name;
	wrong = 0;
	test();
	if (!wrong)
		printf("%s: ok\n", name);
}

static __attribute__((noinline)) long mistaken(void)
{
	long value = 5;

	return follow(&value) + 1;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && !strcmp(argv[1], "oops"))
		return mistaken() != 0;
	if (argc > 1 && !strcmp(argv[1], "turn"))
		return turn() != 0;
	run("arguments", arguments);
	if (!ukl_in_kernel()) {
		run("process", process);
		return 0;
	}
	run("facilities", facilities);
	run("interrupted", interrupted);
	run("stormed", stormed);
	run("stepped", stepped);
	run("threads", threads);
	run("buffers", buffers);
	return 0;
}
