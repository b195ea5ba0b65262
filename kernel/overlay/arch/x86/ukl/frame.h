/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_FRAME_H
#define _ARCH_X86_UKL_FRAME_H

/*
 * Classification of frames from CPL 0 by ukl_sync_regs(), shared with kunit.c.
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

/* Return paths to application mode, see ret.S and stub.S */
extern const char ukl_return_by_ret[], ukl_return_by_ret_end[];
extern const char ukl_return_to_ip[], ukl_return_to_ip_end[];
extern const char ukl_return_to_call[], ukl_return_to_call_ret[];

/*
 * -1 TB: all kernel code (kernel text, modules, EFI) is above, with 4-level and
 * with 5-level page tables; see Documentation/arch/x86/x86_64/mm.rst.
 */
#define UKL_KERNEL_CODE		0xffffff0000000000UL

/*
 * Is @sp on the task stack, the interrupt stack, or one of the entry and
 * exception stacks of this CPU? A pointer to the end of a stack counts.
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
 * Attribute a wild jump out of its text to the application if the kernel has no
 * code at the target, or if the stack pointer is in the user half. The kernel's
 * stack pointer is never there when it can take an exception that uses the UKL
 * stack.
 *
 * Attribute a wild jump by kernel code to the kernel: its stack pointer is on a
 * kernel stack. If it were attributed to the application, a signal would hide
 * that locks are held.
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
 * Get the slot in fast.S that contains @offset, and whether @offset is in the
 * part of the slot that checks the flags in thread_info and returns. The last
 * slot has no upper limit.
 */
static __always_inline unsigned int ukl_fast_slot(unsigned long offset, bool *tail)
{
	unsigned int slot = min(offset / UKL_FAST_SLOT, (unsigned long)UKL_FAST_ANY);

	*tail = offset - slot * UKL_FAST_SLOT >= ukl_fast_tails[slot];
	return slot;
}

/* The offset of @ip in the entry of an application's kernel function */
static __always_inline unsigned long ukl_function_offset(unsigned long ip)
{
	return (ip - (unsigned long)__ukl_functions_start) % UKL_FUNCTION_SLOT;
}

/*
 * A fast system call was interrupted while it was on the application's stack.
 * Its RIP is in kernel text, which a signal frame or a tracer must not pass
 * back. If the call has not been made yet, turn it into one of ukl_syscall(),
 * or restart the call of a function. After the call only the RET remains.
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
 * The same for the entry @entry of an application's kernel function. Like a call by
 * ukl_call(), it starts again there, with the function's address in r10.
 */
static __always_inline void ukl_function_to_application(struct pt_regs *regs,
							const struct ukl_function *entry)
{
	if (ukl_function_offset(regs->ip) >= entry->tail) {
		regs->ip = (unsigned long)ukl_fast_ret;
		return;
	}
	regs->r10 = (unsigned long)&entry->function + entry->function;
	regs->ip = (unsigned long)ukl_call;
}

/*
 * A fast system call was interrupted on the kernel stack. If it has already
 * checked the flags in thread_info, restart at the check: the interrupt may
 * have set one. The instructions in between can be repeated.
 */
static __always_inline void ukl_fast_restart_tail(struct pt_regs *regs)
{
	unsigned long offset = regs->ip - (unsigned long)ukl_fast_calls;
	bool tail;
	unsigned int slot = ukl_fast_slot(offset, &tail);

	if (!tail)
		return;
	regs->ip = (unsigned long)ukl_fast_calls + slot * UKL_FAST_SLOT + ukl_fast_tails[slot];
	/* STAC may have set AC already. Exit work must run with SMAP active. */
	regs->flags &= ~X86_EFLAGS_AC;
}

/* The same for the entry @entry of an application's kernel function */
static __always_inline void ukl_function_restart_tail(struct pt_regs *regs,
						      const struct ukl_function *entry)
{
	unsigned long offset = ukl_function_offset(regs->ip);

	if (offset < entry->tail)
		return;
	regs->ip -= offset - entry->tail;
	regs->flags &= ~X86_EFLAGS_AC;
}

/*
 * Handle a frame @regs that interrupted the last instructions of a return to
 * application mode, where all registers but three already have the
 * application's values. The frame that was returned from is still at the top of
 * the kernel stack, @from, but ret.S has lowered its stack pointer. Make @regs
 * the frame after the completed return, so that signals, tracers and
 * restartable sequences see the next instruction of the application.
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
