// SPDX-License-Identifier: GPL-2.0
/*
 * Where an exception frame from CPL 0 belongs.
 */
#include <linux/compiler.h>
#include <linux/linkage.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/mmu.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include <asm/special_insns.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>

#include "frame.h"

asmlinkage struct pt_regs *ukl_sync_regs(struct pt_regs *eregs);

/**
 * ukl_leave_stub - let a frame of application mode have an address of its own text
 * @regs: frame that a signal handler will see, and give back to sigreturn()
 *
 * In the stubs at the ends of a system call, what is left of the call is done; at
 * its begin, it is taken back. Either is the same to the application, and sigreturn()
 * has to let nobody into the middle of a stub. A tracer may see that middle, since it
 * steps through it.
 */
void ukl_leave_stub(struct pt_regs *regs)
{
	unsigned long ip = regs->ip;

	if ((ip >= (unsigned long)ukl_return_to_ip &&
	     ip < (unsigned long)ukl_return_to_ip_end) ||
	    (ip >= (unsigned long)ukl_return_to_call &&
	     ip < (unsigned long)ukl_return_to_call_ret)) {
		regs->ip = regs->cx;
	} else if (ip == (unsigned long)ukl_return_to_call_ret) {
		regs->ip = regs->cx;
		regs->sp += 8;
	} else if (ip > (unsigned long)ukl_syscall && ip < (unsigned long)__ukl_text_end) {
		regs->ip = (unsigned long)ukl_syscall_restart;
	}
}

/**
 * ukl_fast_singlestep - handle a single-step trap on the way into a fast call
 * @regs: frame from CPL 0
 *
 * TF is the application's, and set until the entry is on the kernel stack and
 * clears it. Let it be a call of ukl_syscall(), which keeps TF: the next trap
 * is the application's. A call of a function goes on at ukl_call_slow, which
 * keeps TF too, and takes no notice of the traps until it is cleared.
 *
 * Return: true if it was one.
 */
noinstr bool ukl_fast_singlestep(struct pt_regs *regs)
{
	unsigned int slot;
	bool tail;

	if (!ukl_fast_address(regs->ip))
		return false;
	slot = ukl_fast_slot(regs->ip - (unsigned long)ukl_fast_calls, &tail);
	/* The last trap comes behind POPF, with TF clear already. */
	if (slot == UKL_FAST_SLOW_FUNCTION)
		return true;
	if (!(regs->flags & X86_EFLAGS_TF))
		return false;
	if ((long)regs->sp < 0)
		regs->sp = regs->r11;
	if (slot == UKL_FAST_FUNCTION)
		regs->ip = (unsigned long)ukl_call_slow;
	else
		ukl_fast_to_application(regs);
	return true;
}

/*
 * The interrupted kernel stack is full: there is no room for a frame below it.
 * The fault that reported it is in %cr2. Stay on the UKL stack, from where
 * page_fault_oops() reports the overflow; nothing returns from there.
 */
static __always_inline bool task_stack_overflow(const struct pt_regs *regs)
{
	unsigned long guard = (unsigned long)task_stack_page(current) - PAGE_SIZE;

	return unlikely((unsigned long)regs - guard < PAGE_SIZE &&
			native_read_cr2() - guard < PAGE_SIZE);
}

/*
 * Called by error_entry for a frame on an interrupt stack. #DB and #MC have their
 * own; in the address space of an application, each other gate uses the UKL one,
 * because nothing may be pushed on the application's stack. Leave it at once, so
 * that it is free for the next exception:
 *
 * - A frame from application mode goes where a frame from user mode goes, to
 *   the top of the task's kernel stack, and gets its mark.
 * - A frame from kernel mode goes below the interrupted stack pointer, where
 *   the CPU would have put it, leaving the gap that int3_emulate_push() fills.
 */
asmlinkage __visible noinstr struct pt_regs *ukl_sync_regs(struct pt_regs *eregs)
{
	struct pt_regs *regs;

	if (ukl_from_application(eregs)) {
		regs = (struct pt_regs *)current_top_of_stack() - 1;
		ukl_undo_return(eregs, regs);
		if (ukl_fast_address(eregs->ip))
			ukl_fast_to_application(eregs);
		eregs->csx = __KERNEL_CS | UKL_CSX_APP;
		/*
		 * Application mode always has interrupts on; a machine check
		 * can find it in its stubs where they are still off.
		 */
		eregs->flags |= X86_EFLAGS_IF;
	} else {
		eregs->csx &= ~UKL_CSX_GATE;
		if (ukl_fast_address(eregs->ip))
			ukl_fast_restart_tail(eregs);
		regs = (struct pt_regs *)(ALIGN_DOWN(eregs->sp, 16) - 6 * 8) - 1;
		if (task_stack_overflow(regs))
			return eregs;
	}

	*regs = *eregs;
	return regs;
}
