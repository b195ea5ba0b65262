// SPDX-License-Identifier: GPL-2.0
/* Attackers that return from signals that never arrived, and load arbitrary segments. */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "frames.h"

#define FSGSBASE	2	/* in AT_HWCAP2 */

static struct random *dice;

/* landing() continues here: in the ring that the frame asked for, or not. */
__attribute__((used, noreturn)) void landed(unsigned long cs);

void landed(unsigned long cs)
{
	restore_bases();
	if (!(cs & 3))
		_exit(ENDED_RING0);
	siglongjmp(again, 2);
}

static uint64_t selector(struct random *random)
{
	switch (below(random, 4)) {
	case 0:
		return 0x10;
	case 1:
		return 0x33;
	default:
		return below(random, 0x90);
	}
}

static void forge(ucontext_t *context)
{
	greg_t *general = context->uc_mcontext.gregs;

	for (int i = 0; i < REG_RIP; i++) {
		if (one_in(dice, 4))
			general[i] = (greg_t)any_value(dice);
	}
	if (!one_in(dice, 4))
		general[REG_CSGSFS] = (greg_t)(selector(dice) | (draw(dice) & ~0xffffUL));
	if (one_in(dice, 4))
		general[REG_CSGSFS] |= 0x2bL << 48;	/* SS */
	if (one_in(dice, 3))
		general[REG_EFL] = (greg_t)draw(dice);
	if (one_in(dice, 3))
		general[REG_RSP] = (greg_t)any_address(dice);
	general[REG_RIP] = one_in(dice, 2) ? (greg_t)(uintptr_t)landing :
					     (greg_t)kernel_address(dice);
	if (one_in(dice, 4))
		context->uc_flags = draw(dice);
	if (one_in(dice, 3)) {
		uint64_t where = any_address(dice);

		memcpy(&context->uc_mcontext.fpregs, &where, sizeof(where));
	}
	if (one_in(dice, 32))
		context->uc_stack.ss_sp = (void *)any_address(dice);
}

/* The FPU state of the frame, with its headers */
static void spoil(ucontext_t *context)
{
	unsigned char *area = (unsigned char *)context->uc_mcontext.fpregs;

	if (!area || !one_in(dice, 3))
		return;
	for (int i = 0; i < 6; i++)
		area[464 + below(dice, 48 + 64)] = (unsigned char)draw(dice);
	if (one_in(dice, 3))
		area[24 + below(dice, 8)] ^= (unsigned char)draw(dice);		/* MXCSR */
}

static void on_signal(int sig, siginfo_t *info, void *data)
{
	(void)sig;
	(void)info;
	spoil(data);
	forge(data);
}

void frames(struct random *random)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	uint64_t local[64];
	volatile int i;

	dice = random;
	survive();
	landing_sp = ((uintptr_t)local & ~15UL) - 1024;
	for (i = 0; i < 60; i++) {
		action.sa_flags = SA_SIGINFO | (one_in(random, 2) ? SA_ONSTACK : 0);
		sigaction(SIGUSR1, &action, NULL);
		step();
		if (sigsetjmp(again, 1))
			continue;
		raise(SIGUSR1);
	}
}

/* A forged frame, anywhere */
void raw_frames(struct random *random)
{
	uint64_t local[64];
	volatile int i;

	dice = random;
	landing_sp = ((uintptr_t)local & ~15UL) - 1024;
	for (i = 0; i < 60; i++) {
		ucontext_t *volatile frame = (ucontext_t *)(scratch + 8 * below(random, SCRATCH / 16));

		/* The last frame may have changed the handlers' stack. */
		survive();
		step();
		if (sigsetjmp(again, 1))
			continue;
		values_shuffle(random);
		if (!one_in(random, 4))
			forge(frame);
		if (one_in(random, 8))
			frame = (ucontext_t *)any_address(random);
		enter_sigreturn(frame);
	}
}

/* ---- Segments ---- */

/* Enter the kernel in several ways, with the current segments. */
static void go_around(void)
{
	char *map;
	long result;

	__asm__ volatile("syscall" : "=a" (result) : "a" (SYS_sched_yield) : "rcx", "r11", "memory");
	__asm__ volatile("syscall" : "=a" (result) : "a" (SYS_getppid) : "rcx", "r11", "memory");
	map = scratch + PAGE;
	__asm__ volatile("syscall" : "=a" (result)
			 : "a" (SYS_madvise), "D" (map), "S" (PAGE), "d" (MADV_DONTNEED)
			 : "rcx", "r11", "memory");
	*(volatile char *)map = 1;
	__asm__ volatile("int3");
	for (volatile int i = 0; i < 20000; i++)
		;
}

static void load(struct random *random, unsigned short value)
{
	switch (below(random, 5)) {
	case 0:
		__asm__ volatile("mov %0, %%ds" : : "r" (value));
		break;
	case 1:
		__asm__ volatile("mov %0, %%es" : : "r" (value));
		break;
	case 2:
		__asm__ volatile("mov %0, %%fs" : : "r" (value));
		break;
	case 3:
		__asm__ volatile("mov %0, %%gs" : : "r" (value));
		break;
	default:
		__asm__ volatile("mov %0, %%ss" : : "r" (value));
		break;
	}
}

static void bases(struct random *random)
{
	uint64_t value = one_in(random, 2) ? kernel_address(random) : any_value(random);

	if (getauxval(AT_HWCAP2) & FSGSBASE && one_in(random, 2)) {
		if (one_in(random, 2))
			__asm__ volatile("wrgsbase %0" : : "r" (value));
		else
			__asm__ volatile("wrfsbase %0" : : "r" (value));
		return;
	}
	syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, value);
}

/*
 * QEMU's TCG treats the stack access of an IRETQ, LRET or LCALL in user mode as a
 * supervisor's, which SMAP refuses. There, use frames only, unless SMAP is off.
 */
bool far_returns(void)
{
	static char text[16384];
	unsigned int words[4] = { 0 };

	__asm__ volatile("cpuid" : "=a" (words[3]), "=b" (words[0]), "=c" (words[1]), "=d" (words[2])
			 : "a" (0x40000000), "c" (0));
	return memcmp(words, "TCGTCGTCGTCG", 12) ||
	       (get("/proc/cpuinfo", text, sizeof(text)) > 0 && !strstr(text, " smap"));
}

static void far_return(unsigned long cs)
{
	__asm__ volatile("pushq $0x2b; pushq %%rsp; pushfq; pushq %0; pushq %1; iretq"
			 : : "r" (cs), "r" (landing) : "memory");
}

void segments(struct random *random)
{
	uint64_t local[64];
	bool far = far_returns();
	volatile int i;

	survive();
	landing_sp = ((uintptr_t)local & ~15UL) - 1024;
	for (i = 0; i < 40; i++) {
		unsigned short value = (unsigned short)selector(random);

		step();
		if (sigsetjmp(again, 1))
			continue;
		if (one_in(random, 3))
			bases(random);
		else if (far && one_in(random, 3))
			far_return(value);
		else
			load(random, value);
		go_around();
		restore_bases();
		if (!(ring() & 3))
			found(FOUND_RING0, "with selector %#x", value);
	}
}

/* Entries of its own descriptor table, to load and to return to */
void ldt(struct random *random)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	uint64_t local[64];
	volatile int i;

	dice = random;
	survive();
	landing_sp = ((uintptr_t)local & ~15UL) - 1024;
	sigaction(SIGUSR1, &action, NULL);
	for (i = 0; i < 40; i++) {
		unsigned long bits = draw(random);
		struct user_desc entry = {
			.entry_number = (unsigned int)below(random, one_in(random, 4) ? 8192 : 16),
			.base_addr = (unsigned int)any_value(random),
			.limit = (unsigned int)any_value(random) & 0xfffff,
			.seg_32bit = bits & 1, .contents = bits >> 1 & 3,
			.read_exec_only = bits >> 3 & 1, .limit_in_pages = bits >> 4 & 1,
			.seg_not_present = bits >> 5 & 1, .useable = bits >> 6 & 1,
			.lm = bits >> 7 & 1,
		};
		unsigned short value = (unsigned short)(entry.entry_number << 3 | 4 |
							below(random, 4));

		step();
		if (sigsetjmp(again, 1))
			continue;
		syscall(SYS_modify_ldt, one_in(random, 8) ? (int)below(random, 4) : 0x11, &entry,
			one_in(random, 8) ? any_value(random) : sizeof(entry));
		load(random, value);
		go_around();
		restore_bases();
		if (one_in(random, 4)) {
			pid_t pid = fork();
			int status;

			if (!pid)
				_exit(0);
			if (pid > 0)
				waitpid(pid, &status, 0);
		}
		if (one_in(random, 2))
			raise(SIGUSR1);
	}
}
