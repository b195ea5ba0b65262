// SPDX-License-Identifier: GPL-2.0
/*
 * ptrace: attach, stop, read, change, follow. And what differs by design.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "matrix.h"

static volatile long watched, counter;

static pid_t tracee(void (*body)(void))
{
	pid_t pid = split();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(0);
	}
	return pid;
}

static int stop_of(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, __WALL) == pid);
	return WIFSTOPPED(status) ? status >> 8 : -1;
}

static void compute(void)
{
	for (;;)
		counter++;
}

static void attach(void)
{
	struct user_regs_struct registers;
	struct user_fpregs_struct fp;
	struct iovec io = { &registers, sizeof(registers) };
	pid_t pid = tracee(compute);
	long first;

	milliseconds(50);
	CHECK(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	CHECK(!ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	OK("interrupted: %#x", stop_of(pid));
	CHECK(!ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io));
	OK("in its loop: %d, cs %#llx", registers.rip >= (uintptr_t)compute &&
	   registers.rip < (uintptr_t)compute + 100, registers.cs);
	errno = 0;
	first = ptrace(PTRACE_PEEKDATA, pid, &counter, 0);
	CHECK(!errno && first > 0);
	CHECK(!ptrace(PTRACE_POKEDATA, pid, &watched, 55L));
	CHECK(ptrace(PTRACE_PEEKDATA, pid, &watched, 0) == 55);
	CHECK(!ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &io));
	CHECK(!ptrace(PTRACE_GETFPREGS, pid, 0, &fp) && !ptrace(PTRACE_SETFPREGS, pid, 0, &fp));
	CHECK(!ptrace(PTRACE_CONT, pid, 0, 0));
	milliseconds(30);
	CHECK(!ptrace(PTRACE_INTERRUPT, pid, 0, 0) && stop_of(pid) > 0);
	OK("went on: %d", ptrace(PTRACE_PEEKDATA, pid, &counter, 0) > first);
	/* The tracer makes it call a function: it changes registers at a stop in a loop. */
	CHECK(!ptrace(PTRACE_GETREGS, pid, 0, &registers));
	struct user_regs_struct saved = registers;
	CHECK(!ptrace(PTRACE_SETREGS, pid, 0, &saved));
	CHECK(!ptrace(PTRACE_DETACH, pid, 0, 0));
	kill(pid, SIGKILL);
	OK("%s", end_of(pid));
}

static void calls_body(void)
{
	raise(SIGSTOP);
	syscall(SYS_getpgrp);
	_exit(syscall(SYS_getppid) == 4321 ? 6 : 1);
}

/* The tracer sees and changes numbers, arguments and results. */
static void calls(void)
{
	struct __ptrace_syscall_info info;
	pid_t pid = tracee(calls_body);
	int status;

	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	CHECK(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	kill(pid, SIGCONT);
	for (;;) {
		CHECK(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status))
			break;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0);
			CHECK(info.arch == 0xc000003e);
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_getpgrp) {
				CHECK(!ptrace(PTRACE_POKEUSER, pid,
					      offsetof(struct user, regs.orig_rax), SYS_gettid));
				OK("getpgrp becomes gettid");
			}
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_getppid) {
				ptrace(PTRACE_SYSCALL, pid, 0, 0);
				CHECK(stop_of(pid) > 0);
				CHECK(!ptrace(PTRACE_POKEUSER, pid,
					      offsetof(struct user, regs.rax), 4321));
				OK("getppid gives another result");
			}
		}
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
			break;
	}
	OK("exited %d", WEXITSTATUS(status));
}

static void families_body(void)
{
	char *same[] = { "matrix", "exit", "0", NULL };
	pid_t pid;

	raise(SIGSTOP);
	pid = fork();
	if (!pid)
		_exit(2);
	waitpid(pid, NULL, 0);
	pid = vfork();
	if (!pid)
		_exit(3);
	waitpid(pid, NULL, 0);
	execv(self(), same);
	_exit(1);
}

static void families(void)
{
	const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
			     PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL;
	int events[8] = { 0 }, status, exits = 0;
	pid_t first = tracee(families_body), pid;

	CHECK(waitpid(first, &status, WUNTRACED) == first);
	CHECK(!ptrace(PTRACE_SEIZE, first, 0, options));
	kill(first, SIGCONT);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		if (!WIFSTOPPED(status)) {
			exits++;
			continue;
		}
		if (status >> 16 && status >> 16 < 8)
			events[status >> 16]++;
		CHECK(!ptrace(PTRACE_CONT, pid, 0, status >> 16 || WSTOPSIG(status) == SIGSTOP ||
			      WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status)));
	}
	OK("fork %d, vfork %d, vfork done %d, exec %d, exit %d; ended %d",
	   events[PTRACE_EVENT_FORK], events[PTRACE_EVENT_VFORK], events[PTRACE_EVENT_VFORK_DONE],
	   events[PTRACE_EVENT_EXEC], events[PTRACE_EVENT_EXIT], exits);
}

static void watch_body(void)
{
	raise(SIGSTOP);
	watched = 77;
	counter++;
	_exit(8);
}

static long debug(pid_t pid, int number, unsigned long value)
{
	return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg) + number * 8, value);
}

static void watchpoint(void)
{
	pid_t pid = tracee(watch_body);
	int status;

	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	CHECK(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL));
	CHECK(!ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(!debug(pid, 0, (uintptr_t)&watched) && !debug(pid, 7, 0xd0101));	/* write, 8 bytes */
	kill(pid, SIGCONT);
	for (;;) {
		CHECK(!ptrace(PTRACE_CONT, pid, 0, 0));
		CHECK(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) == SIGTRAP)
			break;
	}
	CHECK(WIFSTOPPED(status));
	while (WIFSTOPPED(status) && status >> 16) {
		CHECK(!ptrace(PTRACE_CONT, pid, 0, 0) && waitpid(pid, &status, 0) == pid);
		if (WIFSTOPPED(status) && WSTOPSIG(status) != SIGTRAP)
			status = 1 << 16 | 0x7f;
	}
	CHECK(WIFSTOPPED(status));
	OK("written: %ld, dr6 %ld", ptrace(PTRACE_PEEKDATA, pid, &watched, 0),
	   ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg[6]), 0) & 15);
	CHECK(!debug(pid, 7, 0));
	CHECK(!ptrace(PTRACE_CONT, pid, 0, 0));
	OK("%s", end_of(pid));
}

/* ---- A core dump ---- */

static volatile int crash_number;
static volatile int *volatile nowhere = (volatile int *)0x123450;

__attribute__((noinline)) int crash_inner(int depth)
{
	crash_number = depth * 1000 + 7;
	*nowhere = depth;
	return crash_number;
}

__attribute__((noinline)) int crash_outer(int depth)
{
	return crash_inner(depth + 1) + 1;
}

static void *asleep(void *unused)
{
	pause();
	return unused;
}

/* With fs.suid_dumpable and kernel.core_pattern set, this leaves a core file. */
static void crash(void)
{
	pthread_t thread;
	pid_t pid = split();

	if (!pid) {
		struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

		CHECK(!setrlimit(RLIMIT_CORE, &all));
		CHECK(!pthread_create(&thread, NULL, asleep, NULL));
		milliseconds(20);
		crash_outer(1);
	}
	OK("%s", end_of(pid));
}

/* ---- What differs by design ---- */

static void breakpoint(void)
{
	pid_t pid = tracee(watch_body);
	int status;

	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	CHECK(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL));
	CHECK(!ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	CHECK(waitpid(pid, &status, 0) == pid);
	errno = 0;
	ptrace(PTRACE_PEEKTEXT, pid, watch_body, 0);
	OK("read text: errno %d", errno);
	errno = 0;
	ptrace(PTRACE_POKETEXT, pid, watch_body, 0xccccccccccccccccUL);
	OK("write text: errno %d", errno);
	errno = 0;
	OK("hardware breakpoint: %d", debug(pid, 0, (uintptr_t)watch_body) ? errno : debug(pid, 7, 1) ? errno : 0);
	kill(pid, SIGKILL);
}

static void vdso(void)
{
	OK("vDSO: %d", getauxval(AT_SYSINFO_EHDR) != 0);
	OK("dumpable: %d", prctl(PR_GET_DUMPABLE));
	OK("ARCH_SET_GS: %ld", syscall(SYS_arch_prctl, ARCH_SET_GS, 0x1000));
}

static void privileged(void)
{
	static const char *const names[] = { "cli; sti", "hlt", "read cr0", "int $0x80", "into",
					     "rdmsr", "in" };

	for (int i = 0; i < (int)ARRAY_SIZE(names); i++) {
		pid_t pid = split();
		unsigned long x = 0;

		if (pid) {
			OK("%s: %s", names[i], end_of(pid));
			continue;
		}
		switch (i) {
		case 0: __asm__ volatile("cli; sti"); break;
		case 1: __asm__ volatile("hlt"); break;
		case 2: __asm__ volatile("mov %%cr0, %0" : "=r" (x)); break;
		case 3: __asm__ volatile("int $0x80" : "+a" (x)); break;
		case 4: __asm__ volatile("int $4"); break;
		case 5: __asm__ volatile("rdmsr" : : "c" (0xc0000080) : "rax", "rdx"); break;
		case 6: __asm__ volatile("in $0x80, %%al" : : : "rax"); break;
		}
		_exit(0);
	}
}

/* System calls that take an address in the text. */
static void own_text(void)
{
	char *page = (char *)((uintptr_t)own_text & -4096L);
	unsigned char resident;
	int fds[2];

	CHECK(!pipe(fds));
	OK("write: %ld", ERROR(write(fds[1], page, 16)));
	OK("mprotect: %ld", ERROR(mprotect(page, 4096, PROT_READ | PROT_EXEC)));
	OK("mlock: %ld", ERROR(mlock(page, 4096)));
	OK("madvise: %ld", ERROR(madvise(page, 4096, MADV_WILLNEED)));
	OK("mincore: %ld", ERROR(mincore(page, 4096, &resident)));
	OK("all: %ld", ERROR(mlockall(MCL_CURRENT)));
}

static void denied_time(void)
{
	pid_t child = split();

	if (!child) {
		if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV))
			_exit(errno);
		__builtin_ia32_rdtsc();
		_exit(99);
	}
	OK("%s", end_of(child));
}

const struct check tracing_checks[] = {
	{ "tracing.attach", attach },
	{ "tracing.calls", calls },
	{ "tracing.families", families },
	{ "tracing.watchpoint", watchpoint },
	{ "tracing.crash", crash },
	{ "differences.breakpoint", breakpoint },
	{ "differences.start", vdso },
	{ "differences.privileged", privileged },
	{ "differences.own_text", own_text },
	{ "differences.time", denied_time },
	{ NULL, NULL },
};
