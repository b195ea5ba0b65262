// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of a program that a marker file starts in application mode. ukl_program.sh
 * says in the environment what the marker allows; without that, the tests pass in
 * any process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "../kselftest_harness.h"

/* As in <linux/ukl.h> */
#define ENTRIES 0xffffffffffa00000
#define ENTRY_ANY 512
#define STUB_MARK 0x4c4b5500
#define TEXT_OF(number) #number
#define TEXT(macro) TEXT_OF(macro)

#define PAGE 4096UL
#define AC 0x40000UL

/* What UKL_CODE says: none of the following is refused if it is not set. */
static bool may(const char *what)
{
	const char *code = getenv("UKL_CODE");

	return !code || strstr(code, what);
}

static unsigned int cpl(void)
{
	unsigned long cs;

	asm volatile("mov %%cs, %0" : "=r" (cs));
	return cs & 3;
}

/* Write a function that returns @value. */
static void write_code(void *at, uint32_t value)
{
	unsigned char code[] = { 0xb8, value, value >> 8, value >> 16, value >> 24, 0xc3 };

	memcpy(at, code, sizeof(code));
}

static int call(const void *at)
{
	return ((int (*)(void))at)();
}

static sigjmp_buf back;
static siginfo_t info;

static void on_fault(int number, siginfo_t *found, void *context)
{
	info = *found;
	siglongjmp(back, number);
}

/* Call @at, and return the signal that this causes, or 0. */
static int signal_of_call(const void *at)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int number;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	number = sigsetjmp(back, 1);
	if (!number)
		call(at);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	return number;
}

/* A file in $TMPDIR that has a function */
static int open_code(const char *name, mode_t mode, uint32_t value)
{
	const char *directory = getenv("TMPDIR");
	char path[256], page[PAGE] = { 0 };
	int file;

	snprintf(path, sizeof(path), "%s/%s", directory ?: "/tmp", name);
	unlink(path);
	file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (file < 0)
		return -1;
	unlink(path);
	write_code(page, value);
	if (write(file, page, sizeof(page)) != sizeof(page) || fchmod(file, mode)) {
		close(file);
		return -1;
	}
	return file;
}

TEST(mode)
{
	const char *mode = getenv("UKL_MODE");

	if (mode)
		EXPECT_EQ(!strcmp(mode, "application") ? 0 : 3, cpl());
}

TEST(written_memory)
{
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	ASSERT_NE(MAP_FAILED, at);
	write_code(at, 1);
	EXPECT_EQ(SIGSEGV, signal_of_call(at));
	EXPECT_EQ(at, info.si_addr);
	EXPECT_EQ(SEGV_ACCERR, info.si_code);
	if (!may("jit")) {
		EXPECT_EQ(-1, mprotect(at, PAGE, PROT_READ | PROT_EXEC));
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_EXEC,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		EXPECT_EQ(EACCES, errno);
		return;
	}
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, mprotect(at, PAGE, PROT_READ | PROT_WRITE));
		write_code(at, i);
		ASSERT_EQ(0, mprotect(at, PAGE, PROT_READ | PROT_EXEC));
		ASSERT_EQ(i, call(at));
	}
	/* A page that is not there any more, and one that is not mapped */
	ASSERT_EQ(0, mprotect(at, PAGE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, signal_of_call(at));
	ASSERT_EQ(0, mprotect(at, PAGE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(i - 1, call(at));
	ASSERT_EQ(0, munmap(at, PAGE));
	EXPECT_EQ(SIGSEGV, signal_of_call(at));
	EXPECT_EQ(SEGV_MAPERR, info.si_code);
}

TEST(writable_memory)
{
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!may("wx")) {
		EXPECT_EQ(MAP_FAILED, at);
		EXPECT_EQ(EACCES, errno);
		at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, at);
		EXPECT_EQ(-1, mprotect(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
		EXPECT_EQ(EACCES, errno);
		return;
	}
	ASSERT_NE(MAP_FAILED, at);
	write_code(at, 5);
	EXPECT_EQ(5, call(at));
}

TEST(memory_of_memfd)
{
	int file = memfd_create("code", 0);
	void *write_at, *at;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	write_at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, write_at);
	write_code(write_at, 7);
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
	if (!may("jit")) {
		EXPECT_EQ(MAP_FAILED, at);
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(-1, mprotect(write_at, PAGE, PROT_READ | PROT_EXEC));
		return;
	}
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(7, call(at));
	write_code(write_at, 8);
	EXPECT_EQ(8, call(at));
}

TEST(break_with_read_implies_exec)
{
	int old = personality(0xffffffff);
	void *at;

	ASSERT_NE(-1, personality(old | READ_IMPLIES_EXEC));
	at = sbrk(PAGE);
	EXPECT_EQ(may("wx"), at != (void *)-1);
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_EQ(may("wx"), at != MAP_FAILED);
	personality(old);
}

TEST(files)
{
	static const struct {
		mode_t mode;
		uid_t owner;
		bool trusted;
	} table[] = {
		{ 0755, 0, true },
		{ 0644, 0, true },
		{ 0775, 0, false },
		{ 0757, 0, false },
		{ 0755, 1, false },
	};
	unsigned int i;

	if (geteuid())
		SKIP(return, "not root");
	for (i = 0; i < ARRAY_SIZE(table); i++) {
		int file = open_code("code", table[i].mode, i);
		void *at;

		ASSERT_LE(0, file);
		ASSERT_EQ(0, fchown(file, table[i].owner, 0));
		at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
		if (!table[i].trusted && getenv("UKL_CODE")) {
			EXPECT_EQ(MAP_FAILED, at);
			EXPECT_EQ(EACCES, errno);
			at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
			ASSERT_NE(MAP_FAILED, at);
			EXPECT_EQ(-1, mprotect(at, PAGE, PROT_READ | PROT_EXEC));
			EXPECT_EQ(EACCES, errno);
		} else {
			ASSERT_NE(MAP_FAILED, at);
			EXPECT_EQ((int)i, call(at));
		}
		close(file);
	}
}

/* A page of a file that the program has written is memory that it has written. */
TEST(written_page_of_a_file)
{
	int file, result;
	void *at;

	if (geteuid())
		SKIP(return, "not root");
	file = open_code("code", 0755, 1);
	ASSERT_LE(0, file);
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ASSERT_NE(MAP_FAILED, at);
	write_code(at, 2);
	result = mprotect(at, PAGE, PROT_READ | PROT_EXEC);
	if (may("jit")) {
		ASSERT_EQ(0, result);
		EXPECT_EQ(2, call(at));
	} else {
		EXPECT_EQ(-1, result);
	}
}

/* Writing one's text by a file in /proc makes written memory executable, too. */
TEST(text_written_by_proc)
{
	int file, mem = open("/proc/self/mem", O_RDWR);
	char code[PAGE];
	void *at, *constant;
	bool forced;

	if (geteuid())
		SKIP(return, "not root");
	ASSERT_LE(0, mem);
	file = open_code("code", 0755, 1);
	ASSERT_LE(0, file);
	/* proc_mem.force_override= may forbid all writes to what is read-only. */
	constant = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, constant);
	forced = pwrite(mem, "x", 1, (off_t)constant) == 1;
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	ASSERT_NE(MAP_FAILED, at);
	EXPECT_EQ(1, call(at));
	write_code(code, 2);
	if (may("jit") && forced) {
		EXPECT_EQ(6, pwrite(mem, code, 6, (off_t)at));
		EXPECT_EQ(2, call(at));
	} else {
		EXPECT_EQ(-1, pwrite(mem, code, 6, (off_t)at));
		EXPECT_EQ(1, call(at));
	}
	/* What the process may write is written. */
	EXPECT_EQ(1, pwrite(mem, "x", 1, (off_t)code));
	EXPECT_EQ('x', code[0]);
}

/* The kernel half is out of reach, and so is a page that is not executable. */
TEST(wild_jumps)
{
	static const unsigned long addresses[] = {
		0, 0x7ffffffff000, 0x800000000000, 0xffff888000000000, 0xfffffe0000000000,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(addresses); i++)
		EXPECT_EQ(SIGSEGV, signal_of_call((void *)addresses[i]));
}

/* EFLAGS.AC is the program's. It need not be set for access to memory, and can be read. */
TEST(alignment_check_flag)
{
	unsigned long cleared, set;
	int memory = 3;

	asm volatile("pushfq\n"
		     "andq %2, (%%rsp)\n"
		     "popfq\n"
		     "pushfq\n"
		     "popq %0\n"
		     "pushfq\n"
		     "orq %3, (%%rsp)\n"
		     "popfq\n"
		     "pushfq\n"
		     "popq %1\n"
		     "pushfq\n"
		     "andq %2, (%%rsp)\n"
		     "popfq\n"
		     : "=&r" (cleared), "=&r" (set) : "r" (~AC), "r" (AC) : "cc", "memory");
	EXPECT_EQ(0UL, cleared & AC);
	EXPECT_EQ(AC, set & AC);
	/* Read it, with the flag clear. */
	asm volatile("" : "+m" (memory));
	EXPECT_EQ(3, memory);
	EXPECT_EQ(getpid(), getpid());
}

static sig_atomic_t alarms;

static void on_alarm(int number)
{
	__atomic_add_fetch(&alarms, 1, __ATOMIC_RELAXED);
}

/* Signals, faults and system calls of two threads that execute code which they write */
static void *in_thread(void *mapped)
{
	unsigned char *at = mapped;
	uintptr_t i;

	for (i = 0; i < 300; i++) {
		if (mprotect(at, PAGE, PROT_READ | PROT_WRITE))
			return (void *)1;
		write_code(at, i);
		if (mprotect(at, PAGE, PROT_READ | PROT_EXEC) || call(at) != (int)i)
			return (void *)2;
	}
	return NULL;
}

TEST(threads_and_signals)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { };
	pthread_t threads[2];
	void *result;
	char *at;
	int i;

	if (!may("jit"))
		SKIP(return, "not allowed here");
	at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, at);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, in_thread, at + i * PAGE));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &result));
		EXPECT_EQ(NULL, result);
	}
	while (__atomic_load_n(&alarms, __ATOMIC_RELAXED) < 10)
		sched_yield();
	setitimer(ITIMER_REAL, &never, NULL);
}

/* The child has its own copy of code, at the same level, and an own end. */
TEST(child)
{
	void *at = NULL;
	int status;
	pid_t pid;

	if (may("jit")) {
		at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, at);
		write_code(at, 1);
		ASSERT_EQ(0, mprotect(at, PAGE, PROT_READ | PROT_EXEC));
	}
	pid = fork();
	if (!pid) {
		if (at) {
			if (call(at) != 1 || mprotect(at, PAGE, PROT_READ | PROT_WRITE))
				_exit(1);
			write_code(at, 2);
			if (mprotect(at, PAGE, PROT_READ | PROT_EXEC) || call(at) != 2)
				_exit(2);
		}
		_exit(10 + cpl());
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(true, WIFEXITED(status));
	EXPECT_EQ(10 + cpl(), (unsigned int)WEXITSTATUS(status));
	if (at)
		EXPECT_EQ(1, call(at));
}

/* Large pages, their splitting, and moving */
TEST(large_pages)
{
	unsigned long size = 2UL << 20, i;
	char *area, *at, *moved;

	if (!may("jit"))
		SKIP(return, "not allowed here");
	area = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	at = (char *)(((uintptr_t)area + size - 1) & ~(size - 1));
	madvise(at, size, MADV_HUGEPAGE);
	for (i = 0; i < size; i += PAGE)
		write_code(at + i, i);
	ASSERT_EQ(0, mprotect(at, size, PROT_READ | PROT_EXEC));
	for (i = 0; i < size; i += PAGE)
		ASSERT_EQ((int)i, call(at + i));
	ASSERT_EQ(0, mprotect(at + PAGE, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(SIGSEGV, signal_of_call(at + PAGE));
	EXPECT_EQ((int)(2 * PAGE), call(at + 2 * PAGE));
	moved = mremap(at + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area + 2 * size);
	if (moved != MAP_FAILED) {
		EXPECT_EQ((int)(2 * PAGE), call(moved));
		EXPECT_EQ(SIGSEGV, signal_of_call(at + 2 * PAGE));
	}
}

/* A stub for each kind of entry: a fast call at CPL 0, and SYSCALL elsewhere */
asm(".pushsection .text\n"
	".macro	stub name:req entry:req\n"
	"	.balign	16\n"
	"	.long	" TEXT(STUB_MARK) " + (\\name\\()_again - \\name)\n"
	"\\name: movl	%cs, %ecx\n"
	"	testb	$3, %cl\n"
	"	jnz	\\name\\()_again\n"
	"	jmp	*" TEXT(ENTRIES) " + 8 * \\entry\n"
	"\\name\\()_again: syscall\n"
	"	ret\n"
	".endm\n"
	"	stub	call_getppid 110\n"
	"	stub	call_read 0\n"
	"	stub	call_any " TEXT(ENTRY_ANY) "\n"
	".popsection\n");

#define ADDRESS(symbol)							\
({									\
	unsigned long __address;					\
									\
	asm("leaq	" symbol "(%%rip), %0" : "=r" (__address));	\
	__address;							\
})

/* Call a stub. The red zone is not touched. */
#define CALL(stub, number, a, b, c)					\
({									\
	long __result = (number);					\
	register long __a asm("rdi") = (long)(a);			\
	register long __b asm("rsi") = (long)(b);			\
	register long __c asm("rdx") = (long)(c);			\
									\
	asm volatile("addq	$-128, %%rsp\n\t"			\
		     "call	" stub "\n\t"				\
		     "subq	$-128, %%rsp"				\
		     : "+a" (__result), "+r" (__a), "+r" (__b), "+r" (__c) \
		     : : "rcx", "r8", "r9", "r10", "r11", "memory", "cc"); \
	__result;							\
})

TEST(calls_of_entries)
{
	int i, zero = open("/dev/zero", O_RDONLY);
	char byte;

	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(getppid(), CALL("call_getppid", SYS_getppid, 0, 0, 0));
		ASSERT_EQ(getpid(), CALL("call_any", SYS_getpid, 0, 0, 0));
		byte = 1;
		ASSERT_EQ(1, CALL("call_read", SYS_read, zero, &byte, 1));
		ASSERT_EQ(0, byte);
		ASSERT_EQ(-EFAULT, CALL("call_read", SYS_read, zero, -1, 1));
		/* There is no system call with these numbers. */
		ASSERT_EQ(-1, syscall(511));
		ASSERT_EQ(-errno, CALL("call_any", 511, 0, 0, 0));
		ASSERT_EQ(-errno, CALL("call_any", -1, 0, 0, 0));
	}
	close(zero);
}

/* Only CPL 0 may know where the kernel is. */
TEST(entries_of_normal_processes)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	int file = open("/dev/zero", O_WRONLY), number;

	EXPECT_EQ(-1, write(file, (void *)ENTRIES, 8));
	close(file);
	if (!cpl())
		return;
	sigaction(SIGSEGV, &action, NULL);
	number = sigsetjmp(back, 1);
	if (!number)
		asm volatile("movq (%0), %%rax" : : "r" (ENTRIES) : "rax");
	signal(SIGSEGV, SIG_DFL);
	EXPECT_EQ(SIGSEGV, number);
}

static unsigned long seen_ip, seen_word, highest_ip;

static void on_seen(int number, siginfo_t *found, void *context)
{
	const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	seen_ip = registers[REG_RIP];
	seen_word = *(unsigned long *)registers[REG_RSP];
	if (seen_ip > highest_ip)
		highest_ip = seen_ip;
	on_alarm(number);
}

static void on_seen_at(int flags)
{
	struct sigaction action = { .sa_sigaction = on_seen, .sa_flags = SA_SIGINFO | flags };

	alarms = 0;
	sigaction(SIGALRM, &action, NULL);
}

/* Send signals to the parent, and write to it. */
static pid_t start_waker(int file, int signals)
{
	pid_t parent = getpid(), pid = fork();
	int i;

	if (pid)
		return pid;
	for (i = 0; i < signals; i++) {
		usleep(20000);
		kill(parent, SIGALRM);
	}
	usleep(20000);
	_exit(write(file, "x", 1) != 1);
}

/* A repeated call continues in the stub, a failed one behind the call of the stub. */
TEST(interrupted_calls)
{
	int pipes[2], i, status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipes));
	for (i = 0; i < 2; i++) {
		on_seen_at(SA_RESTART);
		pid = start_waker(pipes[1], 3);
		byte = 0;
		EXPECT_EQ(1, i ? CALL("call_any", SYS_read, pipes[0], &byte, 1) :
				 CALL("call_read", SYS_read, pipes[0], &byte, 1));
		EXPECT_EQ('x', byte);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_EQ(3, alarms);
		EXPECT_EQ(i ? ADDRESS("call_any_again") : ADDRESS("call_read_again"), seen_ip);
		/* The call has five bytes, with the displacement at the end. */
		EXPECT_EQ(i ? ADDRESS("call_any") : ADDRESS("call_read"),
			  seen_word + *(int *)(seen_word - 4));

		on_seen_at(0);
		pid = start_waker(pipes[1], 1);
		EXPECT_EQ(-EINTR, i ? CALL("call_any", SYS_read, pipes[0], &byte, 1) :
				      CALL("call_read", SYS_read, pipes[0], &byte, 1));
		if (!cpl())
			EXPECT_EQ(i ? ADDRESS("call_any") : ADDRESS("call_read"),
				  seen_ip + *(int *)(seen_ip - 4));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(1, read(pipes[0], &byte, 1));
	}
}

/* Whenever a signal arrives, its frame has no address of the kernel. */
TEST(signals_in_calls)
{
	struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { };
	int zero = open("/dev/zero", O_RDONLY);
	char byte;

	on_seen_at(SA_RESTART);
	highest_ip = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	while (__atomic_load_n(&alarms, __ATOMIC_RELAXED) < 500) {
		ASSERT_EQ(getppid(), CALL("call_getppid", SYS_getppid, 0, 0, 0));
		ASSERT_EQ(1, CALL("call_any", SYS_read, zero, &byte, 1));
	}
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_GT(1UL << 47, highest_ip);
	close(zero);
}

static void trap(void)
{
	asm volatile("int3");
}

/*
 * A debugger calls a function in a process that waits in a fast call, and restores the
 * registers. The system call is repeated.
 */
TEST(call_by_a_tracer)
{
	struct user_regs_struct saved, set;
	int pipes[2], status;
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid)
		_exit(CALL("call_read", SYS_read, pipes[0], &byte, 1) == 1 ? 7 : 8);
	usleep(100000);
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &saved));
	EXPECT_GT(1UL << 47, saved.rip);
	EXPECT_EQ(SYS_read, (long)saved.orig_rax);
	set = saved;
	set.rip = (unsigned long)trap;
	set.rsp = (saved.rsp - 1024) & ~15UL;
	set.orig_rax = -1;
	ASSERT_EQ(0, ptrace(PTRACE_SETREGS, pid, 0, &set));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(SIGTRAP, WSTOPSIG(status));
	ASSERT_EQ(0, ptrace(PTRACE_SETREGS, pid, 0, &saved));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, 0, 0));
	usleep(100000);
	ASSERT_EQ(1, write(pipes[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(7, WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "level"))
		return 20 + cpl();
	if (argc > 2 && !strcmp(argv[1], "exec")) {
		execv(argv[2], argv + 2);
		return 127;
	}
	return test_harness_run(argc, argv);
}
