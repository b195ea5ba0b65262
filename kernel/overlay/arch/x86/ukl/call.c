// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers for fast.S: calls of kernel functions that need a complete frame,
 * and exit work, which is only available as inline functions.
 */
#include <linux/compiler.h>
#include <linux/entry-common.h>
#include <linux/instrumentation.h>
#include <linux/irqflags.h>
#include <linux/linkage.h>
#include <asm/ptrace.h>
#include <asm/ukl_fast.h>

asmlinkage void ukl_fast_caller(struct pt_regs *regs);
asmlinkage void ukl_fast_exit(struct pt_regs *regs);
asmlinkage void ukl_call_exit(struct pt_regs *regs);
asmlinkage void ukl_call_function(struct pt_regs *regs);

/* Entry work of a system call, with a complete frame. Interrupts are on. */
asmlinkage __visible noinstr void ukl_fast_caller(struct pt_regs *regs)
{
	instrumentation_begin();
	ukl_return_to_user_half(regs);
	instrumentation_end();
}

/* Exit work of a system call. Interrupts are on at entry, off at return. */
asmlinkage __visible noinstr void ukl_fast_exit(struct pt_regs *regs)
{
	ukl_fast_caller(regs);
	syscall_exit_to_user_mode(regs);
}

/* Exit work of a function call. Interrupts are off on entry and exit. */
asmlinkage __visible noinstr void ukl_call_exit(struct pt_regs *regs)
{
	irqentry_exit_to_user_mode(regs);
}

/* The psABI returns the result in rax, or in rax and rdx. */
struct ukl_result {
	unsigned long	ax;
	unsigned long	dx;
};

typedef struct ukl_result ukl_function(unsigned long a, unsigned long b, unsigned long c,
				       unsigned long d, unsigned long e, unsigned long f);

/*
 * Call the function at r10 with the arguments in @regs, the caller's registers.
 * Interrupts are off on entry and exit.
 */
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
	/* Allows a return without IRET, see ukl_syscall_exit. */
	regs->cx = regs->ip;
	regs->r11 = regs->flags;

	local_irq_disable();
	instrumentation_end();
	irqentry_exit_to_user_mode(regs);
}
