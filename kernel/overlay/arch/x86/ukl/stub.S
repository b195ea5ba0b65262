/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ends of the system-call path that run on the application's stack. They
 * are linked into application text, and what hits them is handled as if it had
 * hit the application: page faults on the stack, interrupts, signals.
 */
#include <linux/linkage.h>
#include <asm/alternative.h>
#include <asm/nospec-branch.h>
#include <asm/smap.h>

#include "ret.h"

.code64
.section .ukl.text.entry, "ax"

/* Back behind SYSCALL, at rcx. */
SYM_CODE_START(ukl_return_to_ip)
	sti
	ANNOTATE_RETPOLINE_SAFE
	jmp	*%rcx
SYM_INNER_LABEL(ukl_return_to_ip_end, SYM_L_GLOBAL)
	int3
SYM_CODE_END(ukl_return_to_ip)

/*
 * Back to the caller of ukl_syscall(), at rcx. The child of a vfork() may have
 * overwritten the return address that the caller pushed, so push it anew; a
 * RET keeps the return stack buffer in step with the caller's CALL.
 */
SYM_CODE_START(ukl_return_to_call)
	ASM_STAC
	sti
	pushq	%rcx
SYM_INNER_LABEL(ukl_return_to_call_ret, SYM_L_GLOBAL)
	/* As in all of the application's text, there is no return thunk. */
	ANNOTATE_UNRET_SAFE
	ret
	int3
SYM_CODE_END(ukl_return_to_call)

/*
 * Back from an interrupt or exception, over the red zone; see ret.S for what is on
 * the stack. STI holds interrupts off for one more instruction, so that hardly one
 * comes before the application has its stack pointer back; ukl_sync_regs() sees to
 * what does.
 */
SYM_CODE_START(ukl_return_by_ret)
	popfq
	sti
	ANNOTATE_UNRET_SAFE
	ret	$UKL_RED_ZONE
SYM_INNER_LABEL(ukl_return_by_ret_end, SYM_L_GLOBAL)
	int3
SYM_CODE_END(ukl_return_by_ret)

/*
 * Where a fast system call that had to go the whole way comes back to: its
 * return address is still on the stack. Where it is a return address itself, for
 * ukl_syscall_restart, unwinders look for what is one byte before it.
 */
SYM_CODE_START_LOCAL(ukl_fast_call)
	int3
SYM_INNER_LABEL(ukl_fast_ret, SYM_L_GLOBAL)
	ANNOTATE_UNRET_SAFE
	ret
	int3
SYM_CODE_END(ukl_fast_call)

/*
 * ukl_call - Call a function of the kernel
 *
 * r10: its address. Arguments, result and what is lost are as the psABI has them
 * for a function without floating point; at most six arguments, since those on the
 * caller's stack are not found. The function runs on the task's kernel stack, may
 * sleep, and reaches the application's data as a system call does: SMAP is closed.
 * Flags of the task are looked at behind it, for signals and the scheduler.
 */
SYM_CODE_START(ukl_call)
	jmp	ukl_call_fast
	int3
SYM_CODE_END(ukl_call)

/*
 * ukl_syscall - System call by call
 *
 * Registers as for the SYSCALL instruction: number in rax, arguments in rdi,
 * rsi, rdx, r10, r8, r9; the result in rax. rcx and r11 are clobbered. Unlike
 * SYSCALL it also clobbers the flags, and the eight bytes below the stack
 * pointer that the call itself writes: the caller can have no red zone.
 *
 * ukl_syscall_restart runs the call again: rcx still is the return address,
 * and what stood below the stack pointer may be gone.
 *
 * CLI is the last instruction that counts as application mode: a frame from
 * application mode never has interrupts off, and code behind CLI is reached
 * only by NMI, #MC and single-step traps, which do not look at the stack.
 */
SYM_CODE_START(ukl_syscall_restart)
	pushq	%rcx
SYM_INNER_LABEL(ukl_syscall, SYM_L_GLOBAL)
	popq	%rcx
	movq	%rsp, %r11
	cli
/* vmlinux.lds.S: __ukl_text_end is here */
.section .ukl.text.leave, "ax"
	jmp	ukl_syscall_kernel
	int3
.section .ukl.text.entry, "ax"
SYM_CODE_END(ukl_syscall_restart)
