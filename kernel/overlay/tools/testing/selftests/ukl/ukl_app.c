// SPDX-License-Identifier: GPL-2.0
/*
 * Check that application mode provides what Linux guarantees to a process.
 *
 * The same object is a normal program and a UKL application. As a normal
 * program it shows that the tests are correct, as an application that
 * application mode passes them. Tests of application mode itself are skipped in
 * a normal process.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/elf.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "functions.h"

#define USER_CS		0x33
#define USER_DS		0x2b
#define EFLAGS_AC	0x40000
#define CR4_SMEP	0x100000
#define CR4_SMAP	0x200000

#define LOAD(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)

/* An unmapped address in the kernel half, in a hole: see mm.rst */
#define UNMAPPED_KERNEL	0xffffea7fffff0000UL
#define NON_CANONICAL	0x800000000000beefUL

static bool in_application_mode(void)
{
	unsigned short cs;

	asm("mov %%cs, %0" : "=r" (cs));
	return (cs & 3) == 0;
}

/* The two kinds of system call */
typedef long (*syscall_fn)(long nr, long a, long b, long c, long d, long e, long f);

static long by_instruction(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long ret;

	asm volatile("syscall" : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8), "r" (r9)
		     : "rcx", "r11", "memory");
	return ret;
}

static long by_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long ret;

	asm volatile("call ukl_syscall" : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8), "r" (r9)
		     : "rcx", "r11", "memory", "cc");
	return ret;
}

static long by_fast_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long ret;

	asm volatile("call ukl_syscall_fast" : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8), "r" (r9)
		     : "rcx", "r11", "memory", "cc");
	return ret;
}

static const syscall_fn ways[] = { by_instruction, by_call };

static bool functions_are_there(void)
{
	return in_application_mode() && !access("/sys/kernel/debug/ukl", F_OK);
}

/* ------------------------------------------------------------------------ */

TEST(mode)
{
	TH_LOG("%s", in_application_mode() ? "application mode" : "user mode");
}

TEST(protections)
{
	unsigned long cr4;

	if (!in_application_mode())
		SKIP(return, "not in application mode");
	asm volatile("mov %%cr4, %0" : "=r" (cr4));
	TH_LOG("cr4 %lx", cr4);
	EXPECT_NE(0, cr4 & CR4_SMEP);
	EXPECT_NE(0, cr4 & CR4_SMAP);
}

TEST(both_ways)
{
	for (int i = 0; i < 2; i++) {
		char *p;

		EXPECT_EQ(getpid(), ways[i](SYS_getpid, 0, 0, 0, 0, 0, 0));
		EXPECT_EQ(-EBADF, ways[i](SYS_close, -1, 0, 0, 0, 0, 0));
		EXPECT_EQ(-1, syscall(100000));
		EXPECT_EQ(-errno, ways[i](100000, 0, 0, 0, 0, 0, 0));
		/* The kernel ignores the upper half of the number. */
		EXPECT_EQ(getpid(), ways[i](0x7700000000L | SYS_getpid, 0, 0, 0, 0, 0, 0));
		/* Six arguments */
		p = (char *)ways[i](SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_LT((unsigned long)p, 1UL << 47);
		p[5000] = 1;
		EXPECT_EQ(0, ways[i](SYS_munmap, (long)p, 8192, 0, 0, 0, 0));
	}
}

/*
 * All registers but rax, rcx, r11 are kept; SYSCALL keeps flags and red zone.
 */
TEST(registers_kept)
{
	unsigned long bad, flags;

	for (int call = 0; call < 2; call++) {
		asm volatile("push %%rbp\n\t"
			     "mov $1, %%ebx; mov $2, %%ebp; mov $3, %%r12d; mov $4, %%r13d\n\t"
			     "mov $5, %%r14d; mov $6, %%r15d; mov $7, %%edi; mov $8, %%esi\n\t"
			     "mov $9, %%edx; mov $10, %%r10d; mov $11, %%r8d; mov $12, %%r9d\n\t"
			     "mov %[nr], %%eax\n\t"
			     "cmpl $0, %[call]; jne 1f\n\t"
			     "syscall; jmp 2f\n\t"
			     "1: call ukl_syscall\n\t"
			     "2: dec %%rbx; sub $2, %%rbp; sub $3, %%r12; sub $4, %%r13\n\t"
			     "sub $5, %%r14; sub $6, %%r15; sub $7, %%rdi; sub $8, %%rsi\n\t"
			     "sub $9, %%rdx; sub $10, %%r10; sub $11, %%r8; sub $12, %%r9\n\t"
			     "or %%rbp, %%rbx; or %%r12, %%rbx; or %%r13, %%rbx; or %%r14, %%rbx\n\t"
			     "or %%r15, %%rbx; or %%rdi, %%rbx; or %%rsi, %%rbx; or %%rdx, %%rbx\n\t"
			     "or %%r10, %%rbx; or %%r8, %%rbx; or %%r9, %%rbx\n\t"
			     "pop %%rbp"
			     : "=&b" (bad)
			     : [nr] "i" (SYS_getppid), [call] "m" (call)
			     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
			       "r12", "r13", "r14", "r15", "memory", "cc");
		EXPECT_EQ(0, bad);
	}

	asm volatile("sub $256, %%rsp; movq $0x5a5a, -8(%%rsp); movq $0xa5a5, -128(%%rsp)\n\t"
		     "mov %[nr], %%eax; stc; syscall\n\t"
		     "setc %%al; movzbl %%al, %%eax; mov %%rax, %[flags]\n\t"
		     "mov -8(%%rsp), %%rcx; xor $0x5a5a, %%rcx\n\t"
		     "mov -128(%%rsp), %%rdx; xor $0xa5a5, %%rdx; or %%rdx, %%rcx\n\t"
		     "mov %%rcx, %[bad]; add $256, %%rsp"
		     : [flags] "=&r" (flags), [bad] "=&r" (bad)
		     : [nr] "i" (SYS_getppid)
		     : "rax", "rcx", "rdx", "r11", "memory", "cc");
	EXPECT_EQ(1, flags);
	EXPECT_EQ(0, bad);
}

static char big_bss[8 << 20];
static int initialized[4096] = { [17] = 42, [4095] = 43 };

TEST(data_is_pageable)
{
	for (size_t i = 0; i < sizeof(big_bss); i += 4096) {
		ASSERT_EQ(0, big_bss[i]);
		big_bss[i] = i >> 12;
	}
	for (size_t i = 0; i < sizeof(big_bss); i += 4096)
		ASSERT_EQ((char)(i >> 12), big_bss[i]);
	EXPECT_EQ(42, initialized[17]);
	EXPECT_EQ(43, initialized[4095]);
}

static __attribute_noinline__ int recurse(int n)
{
	char frame[1000];

	frame[0] = n;
	asm volatile("" : : "r" (frame) : "memory");
	return n ? recurse(n - 1) + frame[0] - (char)n : 0;
}

TEST(stack_grows)
{
	EXPECT_EQ(0, recurse(6000));
}

/* ------------------------------------------------------------------------ */

static sigjmp_buf back;
static siginfo_t got;
static unsigned long got_cs, got_rip;

static void jump_back(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	got = *info;
	got_rip = uc->uc_mcontext.gregs[REG_RIP];
	got_cs = uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffff;
	siglongjmp(back, sig);
}

static void catch(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigaction(sig, &sa, NULL);
}

#define EXPECT_FAULT(signal, code, addr, what)				\
	do {								\
		int caught, sig = signal;				\
									\
		catch(sig, jump_back, SA_ONSTACK);			\
		caught = sigsetjmp(back, 1);				\
		if (!caught) {						\
			what;						\
			TH_LOG("%s: no fault", #what);			\
		}							\
		EXPECT_EQ(sig, caught) TH_LOG("%s", #what);		\
		EXPECT_EQ(code, got.si_code) TH_LOG("%s", #what);	\
		EXPECT_EQ((unsigned long)(addr), (unsigned long)got.si_addr)	\
			TH_LOG("%s", #what);				\
		EXPECT_EQ(USER_CS, got_cs);				\
	} while (0)

/* Accesses that the compiler cannot optimize */
static char load(unsigned long address)
{
	char c;

	asm volatile("movb (%1), %0" : "=q" (c) : "r" (address) : "memory");
	return c;
}

static void store(unsigned long address, char c)
{
	asm volatile("movb %0, (%1)" : : "q" (c), "r" (address) : "memory");
}

static int zero;
static int jump_target_data = 0xc3c3c3c3;

TEST(faults)
{
	char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *file;
	int fd;

	EXPECT_FAULT(SIGSEGV, SEGV_MAPERR, 0x10, store(0x10, 1));
	EXPECT_FAULT(SIGSEGV, SEGV_MAPERR, 0x18, load(0x18));
	EXPECT_FAULT(SIGSEGV, SEGV_ACCERR, ro, store((long)ro, 1));
	/* Text is not writable, data and stack are not executable. */
	EXPECT_FAULT(SIGSEGV, SEGV_ACCERR, recurse, store((long)recurse, 1));
	EXPECT_FAULT(SIGSEGV, SEGV_ACCERR, &jump_target_data,
		     ((void (*)(void))&jump_target_data)());
	EXPECT_FAULT(SIGSEGV, SEGV_MAPERR, 0x20, ((void (*)(void))0x20)());
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 0, store(NON_CANONICAL, 1));
	EXPECT_FAULT(SIGSEGV, SI_KERNEL, 0, ((void (*)(void))NON_CANONICAL)());
	EXPECT_FAULT(SIGFPE, FPE_INTDIV, got_rip,
		     asm volatile("cltd; idivl %1" : : "a" (1), "m" (zero) : "edx", "cc"));
	EXPECT_FAULT(SIGILL, ILL_ILLOPN, got_rip, asm volatile("ud2"));
	EXPECT_FAULT(SIGTRAP, SI_KERNEL, 0, asm volatile("int3"));

	fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0) {
		file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		EXPECT_FAULT(SIGBUS, BUS_ADRERR, file, load((long)file));
	}
}

TEST(kernel_addresses_fault)
{
	unsigned long address = UNMAPPED_KERNEL;

	EXPECT_FAULT(SIGSEGV, SEGV_MAPERR, address,
		     store(address, 1));
}

TEST(stack_overflow)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct rlimit limit = { .rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY };
	int caught;

	ASSERT_EQ(0, sigaltstack(&ss, NULL));
	ASSERT_EQ(0, setrlimit(RLIMIT_STACK, &limit));
	catch(SIGSEGV, jump_back, SA_ONSTACK);
	caught = sigsetjmp(back, 1);
	if (!caught)
		recurse(1000000);
	EXPECT_EQ(SIGSEGV, caught);
}

/* POPF may clear EFLAGS.AC, which SMAP requires for accesses to user memory. */
TEST(alignment_check_flag_lost)
{
	unsigned long p = (unsigned long)big_bss;

	asm volatile("pushfq; andl %0, (%%rsp); popfq" : : "i" (~EFLAGS_AC) : "memory", "cc");
	store(p, 5);
	asm volatile("pushfq; andl %0, (%%rsp); popfq" : : "i" (~EFLAGS_AC) : "memory", "cc");
	EXPECT_EQ(5, load(p));
	for (int i = 0; i < 2; i++) {
		asm volatile("pushfq; andl %0, (%%rsp); popfq" : : "i" (~EFLAGS_AC)
			     : "memory", "cc");
		EXPECT_EQ(getpid(), ways[i](SYS_getpid, 0, 0, 0, 0, 0, 0));
	}
}

static int count;

static void counting(int sig, siginfo_t *info, void *context)
{
	/* Use registers that the interrupted code may use, too. */
	double x = LOAD(count) * 3.0 + 1.0;

	asm volatile("" : : "x" (x));
	STORE(count, LOAD(count) + 1);
}

static void every(int microseconds)
{
	struct itimerval it = {
		.it_interval.tv_usec = microseconds,
		.it_value.tv_usec = microseconds,
	};

	setitimer(ITIMER_REAL, &it, NULL);
}

/* Interrupt a loop that uses the red zone and the FPU with timers. */
TEST(timers_into_computation)
{
	double sum = 0.0, expect = 0.0;
	unsigned long bad = 0;

	catch(SIGALRM, counting, 0);
	every(1000);
	for (long i = 0; LOAD(count) < 50; i++) {
		unsigned long wrong;

		asm volatile("lea -256(%%rsp), %%rsp\n\t"
			     "movq $77, -8(%%rsp); movq $78, -120(%%rsp)\n\t"
			     "mov $2000, %%ecx; 1: dec %%ecx; jnz 1b\n\t"
			     "mov -8(%%rsp), %0; sub $77, %0; mov -120(%%rsp), %%rcx\n\t"
			     "sub $78, %%rcx; or %%rcx, %0; lea 256(%%rsp), %%rsp"
			     : "=r" (wrong) : : "rcx", "memory", "cc");
		bad |= wrong;
		sum += 0.5;
		expect = 0.5 * (i + 1);
	}
	every(0);
	EXPECT_EQ(0, bad);
	EXPECT_EQ(1, sum == expect);
}

/*
 * A system call wakes a process that preempts the caller. That process runs before the
 * call returns, with lazy preemption too.
 */
TEST(rescheduled_before_a_call_returns)
{
	static const syscall_fn all_ways[] = { by_instruction, by_call, by_fast_call };
	const struct sched_param none = { 0 };
	cpu_set_t one, all;
	int fds[2], *turns;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(fds));
	turns = mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, turns);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	pid = fork();
	if (!pid) {
		close(fds[1]);
		while (read(fds[0], &c, 1) == 1)
			STORE(*turns, LOAD(*turns) + 1);
		_exit(0);
	}
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_IDLE, &none));
	/* When this goes on, the child has run and sleeps in read(). */
	EXPECT_EQ(1, write(fds[1], "", 1));
	while (!LOAD(*turns))
		usleep(1000);
	for (int i = 0; i < 3; i++) {
		int at_once = 0;

		/* The scheduler can owe time to the caller, for some seconds. */
		for (int second = 0; at_once < 40 && second < 30; second++) {
			if (second)
				sleep(1);
			at_once = 0;
			for (int n = 0; n < 50; n++) {
				int before = LOAD(*turns);

				EXPECT_EQ(1, all_ways[i](SYS_write, fds[1], (long)"", 1, 0, 0, 0));
				at_once += LOAD(*turns) != before;
			}
		}
		EXPECT_GE(at_once, 40);
	}
	close(fds[1]);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &none));
	EXPECT_EQ(0, sched_setaffinity(0, sizeof(all), &all));
	munmap(turns, sizeof(*turns));
	close(fds[0]);
}

static const unsigned char *interrupted_at;

static void where(int sig, siginfo_t *info, void *context)
{
	interrupted_at = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	counting(sig, info, context);
}

/* C libraries decide by this address whether a thread can still be cancelled. */
TEST(restart_before_the_instruction)
{
	int fds[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(fds));
	catch(SIGALRM, where, SA_RESTART);
	count = 0;
	pid = fork();
	if (!pid) {
		usleep(100000);
		kill(getppid(), SIGALRM);
		usleep(100000);
		_exit(write(fds[1], "x", 1) != 1);
	}
	EXPECT_EQ(1, by_call(SYS_read, fds[0], (long)&c, 1, 0, 0, 0));
	EXPECT_EQ(1, LOAD(count));
	/* A near call, or in a process the first byte of SYSCALL in ukl_syscall() */
	EXPECT_EQ(in_application_mode() ? 0xe8 : 0x0f, *interrupted_at);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	close(fds[0]);
	close(fds[1]);
}

TEST(restart)
{
	for (int i = 0; i < 2; i++) {
		int fds[2];
		char c = 0;
		pid_t pid;

		ASSERT_EQ(0, pipe(fds));
		/* Without SA_RESTART: EINTR */
		count = 0;
		catch(SIGALRM, counting, 0);
		every(20000);
		EXPECT_EQ(-EINTR, ways[i](SYS_read, fds[0], (long)&c, 1, 0, 0, 0));
		EXPECT_GE(LOAD(count), 1);
		/* With SA_RESTART the call is restarted until there is data. */
		catch(SIGALRM, counting, SA_RESTART);
		count = 0;
		pid = fork();
		if (!pid) {
			usleep(200000);
			_exit(write(fds[1], "x", 1) != 1);
		}
		EXPECT_EQ(1, ways[i](SYS_read, fds[0], (long)&c, 1, 0, 0, 0));
		every(0);
		EXPECT_EQ('x', c);
		EXPECT_GE(LOAD(count), 2);
		EXPECT_EQ(pid, waitpid(pid, NULL, 0));
		close(fds[0]);
		close(fds[1]);
	}
}

/*
 * Count down in a restartable sequence in the program's text. Return 0 if it was
 * completed, 1 if it was aborted.
 */
static int count_in_sequence(struct rseq *area, unsigned long turns)
{
	int aborted;

	asm volatile(".pushsection .data\n"
		     ".balign 32\n"
		     "6:\n"
		     ".long 0, 0\n"
		     ".quad 1f, 2f - 1f, 4f\n"
		     ".popsection\n"
		     "lea 6b(%%rip), %%rax\n"
		     "movq %%rax, %1\n"
		     "1:\n"
		     "decq %2\n"
		     "jnz 1b\n"
		     "2:\n"
		     "xorl %0, %0\n"
		     "jmp 5f\n"
		     ".long %c3\n"
		     "4:\n"
		     "movl $1, %0\n"
		     "5:\n"
		     : "=&a" (aborted), "=m" (area->rseq_cs), "+r" (turns)
		     : "i" (RSEQ_SIG) : "cc", "memory");
	return aborted;
}

TEST(restartable_sequences)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	cpu_set_t one, all;
	pid_t pid;

	if (!__rseq_size)
		SKIP(return, "the C library has not registered an area");
	EXPECT_EQ(0, count_in_sequence(area, 1));
	/* Aborted by a signal, or by the scheduler before that ... */
	count = 0;
	catch(SIGALRM, counting, 0);
	every(20000);
	while (!LOAD(count))
		ASSERT_EQ(1, count_in_sequence(area, 1UL << 40));
	every(0);
	/* ... and by another process on the same CPU. */
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	pid = fork();
	if (!pid)
		for (;;)
			;
	EXPECT_EQ(1, count_in_sequence(area, 1UL << 40));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(0, sched_setaffinity(0, sizeof(all), &all));
}

/* SIGSTOP and SIGCONT make nanosleep() go through restart_syscall(). */
TEST(restart_block)
{
	for (int i = 0; i < 2; i++) {
		struct timespec t = { .tv_nsec = 300000000 };
		pid_t pid = fork();
		int status;

		if (!pid)
			_exit(ways[i](SYS_nanosleep, (long)&t, 0, 0, 0, 0, 0) != 0);
		usleep(100000);
		kill(pid, SIGSTOP);
		EXPECT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		EXPECT_TRUE(WIFSTOPPED(status));
		kill(pid, SIGCONT);
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
}

static void change_registers(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_RBX] = 0x1234;
	uc->uc_mcontext.gregs[REG_RIP] += 2;		/* skip ud2 */
}

TEST(handler_changes_registers)
{
	unsigned long rbx;

	catch(SIGILL, change_registers, 0);
	asm volatile("xor %%ebx, %%ebx; ud2; nop" : "=b" (rbx));
	EXPECT_EQ(0x1234, rbx);
}

static unsigned long hostile_rip, hostile_rsp, hostile_cs;

static void hostile_frame(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (hostile_rip)
		uc->uc_mcontext.gregs[REG_RIP] = hostile_rip;
	if (hostile_rsp)
		uc->uc_mcontext.gregs[REG_RSP] = hostile_rsp;
	if (hostile_cs)
		uc->uc_mcontext.gregs[REG_CSGSFS] = hostile_cs | (unsigned long)USER_DS << 48;
}

/* Invalid changes of a signal frame kill the process, but do no other harm. */
TEST(hostile_sigreturn)
{
	static const struct {
		unsigned long rip, rsp, cs;
		int status;
	} cases[] = {
		{ .rip = 0xffffffff81000000, .status = SIGSEGV },	/* kernel text */
		{ .rip = NON_CANONICAL, .status = SIGSEGV },
		{ .rip = 0x10, .status = SIGSEGV },
		{ .rsp = 0xffffffff82000000, .status = SIGSEGV },
		{ .cs = 0x10 },					/* ignored */
		{ .cs = 0x33 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			hostile_rip = cases[i].rip;
			hostile_rsp = cases[i].rsp;
			hostile_cs = cases[i].cs;
			/* A normal process cannot return to a ring 0 CS. */
			if (!in_application_mode() && hostile_cs == 0x10)
				_exit(0);
			catch(SIGUSR1, hostile_frame, 0);
			raise(SIGUSR1);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(cases[i].status, status) TH_LOG("case %zu", i);
	}
}

/* ------------------------------------------------------------------------ */

static __thread int tls = 5;
static __thread alignas(64) char tls_aligned[100] = "tls";
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int shared;

static void *thread_body(void *arg)
{
	if (tls != 5 || strcmp(tls_aligned, "tls") || (unsigned long)tls_aligned % 64)
		return (void *)1;
	tls = (long)arg;
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		shared++;
		if (i % 100 == 0)
			sched_yield();
		pthread_mutex_unlock(&mutex);
	}
	return (void *)(long)(tls != (long)arg);
}

TEST(threads)
{
	pthread_t threads[50];
	void *ret;

	for (long i = 0; i < 50; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, thread_body, (void *)(i + 10)));
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
	EXPECT_EQ(50000, shared);
	EXPECT_EQ(5, tls);
}

static int cleaned;

static void cleanup(void *arg)
{
	cleaned = 1;
}

static void *sleeper(void *arg)
{
	pthread_cleanup_push(cleanup, NULL);
	for (;;)
		pause();
	pthread_cleanup_pop(0);
	return NULL;
}

TEST(cancellation)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, sleeper, NULL));
	usleep(50000);
	ASSERT_EQ(0, pthread_cancel(thread));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(PTHREAD_CANCELED, ret);
	EXPECT_EQ(1, cleaned);
}

static int forked = 1;

TEST(fork_copies_data)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		forked = 2;
		big_bss[0] = 2;
		_exit(forked == 2 && big_bss[0] == 2 ? 33 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(33, WEXITSTATUS(status));
	EXPECT_EQ(1, forked);
	EXPECT_EQ(0, big_bss[0]);
}

/*
 * The child of vfork() runs on the parent's stack and may overwrite the return
 * address of the parent's call.
 */
static __attribute_noinline__ long vfork_by_call(void)
{
	long pid;

	asm volatile("mov %[nr], %%eax; call ukl_syscall\n\t"
		     "test %%rax, %%rax; jnz 1f\n\t"
		     "push $0; push $0; push $0; add $24, %%rsp\n\t"
		     "mov %[exit], %%eax; mov $7, %%edi; syscall\n\t"
		     "1:" : "=a" (pid) : [nr] "i" (SYS_vfork), [exit] "i" (SYS_exit)
		     : "rcx", "r11", "rdi", "memory", "cc");
	return pid;
}

TEST(vfork_on_the_same_stack)
{
	int status;
	long pid = vfork_by_call();

	ASSERT_GT(pid, 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(7, WEXITSTATUS(status));
}

TEST(spawn_normal_program)
{
	char *argv[4] = { "sh", "-c", "exit 9", NULL };
	int status;
	pid_t pid;

	ASSERT_EQ(0, posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(9, WEXITSTATUS(status));
}

TEST(exec_itself)
{
	char *argv[4] = { "ukl_app", "exit", "21", NULL };
	char path[256];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int status;
	pid_t pid;

	ASSERT_GT(n, 0);
	path[n] = 0;
	EXPECT_EQ(NULL, strstr(path, "deleted"));
	ASSERT_EQ(0, posix_spawn(&pid, path, NULL, NULL, argv, environ));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(21, WEXITSTATUS(status));
}

TEST(exec_by_descriptor)
{
	char *argv[3] = { "ukl_app", "comm", NULL };
	char name[256] = "";
	int fd, fds[2];
	FILE *from;
	pid_t pid;

	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		dup2(fds[1], 1);
		fexecve(fd, argv, environ);
		_exit(1);
	}
	close(fds[1]);
	from = fdopen(fds[0], "r");
	ASSERT_NE(NULL, fgets(name, sizeof(name), from));
	fclose(from);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	/* The file's name, and not that of the kernel's internal file */
	ASSERT_GT(readlink("/proc/self/exe", name + 100, 155), 0);
	EXPECT_EQ(0, strncmp(name, strrchr(name + 100, '/') + 1, strcspn(name, "\n")))
		TH_LOG("comm is %s", name);
}

static const struct own_file {
	const char *path;
	int flags;
} own_files[] = {
	{ "/proc/self/comm", O_WRONLY },
	{ "/proc/self/oom_score_adj", O_WRONLY },
	{ "/proc/self/coredump_filter", O_RDWR },
	{ "/proc/self/environ", O_RDONLY },
	{ "/proc/self/auxv", O_RDONLY },
	{ "/proc/self/mem", O_RDWR },
	{ "/proc/self/fd", O_RDONLY },
};

/* As a normal user: try the files of the process itself, and of another one of that user. */
static int try_own_files(void)
{
	char path[64];
	int fds[2];
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(own_files); i++) {
		if (open(own_files[i].path, own_files[i].flags) < 0)
			return 100 + i;
	}
	/* Not with the owner's permission either: mode 0444 */
	if (open("/proc/self/limits", O_WRONLY) >= 0)
		return 120;
	if (!in_application_mode())
		return 0;

	if (pipe(fds))
		return 121;
	pid = fork();
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], path, 1));
	}
	for (size_t i = 0; i < ARRAY_SIZE(own_files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid,
			 own_files[i].path + strlen("/proc/self/"));
		if (open(path, own_files[i].flags) >= 0 || errno != EACCES)
			return 130 + i;
	}
	return 0;
}

TEST(own_files_in_proc)
{
	char *argv[3] = { "ukl_app", "files", NULL };
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		/* After execve() a normal process is dumpable again. */
		execv("/proc/self/exe", argv);
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("status %#x", status);
}

TEST(tsc_cannot_be_denied)
{
	int mode = 0;

	if (!in_application_mode())
		SKIP(return, "not in application mode");
	EXPECT_EQ(-1, prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, prctl(PR_GET_TSC, &mode));
	EXPECT_EQ(PR_TSC_ENABLE, mode);
	EXPECT_EQ(0, prctl(PR_SET_TSC, PR_TSC_ENABLE));
}

TEST(gs_belongs_to_the_kernel)
{
	if (!in_application_mode())
		SKIP(return, "not in application mode");
	EXPECT_EQ(-1, syscall(SYS_arch_prctl, ARCH_SET_GS, 0x1000));
	EXPECT_EQ(EPERM, errno);
}

/* ------------------------------------------------------------------------ */

TEST(functions)
{
	unsigned long *gone, value = 4711;
	struct pair pair;

	if (!functions_are_there())
		SKIP(return, "CONFIG_UKL_TEST is off, debugfs not mounted, or no application mode");
	EXPECT_EQ(123456, kernel_ukl_test_digits(1, 2, 3, 4, 5, 6));
	pair = kernel_ukl_test_pair(4711);
	EXPECT_EQ(4711, pair.low);
	EXPECT_EQ(~4711UL, pair.high);

	/* get_user() of application data: present, not yet present, unmapped */
	EXPECT_EQ(4711, kernel_ukl_test_read(&value));
	gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, gone);
	EXPECT_EQ(0, kernel_ukl_test_read(gone));
	munmap(gone, 4096);
	EXPECT_EQ(-EFAULT, kernel_ukl_test_read(gone));
	EXPECT_EQ(-EFAULT, kernel_ukl_test_read((void *)UNMAPPED_KERNEL));
}

/* Callee-saved registers are preserved, and so is the caller's red zone. */
TEST(functions_keep_registers)
{
	unsigned long bad;

	if (!functions_are_there())
		SKIP(return, "CONFIG_UKL_TEST is off, debugfs not mounted, or no application mode");
	catch(SIGALRM, counting, 0);
	STORE(count, 0);
	every(1000);
	do {
		asm volatile("push %%rbp\n\t"
			     "mov $1, %%rbx; mov $2, %%rbp; mov $3, %%r12\n\t"
			     "mov $4, %%r13; mov $5, %%r14; mov $6, %%r15\n\t"
			     "mov $7, %%edi\n\t"
			     "call kernel_ukl_test_pair\n\t"
			     "sub $7, %%rax; not %%rdx; sub $7, %%rdx; or %%rdx, %%rax\n\t"
			     "dec %%rbx; sub $2, %%rbp; sub $3, %%r12\n\t"
			     "sub $4, %%r13; sub $5, %%r14; sub $6, %%r15\n\t"
			     "or %%rbx, %%rax; or %%rbp, %%rax; or %%r12, %%rax\n\t"
			     "or %%r13, %%rax; or %%r14, %%rax; or %%r15, %%rax\n\t"
			     "pop %%rbp"
			     : "=a" (bad)
			     : : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
				 "r12", "r13", "r14", "r15", "memory", "cc");
		ASSERT_EQ(0, bad);
	} while (LOAD(count) < 200);
	every(0);
}

/* A signal ends the wait; its handler runs before the caller continues. */
TEST(functions_and_signals)
{
	if (!functions_are_there())
		SKIP(return, "CONFIG_UKL_TEST is off, debugfs not mounted, or no application mode");
	catch(SIGALRM, counting, SA_RESTART);
	STORE(count, 0);
	EXPECT_EQ(0, kernel_ukl_test_wait(10));
	every(20000);
	EXPECT_EQ(-EINTR, kernel_ukl_test_wait(60000));
	EXPECT_EQ(1, LOAD(count));
	every(0);
}

static void tracee(void)
{
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	for (int i = 0; i < 10; i++) {
		by_instruction(SYS_getppid, 0, 0, 0, 0, 0, 0);
		by_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	}
	_exit(4);
}

TEST(trace_system_calls)
{
	struct user_regs_struct regs;
	int status, seen = 0;
	pid_t pid = fork();

	if (!pid)
		tracee();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		ASSERT_EQ(0, ptrace(PTRACE_SYSCALL, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (WIFEXITED(status))
			break;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
		EXPECT_EQ(USER_CS, regs.cs);
		EXPECT_EQ(USER_DS, regs.ss);
		if (regs.orig_rax == SYS_getppid)
			seen++;
	}
	EXPECT_EQ(4, WEXITSTATUS(status));
	EXPECT_EQ(2 * 2 * 10, seen);
}

TEST(trace_by_steps)
{
	int status, steps = 0;
	pid_t pid = fork();

	if (!pid)
		tracee();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	for (;;) {
		ASSERT_EQ(0, ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (WIFEXITED(status))
			break;
		ASSERT_EQ(SIGTRAP, WSTOPSIG(status));
		ASSERT_LT(++steps, 100000);
	}
	EXPECT_EQ(4, WEXITSTATUS(status));
	EXPECT_GT(steps, 100);
}

static void stepped(void)
{
	long bad = 0;

	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	for (int i = 0; i < 3; i++) {
		bad |= kernel_ukl_test_digits(6, 5, 4, 3, 2, i) ^ (654320 + i);
		bad |= kernel_ukl_test_wait(1);
	}
	_exit(bad ? 1 : 4);
}

/* A function call is a single step, and no step ends in the kernel. */
TEST(functions_by_steps)
{
	struct user_regs_struct regs;
	int status, steps = 0;
	pid_t pid;

	if (!functions_are_there())
		SKIP(return, "CONFIG_UKL_TEST is off, debugfs not mounted, or no application mode");
	pid = fork();
	if (!pid)
		stepped();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	for (;;) {
		ASSERT_EQ(0, ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (WIFEXITED(status))
			break;
		ASSERT_EQ(SIGTRAP, WSTOPSIG(status));
		/* A tracer may set the current instruction pointer again. */
		ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
		ASSERT_EQ(0, ptrace(PTRACE_SETREGS, pid, 0, &regs));
		ASSERT_LT(++steps, 10000);
	}
	EXPECT_EQ(4, WEXITSTATUS(status));
	EXPECT_GT(steps, 50);
}

TEST(tracer_cannot_enter_the_kernel)
{
	struct user_regs_struct regs, bad;
	int status;
	pid_t pid;

	if (!in_application_mode())
		SKIP(return, "not in application mode");
	pid = fork();
	if (!pid)
		tracee();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
	EXPECT_EQ(0, ptrace(PTRACE_SETREGS, pid, 0, &regs));
	bad = regs;
	bad.rip = 0xffffffff81000000;
	EXPECT_EQ(-1, ptrace(PTRACE_SETREGS, pid, 0, &bad));
	bad = regs;
	bad.rsp = 0xffffffff82000000;
	EXPECT_EQ(-1, ptrace(PTRACE_SETREGS, pid, 0, &bad));
	bad = regs;
	bad.cs = 0x23;		/* CS of 32-bit processes */
	EXPECT_EQ(-1, ptrace(PTRACE_SETREGS, pid, 0, &bad));
	ASSERT_EQ(0, ptrace(PTRACE_SETREGS, pid, 0, &regs));
	ptrace(PTRACE_CONT, pid, 0, 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(4, WEXITSTATUS(status));
}

static int probes;

static __attribute_noinline__ void probed(void)
{
	STORE(probes, LOAD(probes) + 1);
	asm volatile("" : : : "memory");
}

/* Debuggers read the text to disassemble and unwind. */
TEST(text_can_be_read_by_a_tracer)
{
	unsigned long start, end, text = (unsigned long)probed;
	char line[256], mode[5] = "";
	int status, fd;
	bool found = false;
	FILE *maps;
	pid_t pid;
	long word;
	struct iovec here = { &word, sizeof(word) }, there = { probed, sizeof(word) };

	maps = fopen("/proc/self/maps", "r");
	ASSERT_NE(NULL, maps);
	while (!found && fgets(line, sizeof(line), maps))
		found = sscanf(line, "%lx-%lx %4s", &start, &end, mode) == 3 &&
			text >= start && text < end;
	fclose(maps);
	ASSERT_TRUE(found);
	EXPECT_STREQ("r-xp", mode);

	fd = open("/proc/self/mem", O_RDONLY);
	ASSERT_LE(0, fd);
	/* pread() would reject the address as a negative offset. */
	lseek(fd, text, SEEK_SET);
	ASSERT_EQ(sizeof(word), read(fd, &word, sizeof(word)));
	EXPECT_EQ(0, memcmp(&word, probed, sizeof(word)));
	close(fd);

	pid = fork();
	if (!pid)
		tracee();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, pid, text, 0);
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0, memcmp(&word, probed, sizeof(word)));
	word = 0;
	EXPECT_EQ(sizeof(word), process_vm_readv(pid, &here, 1, &there, 1, 0));
	EXPECT_EQ(0, memcmp(&word, probed, sizeof(word)));
	if (in_application_mode()) {
		/* The text is read-only and shared by all processes. */
		EXPECT_EQ(-1, ptrace(PTRACE_POKETEXT, pid, text, word));
		/* Only the text can be read. */
		EXPECT_EQ(-1, ptrace(PTRACE_PEEKTEXT, pid, UNMAPPED_KERNEL, 0));
		EXPECT_NE(0, errno);
	}
	ptrace(PTRACE_KILL, pid, 0, 0);
	waitpid(pid, &status, 0);
}

/* The clock functions do not make system calls, as with a vDSO. */
TEST(time_without_system_calls)
{
	static const clockid_t clocks[] = {
		CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE,
	};
	struct timespec before, ts;
	struct timeval tv;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		unsigned int cpu;

		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		by_instruction(SYS_getppid, 0, 0, 0, 0, 0, 0);
		for (int i = 0; i < 4; i++) {
			if (clock_gettime(clocks[i], &ts) || clock_getres(clocks[i], &before))
				_exit(1);
		}
		/* time() returns the second of the last tick. */
		if (gettimeofday(&tv, NULL) || time(NULL) < tv.tv_sec - 1 ||
		    getcpu(&cpu, NULL) || cpu > 4096)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
	for (bool begun = false;;) {
		struct user_regs_struct regs;

		ASSERT_EQ(0, ptrace(PTRACE_SYSCALL, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (WIFEXITED(status))
			break;
		ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
		if (begun && regs.orig_rax != SYS_getppid)
			EXPECT_EQ(SYS_exit_group, regs.orig_rax);
		begun = begun || regs.orig_rax == SYS_getppid;
	}
	/*
	 * Fails if the vDSO cannot use the clock source, e.g. an unstable TSC.
	 */
	EXPECT_EQ(0, WEXITSTATUS(status));

	/* The result agrees with the system call's. */
	for (int i = 0; i < 4; i++) {
		struct timespec after;

		for (int n = 0; n < 1000; n++) {
			syscall(SYS_clock_gettime, clocks[i], &before);
			ASSERT_EQ(0, clock_gettime(clocks[i], &ts));
			syscall(SYS_clock_gettime, clocks[i], &after);
			EXPECT_TRUE(before.tv_sec < ts.tv_sec ||
				    (before.tv_sec == ts.tv_sec && before.tv_nsec <= ts.tv_nsec));
			EXPECT_TRUE(ts.tv_sec < after.tv_sec ||
				    (ts.tv_sec == after.tv_sec && ts.tv_nsec <= after.tv_nsec));
		}
	}
}

static __attribute_noinline__ void spin(int milliseconds)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		for (int i = 0; i < 10000; i++)
			asm volatile("");
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
		 milliseconds);
}

/* Marked as kernel samples, because the symbols are in the kernel. */
TEST(samples_of_a_profiler)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = 1000000,	/* ns */
		.sample_type = PERF_SAMPLE_IP,
	};
	struct perf_event_mmap_page *page;
	unsigned long position = 0;
	int fd, right = 0, wrong = 0;
	char *data;

	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	if (fd < 0)
		SKIP(return, "no perf events");
	page = mmap(NULL, 9 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, page);
	/* The sample rate also depends on the host. */
	for (int i = 0; i < 50 && page->data_head < 64 * 16; i++)
		spin(200);
	ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);

	data = (char *)page + 4096;
	while (position < page->data_head && position < 8 * 4096 - 64) {
		struct perf_event_header *header = (void *)(data + position);
		unsigned long ip = *(unsigned long *)(header + 1);
		int mode = header->misc & PERF_RECORD_MISC_CPUMODE_MASK;
		int wanted = in_application_mode() ? PERF_RECORD_MISC_KERNEL :
						     PERF_RECORD_MISC_USER;

		if (header->type == PERF_RECORD_SAMPLE && ip >= (unsigned long)spin &&
		    ip < (unsigned long)spin + 256)
			*(mode == wanted ? &right : &wrong) += 1;
		position += header->size;
	}
	EXPECT_GT(right, 10);
	EXPECT_EQ(0, wrong);
	munmap(page, 9 * 4096);
	close(fd);
}

static bool stop;

static void *mapper(void *arg)
{
	while (!LOAD(stop)) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (int i = 0; i < 1 << 20; i += 4096)
			store((long)p + i, 1);
		munmap(p, 1 << 20);
	}
	return NULL;
}

static void *signaller(void *arg)
{
	while (!LOAD(stop)) {
		kill(getpid(), SIGUSR1);
		by_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	}
	return NULL;
}

static void *forker(void *arg)
{
	long failed = 0;

	while (!LOAD(stop)) {
		int status;
		pid_t pid = fork();

		if (!pid)
			_exit(3);
		if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 3)
			failed++;
	}
	return (void *)failed;
}

static void *computer(void *arg)
{
	while (!LOAD(stop)) {
		double sum = 0;

		for (int i = 1; i <= 10000; i++)
			sum += i;
		if (sum != 50005000.0)
			return (void *)1;
	}
	return NULL;
}

TEST(stress)
{
	static void *(*const bodies[])(void *) = { mapper, signaller, forker, computer };
	pthread_t threads[8];
	void *ret;

	catch(SIGUSR1, counting, SA_RESTART);
	catch(SIGALRM, counting, SA_RESTART);
	every(500);
	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, bodies[i % 4], NULL));
	/* Each of the signals interrupts this sleep. */
	for (int i = 0; i < 50; i++)
		usleep(100000);
	STORE(stop, true);
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &ret));
		EXPECT_EQ(NULL, ret) TH_LOG("thread %d", i);
	}
	every(0);
	EXPECT_GT(LOAD(count), 20);
}

static void survived(int number)
{
	_exit(number);
}

/* Make the kernel jump to 0: an oops, which must not be a SIGSEGV here. */
static int jump_to_null(void)
{
	int fd = open("/sys/kernel/debug/ukl/null_call", O_WRONLY);

	signal(SIGSEGV, survived);
	return fd < 0 ? 255 : write(fd, "1", 1);
}

int main(int argc, char **argv)
{
	char name[17] = "";

	if (argc == 3 && !strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "probe")) {
		for (int i = atoi(argv[2]); i > 0; i--)
			probed();
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "sleep"))
		return sleep(atoi(argv[2]));
	if (argc == 2 && !strcmp(argv[1], "comm"))
		return prctl(PR_GET_NAME, name) || puts(name) < 0;
	if (argc == 2 && !strcmp(argv[1], "files"))
		return try_own_files();
	if (argc == 2 && !strcmp(argv[1], "null"))
		return jump_to_null();
	return test_harness_run(argc, argv);
}
