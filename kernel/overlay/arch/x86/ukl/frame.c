// SPDX-License-Identifier: GPL-2.0
/* Moving exception frames from CPL 0 to the stack where they belong. */
#include <linux/compiler.h>
#include <linux/linkage.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>
#include <uapi/linux/ukl.h>
#include <asm/mmu.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include <asm/special_insns.h>
#include <asm/text-patching.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>

#include "frame.h"

asmlinkage struct pt_regs *ukl_sync_regs(struct pt_regs *eregs);

/**
 * ukl_return_to_user_half - complete the return of a fast system call in its frame
 * @regs: frame of application mode
 *
 * If the caller is in the user half, show the instruction after its call, not the RET
 * in the kernel half that leads there. So debuggers, profilers and the unwinders of
 * exceptions and of pthread_cancel() find code that they know, as after SYSCALL.
 */
void ukl_return_to_user_half(struct pt_regs *regs)
{
	unsigned long ret;

	if (regs->ip != (unsigned long)ukl_fast_ret ||
	    get_user(ret, (unsigned long __user *)regs->sp) || ret >= TASK_SIZE_MAX)
		return;
	regs->ip = ret;
	/* The frame of a call of ukl_syscall(), which pushes the address again */
	regs->cx = ret;
	regs->sp += sizeof(ret);
}

/*
 * Repeat a system call for a caller in the user half, whose stack pointer is @sp after
 * the return to @ret. If the caller has called a stub that says where its system call
 * can be repeated, continue there, with the return address on the stack.
 */
static bool ukl_restart_in_user_half(struct pt_regs *regs, unsigned long ret, unsigned long sp)
{
	unsigned long stub;
	s32 displacement;
	u8 opcode;
	u32 mark;

	if (get_user(opcode, (u8 __user *)(ret - CALL_INSN_SIZE)) || opcode != CALL_INSN_OPCODE ||
	    get_user(displacement, (s32 __user *)(ret - sizeof(displacement))))
		return false;
	stub = ret + displacement;
	if (get_user(mark, (u32 __user *)(stub - sizeof(mark))) || (mark & ~0xffU) != UKL_STUB_MARK)
		return false;
	sp -= sizeof(ret);
	/* The child of a vfork() may have overwritten it. */
	if (put_user(ret, (unsigned long __user *)sp))
		return false;
	regs->ip = stub + (mark & 0xff);
	regs->sp = sp;
	return true;
}

/**
 * ukl_rewind_call - repeat a system call that has not left application mode by a call
 * @regs: frame whose instruction pointer a tracer may have set
 *
 * A tracer can restore the registers of a fast call in another frame. Then the call of
 * the stub is in front of the instruction pointer, and not a SYSCALL instruction.
 *
 * Return: true if the system call will be repeated
 */
bool ukl_rewind_call(struct pt_regs *regs)
{
	return regs->ip < TASK_SIZE_MAX && ukl_restart_in_user_half(regs, regs->ip, regs->sp);
}

/*
 * @regs will make a system call: its ip is ukl_syscall or ukl_syscall_restart. If
 * a near CALL in the application's own text led there, set ip to that instruction.
 * pthread_cancel() in glibc since 2.41 and in musl checks whether the signal
 * interrupted the thread between two labels. The second label follows the
 * instruction that makes the system call.
 */
static void ukl_undo_call(struct pt_regs *regs)
{
	unsigned long ret = regs->cx, sp = regs->sp, target;

	/* With ukl_fast_ret, the caller's return address is still on the stack. */
	if (regs->ip == (unsigned long)ukl_syscall ||
	    ret == (unsigned long)ukl_fast_ret) {
		if (get_user(ret, (unsigned long __user *)sp))
			return;
		sp += sizeof(ret);
	}
	if (ret < TASK_SIZE_MAX) {
		ukl_restart_in_user_half(regs, ret, sp);
		return;
	}
	if (ret < (unsigned long)__ukl_text_start + CALL_INSN_SIZE ||
	    ret > (unsigned long)__ukl_stubs_start ||
	    *(u8 *)(ret - CALL_INSN_SIZE) != CALL_INSN_OPCODE)
		return;
	/* A stub of the application contains moved instructions, which must not run twice. */
	target = ret + *(s32 *)(ret - sizeof(s32));
	if (target != (unsigned long)ukl_syscall && !ukl_fast_address(target))
		return;
	regs->ip = ret - CALL_INSN_SIZE;
	regs->sp = sp;
}

/**
 * ukl_leave_stub - move a frame from a stub to the application's own text
 * @regs: frame that a signal handler will see and pass back to sigreturn()
 *
 * Near the end of a system call, complete the return; near its start, undo the
 * call. To the application either is equivalent, and sigreturn() must not
 * resume in the middle of a stub. A tracer may see such an address, because it
 * single-steps through the stub.
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
	} else if (ip == (unsigned long)ukl_fast_ret) {
		ukl_return_to_user_half(regs);
	} else if (ip > (unsigned long)ukl_syscall && ip < (unsigned long)__ukl_text_end) {
		regs->ip = (unsigned long)ukl_syscall_restart;
	}
	if (regs->ip == (unsigned long)ukl_syscall ||
	    regs->ip == (unsigned long)ukl_syscall_restart)
		ukl_undo_call(regs);
}

/**
 * ukl_fast_singlestep - handle a single-step trap in the entry of a fast call
 * @regs: frame from CPL 0
 *
 * The application has set TF, and it stays set until the entry has switched to
 * the kernel stack and clears it. Turn the call into one of ukl_syscall(),
 * which saves TF for the application, so that the next trap is the
 * application's. Continue the call of a function at ukl_call_slow, which saves
 * TF, too; ignore the traps until it clears TF.
 *
 * Return: true if the trap was in such an entry.
 */
noinstr bool ukl_fast_singlestep(struct pt_regs *regs)
{
	const struct ukl_function *entry = ukl_function_entry(regs->ip);
	unsigned int slot;
	bool tail;

	if (entry) {
		if (!(regs->flags & X86_EFLAGS_TF))
			return false;
		if ((long)regs->sp < 0)
			regs->sp = regs->r11;
		ukl_function_to_application(regs, entry);
		/* It is a call of a function, before POPF. */
		regs->ip = (unsigned long)ukl_call_slow;
		return true;
	}
	if (!ukl_fast_address(regs->ip))
		return false;
	slot = ukl_fast_slot(regs->ip - (unsigned long)ukl_fast_calls, &tail);
	/* The last trap follows POPF, with TF already clear. */
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
 * The interrupted kernel stack has no space for a frame below its stack
 * pointer. CR2 holds the address of the fault that reported it. Stay on the UKL
 * stack, from which page_fault_oops() reports the overflow and does not return.
 */
static __always_inline bool task_stack_overflow(const struct pt_regs *regs)
{
	unsigned long guard = (unsigned long)task_stack_page(current) - PAGE_SIZE;

	return unlikely((unsigned long)regs - guard < PAGE_SIZE &&
			native_read_cr2() - guard < PAGE_SIZE);
}

/*
 * Called by error_entry for a frame on an IST stack. #DB and #MC have their own
 * IST stacks. In an application's address space all other gates use the UKL
 * stack, because nothing may be pushed on the application's stack. Move the
 * frame off the UKL stack immediately, so that the next exception can use it:
 *
 * - A frame from application mode is moved to the top of the task's kernel
 *   stack, like a frame from user mode, and is marked.
 * - A frame from kernel mode is moved below the interrupted stack pointer,
 *   where the CPU would have pushed it, leaving the gap that
 *   int3_emulate_push() needs.
 */
asmlinkage __visible noinstr struct pt_regs *ukl_sync_regs(struct pt_regs *eregs)
{
	const struct ukl_function *entry = ukl_function_entry(eregs->ip);
	struct pt_regs *regs;

	if (ukl_from_application(eregs)) {
		regs = (struct pt_regs *)current_top_of_stack() - 1;
		ukl_undo_return(eregs, regs);
		if (ukl_fast_address(eregs->ip))
			ukl_fast_to_application(eregs);
		else if (entry)
			ukl_function_to_application(eregs, entry);
		eregs->csx = __KERNEL_CS | UKL_CSX_APP;
		/*
		 * Application mode always has interrupts on, except that a
		 * machine check can interrupt its stubs where they are still
		 * off.
		 */
		eregs->flags |= X86_EFLAGS_IF;
	} else {
		eregs->csx &= ~UKL_CSX_GATE;
		if (ukl_fast_address(eregs->ip))
			ukl_fast_restart_tail(eregs);
		else if (entry)
			ukl_function_restart_tail(eregs, entry);
		regs = (struct pt_regs *)(ALIGN_DOWN(eregs->sp, 16) - 6 * 8) - 1;
		if (task_stack_overflow(regs))
			return eregs;
	}

	*regs = *eregs;
	return regs;
}
