/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_FRAME_H
#define _ARCH_X86_UKL_FRAME_H

/*
 * What ukl_sync_regs() decides about a frame from CPL 0; for kunit.c, too.
 */
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/cpu_entry_area.h>
#include <asm/current.h>
#include <asm/mmu.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>

#include "ret.h"

/* The ways back to application mode, see ret.S and stub.S. */
extern const char ukl_return_by_ret[], ukl_return_by_ret_end[];
extern const char ukl_return_to_ip[], ukl_return_to_ip_end[];
extern const char ukl_return_to_call[], ukl_return_to_call_ret[];

/*
 * -1 TB: all that the kernel executes is above (its text, modules, EFI), with page
 * tables of four levels as of five; see Documentation/arch/x86/x86_64/mm.rst.
 */
#define UKL_KERNEL_CODE		0xffffff0000000000UL

/*
 * Is @sp on one of the stacks that the kernel has here: the task's, that of interrupts,
 * those of entry code and exceptions? A pointer to the end of one counts.
 */
static __always_inline bool ukl_kernel_stack(unsigned long sp)
{
	unsigned long task = (unsigned long)task_stack_page(current);
	unsigned long irq = hardirq_stack_top();

	return sp - task <= THREAD_SIZE ||
	       irq + 8 - sp <= IRQ_STACK_SIZE ||
	       sp - CPU_ENTRY_AREA_BASE < CPU_ENTRY_AREA_MAP_SIZE;
}

/*
 * A wild jump out of the text is still the application's: it leads to where the
 * kernel has no code, or its stack pointer is in the user half, where the kernel's
 * never is when it can take an exception that does not have a stack of its own.
 *
 * A wild jump of the kernel's is the kernel's: it is on one of its stacks. Were it
 * taken for the application's, a signal would hide that locks are held.
 */
static __always_inline bool ukl_from_application(const struct pt_regs *regs)
{
	if (ukl_text_address(regs->ip))
		return true;
	if ((long)regs->sp < 0 &&
	    (regs->ip >= UKL_KERNEL_CODE || ukl_kernel_stack(regs->sp)))
		return false;
	return current->mm &&
	       arch_test_bit(MM_CONTEXT_UKL, &current->mm->context.flags);
}

/*
 * The slot in fast.S that @offset lies in, and whether that is where the slot
 * looks at the flags in thread_info and returns. The last slot has no end.
 */
static __always_inline unsigned int ukl_fast_slot(unsigned long offset, bool *tail)
{
	unsigned int slot = min(offset / UKL_FAST_SLOT, (unsigned long)UKL_FAST_ANY);

	*tail = offset - slot * UKL_FAST_SLOT >= ukl_fast_tails[slot];
	return slot;
}

/*
 * A fast system call was interrupted while it was on the application's stack.
 * That it is in kernel text is nothing that a signal frame or a tracer could
 * hand back. Before the call nothing has been done, so that it can be one of
 * ukl_syscall() as well, or begin anew; behind it there is but RET to do.
 */
static __always_inline void ukl_fast_to_application(struct pt_regs *regs)
{
	bool tail;
	unsigned int slot = ukl_fast_slot(regs->ip - (unsigned long)ukl_fast_calls, &tail);

	if (tail) {
		regs->ip = (unsigned long)ukl_fast_ret;
		return;
	}
	if (slot == UKL_FAST_FUNCTION || slot == UKL_FAST_SLOW_FUNCTION) {
		regs->ip = (unsigned long)ukl_call;
		return;
	}
	if (slot < UKL_FAST_CALLS)
		regs->ax = slot;
	regs->ip = (unsigned long)ukl_syscall;
}

/*
 * A fast system call was interrupted on the kernel stack. If it has looked at the
 * flags in thread_info already, let it look again: the interrupt may have set
 * one. All that lies between can be done twice.
 */
static __always_inline void ukl_fast_restart_tail(struct pt_regs *regs)
{
	unsigned long offset = regs->ip - (unsigned long)ukl_fast_calls;
	bool tail;
	unsigned int slot = ukl_fast_slot(offset, &tail);

	if (!tail)
		return;
	regs->ip = (unsigned long)ukl_fast_calls + slot * UKL_FAST_SLOT + ukl_fast_tails[slot];
	/* It may have opened SMAP already, which what the flags ask for must not find so. */
	regs->flags &= ~X86_EFLAGS_AC;
}

/*
 * @regs interrupted the last instructions of a return to application mode, where
 * all registers but three have the application's values already. What was returned
 * from is still at the top of the kernel stack, @from, but for the stack pointer,
 * which ret.S has lowered. Let it be as if the return had been completed: signals,
 * tracers, restartable sequences find the instruction that comes next.
 */
static __always_inline void ukl_undo_return(struct pt_regs *regs, const struct pt_regs *from)
{
	if (regs->ip - (unsigned long)ukl_return_by_ret >=
	    (unsigned long)ukl_return_by_ret_end - (unsigned long)ukl_return_by_ret)
		return;
	regs->ip = from->ip;
	regs->sp = from->sp + UKL_RET_OFFSET;
	regs->flags = from->flags;
}

#endif /* _ARCH_X86_UKL_FRAME_H */
