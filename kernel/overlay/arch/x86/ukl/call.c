// SPDX-License-Identifier: GPL-2.0
/*
 * What fast.S leaves to C: calls of the kernel's functions that need a complete frame,
 * and the exit work, which is inline where it is defined.
 */
#include <linux/compiler.h>
#include <linux/entry-common.h>
#include <linux/instrumentation.h>
#include <linux/irqflags.h>
#include <linux/linkage.h>
#include <asm/ptrace.h>

asmlinkage void ukl_fast_exit(struct pt_regs *regs);
asmlinkage void ukl_call_exit(struct pt_regs *regs);
asmlinkage void ukl_call_function(struct pt_regs *regs);

/* Behind a fast system call. Interrupts are on, and then off. */
asmlinkage __visible noinstr void ukl_fast_exit(struct pt_regs *regs)
{
	syscall_exit_to_user_mode(regs);
}

/* Behind a function. Interrupts are off, and stay so. */
asmlinkage __visible noinstr void ukl_call_exit(struct pt_regs *regs)
{
	irqentry_exit_to_user_mode(regs);
}

/* Where the psABI has the result of a function: in rax, and that of some in rdx, too. */
struct ukl_result {
	unsigned long	ax;
	unsigned long	dx;
};

typedef struct ukl_result ukl_function(unsigned long a, unsigned long b, unsigned long c,
				       unsigned long d, unsigned long e, unsigned long f);

/* @regs: the caller's; r10 is the function. Interrupts are off, now and then. */
asmlinkage __visible noinstr __nocfi void ukl_call_function(struct pt_regs *regs)
{
	ukl_function *function = (void *)regs->r10;
	struct ukl_result result;

	enter_from_user_mode(regs);
	instrumentation_begin();
	local_irq_enable();

	result = function(regs->di, regs->si, regs->dx, regs->cx, regs->r8, regs->r9);
	regs->ax = result.ax;
	regs->dx = result.dx;
	/* What a return without IRET is known by, see ukl_syscall_exit. */
	regs->cx = regs->ip;
	regs->r11 = regs->flags;

	local_irq_disable();
	instrumentation_end();
	irqentry_exit_to_user_mode(regs);
}
