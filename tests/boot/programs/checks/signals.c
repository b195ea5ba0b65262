// SPDX-License-Identifier: GPL-2.0
/*
 * Signals, faults, restarts, timers, floating-point state.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "checks.h"

/* ---- Signals ---- */

volatile sig_atomic_t seen[65];
static volatile sig_atomic_t depth, deepest;
static volatile int code, value;
static volatile bool on_stack;
static char other_stack[65536];

void count_signal(int number)
{
	seen[number]++;
}

static void nested(int number, siginfo_t *info, void *context)
{
	char here;

	(void)context;
	code = info->si_code;
	value = info->si_value.sival_int;
	on_stack = &here >= other_stack && &here < other_stack + sizeof(other_stack);
	if (++depth > deepest)
		deepest = depth;
	seen[number]++;
	if (number == SIGUSR1)
		raise(SIGUSR2);
	depth--;
}

void set_handler(int number, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	CHECK(!sigaction(number, &action, NULL));
}

void set_info_handler(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };

	CHECK(!sigaction(number, &action, NULL));
}

int check_signals(void)
{
	stack_t stack = { .ss_sp = other_stack, .ss_size = sizeof(other_stack) };
	union sigval sent = { .sival_int = 77 };
	sigset_t blocked, pending;

	set_info_handler(SIGUSR1, nested, 0);
	set_info_handler(SIGUSR2, nested, 0);
	raise(SIGUSR1);
	printf("nested %d, USR1 %d, USR2 %d\n", (int)deepest, (int)seen[SIGUSR1],
	       (int)seen[SIGUSR2]);

	CHECK(!sigaltstack(&stack, NULL));
	set_info_handler(SIGRTMIN, nested, SA_ONSTACK);
	CHECK(!sigqueue(getpid(), SIGRTMIN, sent));
	printf("queued: value %d, by sigqueue %d, on its stack %d\n", value, code == SI_QUEUE,
	       on_stack);

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	seen[SIGUSR1] = 0;
	raise(SIGUSR1);
	CHECK(!seen[SIGUSR1]);
	sigpending(&pending);
	printf("blocked, pending %d\n", sigismember(&pending, SIGUSR1));
	sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	printf("unblocked, seen %d\n", (int)seen[SIGUSR1]);

	for (int i = 0; i < 2000; i++)
		raise(SIGUSR2);
	printf("many: %d\n", (int)seen[SIGUSR2]);
	return 0;
}

static sigjmp_buf back;
static volatile uintptr_t fault_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	fault_address = (uintptr_t)info->si_addr;
	code = info->si_code;
	siglongjmp(back, number);
}

/* Report the signal that touching something gives. */
#define ATTEMPT(what, expression) do {					\
	int number = sigsetjmp(back, 1);				\
	if (!number) {							\
		expression;						\
		printf("%s: nothing happened\n", what);			\
	} else {							\
		printf("%s: %s\n", what, sigabbrev_np(number));		\
	}								\
} while (0)

static int target(void)
{
	return 0;
}

/* mov $7,%eax; ret */
static const unsigned char seven[] = { 0xb8, 7, 0, 0, 0, 0xc3 };

static int run_at(const void *address)
{
	int (*function)(void);

	memcpy(&function, &address, sizeof(function));
	return function();
}

/* Text cannot be written, and writable memory cannot be executed. */
int check_protections(void)
{
	static unsigned char data[sizeof(seven)] = { 1 };
	unsigned char stack[sizeof(seven)];
	void *heap = malloc(4096), *page;
	uintptr_t text = (uintptr_t)target;

	set_info_handler(SIGSEGV, on_fault, SA_NODEFER);
	set_info_handler(SIGBUS, on_fault, SA_NODEFER);
	ATTEMPT("write to text", *(volatile char *)text = 0x90);
	printf("at the address: %d\n", fault_address == text);
	ATTEMPT("write to constants", *(volatile char *)(uintptr_t)seven = 1);
	memcpy(data, seven, sizeof(seven));
	memcpy(stack, seven, sizeof(seven));
	memcpy(heap, seven, sizeof(seven));
	ATTEMPT("execute data", run_at(data));
	printf("at the address: %d\n", fault_address == (uintptr_t)data);
	ATTEMPT("execute constants", run_at(seven));
	ATTEMPT("execute stack", run_at(stack));
	ATTEMPT("execute heap", run_at(heap));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, seven, sizeof(seven));
	CHECK(!mprotect(page, 4096, PROT_READ));
	ATTEMPT("write to a page made read-only", *(volatile char *)page = 1);
	ATTEMPT("execute it", run_at(page));
	ATTEMPT("read at 0", (void)*low);
	ATTEMPT("jump to 0", run_at(NULL));
	ATTEMPT("jump to a hole", run_at((void *)0x7000dead0000));
	ATTEMPT("read a non-canonical address",
		(void)*(volatile char *)0x8000000000000000);
	CHECK(target() == 0);
	free(heap);
	return 0;
}

#define CR0_WP		(1UL << 16)
#define CR4_SMEP	(1UL << 20)
#define CR4_SMAP	(1UL << 21)

/* Only in supervisor mode. */
int check_registers(void)
{
	unsigned long cr0, cr4;
	unsigned short cs;

	__asm__("mov %%cs, %0" : "=r" (cs));
	printf("privilege %d\n", cs & 3);
	__asm__ volatile("mov %%cr0, %0" : "=r" (cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r" (cr4));
	printf("WP %d SMEP %d SMAP %d\n", !!(cr0 & CR0_WP), !!(cr4 & CR4_SMEP),
	       !!(cr4 & CR4_SMAP));
	return 0;
}

/* ---- Restart of interrupted calls ---- */

static void in_one(long milliseconds)
{
	struct itimerval timer = { .it_value.tv_usec = milliseconds * 1000 };

	CHECK(!setitimer(ITIMER_REAL, &timer, NULL));
}

static void *write_later(void *data)
{
	struct timespec delay = { .tv_nsec = 150 * 1000000 };
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	nanosleep(&delay, NULL);
	CHECK(write(*(int *)data, "x", 1) == 1);
	return NULL;
}

int check_restart(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		pthread_t writer;
		char byte = 0;
		int pipes[2];
		long got;

		CHECK(!pipe(pipes));
		seen[SIGALRM] = 0;
		set_handler(SIGALRM, count_signal, 0);
		in_one(30);
		got = ways[i].enter(SYS_read, pipes[0], (long)&byte, 1);
		printf("by %s, without SA_RESTART: %ld, handled %d\n", ways[i].name, got,
		       (int)seen[SIGALRM]);

		seen[SIGALRM] = 0;
		set_handler(SIGALRM, count_signal, SA_RESTART);
		CHECK(!pthread_create(&writer, NULL, write_later, &pipes[1]));
		in_one(30);
		got = ways[i].enter(SYS_read, pipes[0], (long)&byte, 1);
		printf("by %s, with SA_RESTART: %ld, byte %c, handled %d\n", ways[i].name, got,
		       byte, (int)seen[SIGALRM]);
		pthread_join(writer, NULL);

		/* Stopped and continued: it sleeps for the remaining time. */
		pid_t child = fork();
		if (!child) {
			struct timespec wanted = { .tv_nsec = 300 * 1000000 };
			struct timespec from, to;

			clock_gettime(CLOCK_MONOTONIC, &from);
			got = ways[i].enter(SYS_nanosleep, (long)&wanted, 0, 0);
			clock_gettime(CLOCK_MONOTONIC, &to);
			_exit(got == 0 && (to.tv_sec - from.tv_sec) * 1000 +
			      (to.tv_nsec - from.tv_nsec) / 1000000 >= 300 ? 0 : 1);
		}
		usleep(60000);
		kill(child, SIGSTOP);
		usleep(60000);
		kill(child, SIGCONT);
		int status;
		CHECK(waitpid(child, &status, 0) == child);
		printf("by %s, stopped in nanosleep: status %d\n", ways[i].name, status);
		close(pipes[0]);
		close(pipes[1]);
	}
	return 0;
}

/* ---- What a handler does to the interrupted context ---- */

static void skip_and_set(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;

	(void)number;
	(void)info;
	context->uc_mcontext.gregs[REG_RBX] = 0x1234;
	context->uc_mcontext.gregs[REG_RIP] += 2;	/* ud2 */
}

int check_sigreturn(void)
{
	unsigned long result;

	set_info_handler(SIGILL, skip_and_set, 0);
	__asm__ volatile("xor %%ebx, %%ebx; ud2; mov %%rbx, %0" : "=r" (result) : : "rbx");
	printf("rbx %#lx\n", result);
	return 0;
}

/* ---- Faults, timers, floating point ---- */

static __attribute__((noinline)) int deep(int levels)
{
	volatile char frame[4000];

	frame[levels % sizeof(frame)] = 1;
	return levels ? deep(levels - 1) + frame[levels % sizeof(frame)] : 0;
}

int check_stack(void)
{
	printf("depth %d\n", deep(1500));	/* 6 MB of the 8 */
	pid_t pid = fork();
	if (!pid)
		_exit(deep(1 << 20) ? 0 : 1);
	int status = status_of(pid);
	printf("too deep: %s\n", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "survived");
	return 0;
}

int check_timers(void)
{
	struct itimerval timer = { { 0, 2000 }, { 0, 2000 } };
	uint64_t sum = 0;
	uint32_t x = 1;

	set_handler(SIGALRM, count_signal, 0);
	CHECK(!setitimer(ITIMER_REAL, &timer, NULL));
	while (seen[SIGALRM] < 100) {
		/* A round always has the same result, however often it is interrupted. */
		x = 1;
		sum = 0;
		for (int i = 0; i < 200000; i++) {
			x = x * 1664525 + 1013904223;
			sum += x;
		}
	}
	CHECK(!setitimer(ITIMER_REAL, &off, NULL));
	printf("sum %llu\n", (unsigned long long)sum);
	return 0;
}

static void spoil_floats(int number)
{
	double zeros[4] = { 0 };

	seen[number]++;
	__asm__ volatile("movupd %0, %%xmm0; movupd %0, %%xmm6; movupd %0, %%xmm15; fninit; fldz"
			 : : "m" (zeros) : "xmm0", "xmm6", "xmm15");
}

static void *float_work(void *data)
{
	double *result = malloc(2 * sizeof(*result));

	/* Each round has the same result; enough of them to be interrupted. */
	do {
		double x = (double)(intptr_t)data;
		long double y = x;

		for (int i = 0; i < 100000; i++) {
			x = x * 1.0000001 + 0.5;
			y = y * 1.0000001L + 0.5L;
			if (i % 5000 == 0)
				sched_yield();
		}
		result[0] = x;
		result[1] = (double)y;
	} while (seen[SIGALRM] < 50);
	return result;
}

int check_fpu(void)
{
	struct itimerval timer = { { 0, 1500 }, { 0, 1500 } };
	pthread_t threads[4];
	sigset_t alarm;
	void *result;

	set_handler(SIGALRM, spoil_floats, SA_RESTART);
	for (intptr_t i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, float_work, (void *)(i + 1)));
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	CHECK(!pthread_sigmask(SIG_BLOCK, &alarm, NULL));	/* the other threads get them */
	CHECK(!setitimer(ITIMER_REAL, &timer, NULL));
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		printf("%.10g %.10g\n", ((double *)result)[0], ((double *)result)[1]);
		free(result);
	}
	CHECK(!setitimer(ITIMER_REAL, &off, NULL));
	return 0;
}
