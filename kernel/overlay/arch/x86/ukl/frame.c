// SPDX-License-Identifier: GPL-2.0
/*
 * Where an exception frame from CPL 0 belongs.
 */
#include <linux/compiler.h>
#include <linux/linkage.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/cpu_entry_area.h>
#include <asm/mmu.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include <asm/special_insns.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>

asmlinkage struct pt_regs *ukl_sync_regs(struct pt_regs *eregs);

/*
 * A wild jump out of the text is still the application's: its stack pointer is
 * in the user half, where the kernel's never is when it can take an exception
 * that does not have a stack of its own.
 */
static __always_inline bool from_application(const struct pt_regs *regs)
{
	if (ukl_text_address(regs->ip))
		return true;
	return (long)regs->sp >= 0 && current->mm &&
	       arch_test_bit(MM_CONTEXT_UKL, &current->mm->context.flags);
}

/*
 * The slot in fast.S that @offset lies in, and whether that is where the slot
 * looks at the flags in thread_info and returns. The last slot has no end.
 */
static __always_inline unsigned int fast_slot(unsigned long offset, bool *tail)
{
	unsigned int slot = min(offset / UKL_FAST_SLOT, (unsigned long)UKL_FAST_CALLS);

	*tail = offset - slot * UKL_FAST_SLOT >= ukl_fast_tails[slot];
	return slot;
}

/*
 * A fast system call was interrupted while it was on the application's stack.
 * That it is in kernel text is nothing that a signal frame or a tracer could
 * hand back. Before the call nothing has been done, so that it can be one of
 * ukl_syscall() as well; behind it there is but RET to do.
 */
static __always_inline void fast_to_application(struct pt_regs *regs)
{
	bool tail;
	unsigned int slot = fast_slot(regs->ip - (unsigned long)ukl_fast_calls, &tail);

	if (tail) {
		regs->ip = (unsigned long)ukl_fast_ret;
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
static __always_inline void fast_restart_tail(struct pt_regs *regs)
{
	unsigned long offset = regs->ip - (unsigned long)ukl_fast_calls;
	bool tail;
	unsigned int slot = fast_slot(offset, &tail);

	if (tail)
		regs->ip = (unsigned long)ukl_fast_calls + slot * UKL_FAST_SLOT +
			   ukl_fast_tails[slot];
}

/**
 * ukl_fast_singlestep - handle a single-step trap on the way into a fast call
 * @regs: frame from CPL 0
 *
 * TF is the application's, and set until the entry is on the kernel stack and
 * clears it. Let it be a call of ukl_syscall(), which keeps TF: the next trap
 * is the application's.
 *
 * Return: true if it was one.
 */
noinstr bool ukl_fast_singlestep(struct pt_regs *regs)
{
	if (!ukl_fast_address(regs->ip) || !(regs->flags & X86_EFLAGS_TF))
		return false;
	if ((long)regs->sp < 0)
		regs->sp = regs->r11;
	fast_to_application(regs);
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
 * Called by error_entry for all that comes from CPL 0. Every gate that has no
 * IST stack of its own uses the UKL one, because nothing may be pushed on the
 * application's stack. Leave it at once, so that it is free for the next
 * exception:
 *
 * - A frame from application mode goes where a frame from user mode goes, to
 *   the top of the task's kernel stack, and gets its mark.
 * - A frame from kernel mode goes below the interrupted stack pointer, where
 *   the CPU would have put it, leaving the gap that int3_emulate_push() fills.
 */
asmlinkage __visible noinstr struct pt_regs *ukl_sync_regs(struct pt_regs *eregs)
{
	struct pt_regs *regs;

	if (from_application(eregs)) {
		if (ukl_fast_address(eregs->ip))
			fast_to_application(eregs);
		eregs->csx = __KERNEL_CS | UKL_CSX_APP;
		/*
		 * Application mode always has interrupts on; a machine check
		 * can find it in its stubs where they are still off.
		 */
		eregs->flags |= X86_EFLAGS_IF;
		regs = (struct pt_regs *)current_top_of_stack() - 1;
	} else {
		/* Early boot, and entries that were not made through a gate. */
		if ((unsigned long)eregs - __this_cpu_ist_bottom_va(UKL) >= EXCEPTION_STKSZ)
			return eregs;
		if (ukl_fast_address(eregs->ip))
			fast_restart_tail(eregs);
		regs = (struct pt_regs *)(ALIGN_DOWN(eregs->sp, 16) - 6 * 8) - 1;
		if (task_stack_overflow(regs))
			return eregs;
	}

	*regs = *eregs;
	return regs;
}
