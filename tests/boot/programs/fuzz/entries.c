// SPDX-License-Identifier: GPL-2.0
/* Attackers that enter the kernel: system calls with arguments, and registers, of any kind. */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

#include "fuzz.h"
#include "frames.h"

#define LAST_CALL	470

sigjmp_buf again;
static char handlers_stack[64 << 10];
static uint64_t own_fs;

/* ---- Surviving faults ---- */

unsigned short ring(void)
{
	unsigned short cs;

	__asm__ volatile("mov %%cs, %0" : "=r" (cs));
	return cs;
}

/* First make thread-local data accessible again. */
void restore_bases(void)
{
	long result;

	__asm__ volatile("syscall" : "=a" (result)
			 : "a" (SYS_arch_prctl), "D" (0x1002 /* ARCH_SET_FS */), "S" (own_fs)
			 : "rcx", "r11", "memory");
}

static void on_fault(int sig, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	static int alarms;

	restore_bases();
	if (!(ring() & 3))
		_exit(ENDED_RING0);
	if (sig == SIGALRM && ++alarms % 12)
		return;
	if (sig == SIGTRAP && info->si_code > 0) {
		context->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
		return;
	}
	siglongjmp(again, 1);
}

/*
 * Continue at `again` after faults and blocking calls. Handlers do not run on the stack
 * that an attack has left.
 */
void survive(void)
{
	static const int faults[] = {
		SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGALRM, SIGABRT,
	};
	struct sigaction action = {
		.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	stack_t stack = { .ss_sp = handlers_stack, .ss_size = sizeof(handlers_stack) };
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } };

	syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &own_fs);
	sigaltstack(&stack, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigaction(faults[i], &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

/* ---- System calls ---- */

/*
 * Calls that end the test, not the kernel; or that other actions send to victims. A random
 * limit of CPU time or files ends a victim, and one of memory is a number that looks like a
 * kernel address in /proc/PID/limits and stat: both are what limits() avoids.
 */
static bool left_out(long number)
{
	switch (number) {
	case SYS_exit: case SYS_exit_group: case SYS_pause:
	case SYS_kill: case SYS_tkill: case SYS_tgkill:
	case SYS_rt_sigqueueinfo: case SYS_rt_tgsigqueueinfo: case SYS_pidfd_send_signal:
	case SYS_prlimit64:
		return true;
	}
	return false;
}

static bool makes_process(long number)
{
	return number == SYS_fork || number == SYS_vfork || number == SYS_clone ||
	       number == SYS_clone3;
}

static long any_number(struct random *random)
{
	long number;

	do {
		number = (long)below(random, LAST_CALL);
		if (one_in(random, 40))
			number = (long)any_value(random);
		/* These may end this process: use them rarely. */
		if ((number == SYS_execve || number == SYS_execveat || number == SYS_ptrace) &&
		    !one_in(random, 10))
			number = SYS_getpid;
		if (one_in(random, 40) && !makes_process(number))
			number |= 0x40000000;		/* x32 */
	} while (left_out(number & ~0x40000000L));
	return number;
}

/* A new process may have any stack: it ends before it uses that. */
static long call(long number, const uint64_t arguments[6])
{
	register uint64_t r10 __asm__("r10") = arguments[3];
	register uint64_t r8 __asm__("r8") = arguments[4];
	register uint64_t r9 __asm__("r9") = arguments[5];
	long forks = makes_process(number), result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "test %[forks], %[forks]\n\t"
			 "jz 1f\n\t"
			 "mov $60, %%eax\n\t"
			 "xor %%edi, %%edi\n\t"
			 "syscall\n"
			 "1:"
			 : "=a" (result)
			 : "a" (number), "D" (arguments[0]), "S" (arguments[1]), "d" (arguments[2]),
			   "r" (r10), "r" (r8), "r" (r9), [forks] "r" (forks)
			 : "rcx", "r11", "memory");
	return result;
}

static void calls(struct random *random)
{
	pid_t own = getpid();

	survive();
	for (volatile int i = 0; i < 150; i++) {
		uint64_t arguments[6];
		long number = any_number(random);

		if (sigsetjmp(again, 1))
			continue;
		for (size_t n = 0; n < ARRAY_SIZE(arguments); n++)
			arguments[n] = any_value(random);
		if (number == SYS_clone)
			arguments[0] &= ~(uint64_t)0x4000;	/* CLONE_VFORK would wait */
		call(number, arguments);
		if (getpid() != own)
			_exit(0);
		step();
		if (i % 8 == 0)
			values_shuffle(random);
	}
}

/* All registers, including flags and stack pointer */
static void registers(struct random *random)
{
	struct registers registers;
	uint64_t *words = (uint64_t *)&registers;
	volatile int i;

	survive();
	for (i = 0; i < 60; i++) {
		unsigned long cs;

		for (size_t n = 0; n < sizeof(registers) / sizeof(*words); n++)
			words[n] = one_in(random, 3) ? kernel_address(random) : any_value(random);
		do {
			registers.rax = (uint64_t)any_number(random);
		} while (makes_process((long)registers.rax & ~0x40000000L));
		/* TF, DF, NT, AC, ID, and flags that may not be set */
		registers.flags = 0x202 | (draw(random) & 0x244fd5 & (one_in(random, 2) ? ~0UL : 0xcd5));
		if (one_in(random, 2))
			registers.rsp = (uintptr_t)scratch + 8 * below(random, SCRATCH / 8);
		if (sigsetjmp(again, 1))
			continue;
		cs = enter_syscall(&registers);
		if (!(cs & 3))
			found(FOUND_RING0, "behind syscall %#lx: cs %#lx", registers.rax, cs);
		step();
	}
}

/* Four bytes and a UD2. No far returns and calls where they do not test the kernel. */
static void any_instruction(struct random *random, unsigned char *page, bool far)
{
	for (int n = 0; n < 4; n++) {
		do {
			page[n] = (unsigned char)draw(random);
		} while (!far && memchr("\xca\xcb\xcf\x9a\xff", page[n], 5));
	}
	page[0] = one_in(random, 2) ? 0x0f : page[0];
	page[1] = page[0] == 0x0f && page[1] == 0x05 ? 0x0b : page[1];
	memcpy(page + 4, "\x0f\x0b\xc3", 3);
}

/* Entries that a 64-bit kernel does not have, or that this process may not use */
static void gates(struct random *random)
{
	unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct registers registers;
	uint64_t *words = (uint64_t *)&registers;
	bool far = far_returns();
	volatile int i;

	if (page == MAP_FAILED)
		return;
	survive();
	for (i = 0; i < 60; i++) {
		unsigned long cs = 3;

		for (size_t n = 0; n < sizeof(registers) / sizeof(*words); n++)
			words[n] = one_in(random, 3) ? kernel_address(random) : any_value(random);
		registers.flags = 0x202 | (draw(random) & 0x244fd5);
		registers.rsp = (uintptr_t)scratch + SCRATCH / 2;
		/* Not the 32-bit numbers of calls that end or create a process */
		registers.rax = below(random, 450);
		if (memchr("\x01\x02\x25\x78\xbe\xfc", (int)registers.rax, 6))
			registers.rax = 20;
		step();
		if (sigsetjmp(again, 1))
			continue;
		switch (below(random, 4)) {
		case 0:
			cs = enter_int80(&registers);
			break;
		case 1:
			cs = enter_sysenter(&registers);
			break;
		case 2:
			memcpy(page, "\xcd\x00\xc3", 3);
			page[1] = (unsigned char)draw(random);
			((void (*)(void))page)();
			cs = ring();
			break;
		default:
			any_instruction(random, page, far);
			((void (*)(void))page)();
			cs = ring();
			break;
		}
		if (!(cs & 3))
			found(FOUND_RING0, "behind a gate: cs %#lx", cs);
	}
}

/* Jumps and reads into the kernel's half: no address there may be accessible. */
static void jumps(struct random *random)
{
	volatile int i;

	survive();
	for (i = 0; i < 60; i++) {
		uint64_t address = kernel_address(random);

		step();
		if (sigsetjmp(again, 1))
			continue;
		if (one_in(random, 3)) {
			uint64_t seen = *(volatile uint64_t *)address;

			found(FOUND_RING0, "%#lx can be read: %#lx", address, seen);
		} else {
			__asm__ volatile("mov %1, %%rcx; mov $39, %%eax; call *%0"
					 : : "r" (address), "r" (landing)
					 : "rcx", "rax", "r11", "memory");
			found(FOUND_RING0, "%#lx can be called", address);
		}
	}
}

const struct action entry_actions[] = {
	{ "calls", calls, 12, 4000, false },
	{ "registers", registers, 4, 4000, false },
	{ "gates", gates, 3, 4000, false },
	{ "jumps", jumps, 1, 4000, false },
	{ "frames", frames, 4, 6000, false },
	{ "raw-frames", raw_frames, 3, 6000, false },
	{ "segments", segments, 3, 6000, false },
	{ "ldt", ldt, 2, 6000, false },
	{ NULL, NULL, 0, 0, false },
};
