/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first and last instructions of the system call path, which run on the
 * application's stack. They are linked into application text, and page faults
 * on the stack, interrupts and signals are handled as for other application
 * text.
 */
#include <linux/linkage.h>
#include <asm/alternative.h>
#include <asm/nospec-branch.h>
#include <asm/smap.h>

#include "ret.h"

/* No indirect branch of the kernel leads here: addresses are compared, or go into frames. */
.code64
.section .ukl.text.entry, "ax"

/*
 * clock.c returns through this instead of the kernel's return thunk, which is not
 * application text.
 */
.section .ukl.text.clock, "ax"
SYM_CODE_START(ukl_return_thunk)
	ANNOTATE_UNRET_SAFE
	ret
	int3
SYM_CODE_END(ukl_return_thunk)
.section .ukl.text.entry, "ax"

/* Return to the instruction after SYSCALL, at rcx. */
SYM_CODE_START(ukl_return_to_ip)
	ANNOTATE_NOENDBR
	sti
	ANNOTATE_RETPOLINE_SAFE
	jmp	*%rcx
SYM_INNER_LABEL(ukl_return_to_ip_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	int3
SYM_CODE_END(ukl_return_to_ip)

/*
 * Return to the caller of ukl_syscall(), at rcx. The child of a vfork() may
 * have overwritten the return address that the caller pushed, so push it again.
 * Use RET to keep the return stack buffer balanced with the caller's CALL.
 */
SYM_CODE_START(ukl_return_to_call)
	ANNOTATE_NOENDBR
	ASM_STAC_UNSAFE				/* objtool knows no such return */
	sti
	pushq	%rcx
SYM_INNER_LABEL(ukl_return_to_call_ret, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	/* Application text has no return thunks. */
	ANNOTATE_UNRET_SAFE
	ret
	int3
SYM_CODE_END(ukl_return_to_call)

/*
 * Return from an interrupt or exception across the red zone; see ret.S for the
 * words on the stack. STI inhibits interrupts for one more instruction, so that
 * usually none arrives before the application's stack pointer is restored.
 * ukl_sync_regs() handles those that do.
 */
SYM_CODE_START(ukl_return_by_ret)
	ANNOTATE_NOENDBR
	popfq
	sti
	ANNOTATE_UNRET_SAFE
	ret	$UKL_RED_ZONE
SYM_INNER_LABEL(ukl_return_by_ret_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	int3
SYM_CODE_END(ukl_return_by_ret)

/*
 * Return address of a fast system call that was completed by the regular system
 * call path: the caller's return address is still on the stack. When
 * ukl_fast_ret itself is a return address, for ukl_syscall_restart, unwinders
 * look up the byte before it, so it must belong to this function.
 */
SYM_CODE_START_LOCAL(ukl_fast_call)
	int3
SYM_INNER_LABEL(ukl_fast_ret, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	ANNOTATE_UNRET_SAFE
	ret
	int3
SYM_CODE_END(ukl_fast_call)

/*
 * ukl_call - Call a kernel function
 *
 * r10 holds the function's address. Arguments, result and clobbered registers
 * are those of the psABI for a function without floating-point arguments. At
 * most six arguments are possible, because arguments on the caller's stack are
 * not found. The function runs on the task's kernel stack and may sleep. It
 * accesses the application's data like a system call does, with SMAP active.
 * After the function has returned, pending work such as signals and
 * rescheduling is handled.
 */
SYM_CODE_START(ukl_call)
	ANNOTATE_NOENDBR
	jmp	ukl_call_fast
	int3
SYM_CODE_END(ukl_call)

/*
 * ukl_syscall - Make a system call by CALL
 *
 * Registers are those of the SYSCALL instruction: number in rax, arguments in
 * rdi, rsi, rdx, r10, r8 and r9, result in rax. rcx and r11 are clobbered.
 * Unlike SYSCALL it also clobbers the flags and the eight bytes below the stack
 * pointer where CALL puts its return address, so the caller must be compiled
 * without a red zone.
 *
 * ukl_syscall_restart repeats the call: rcx still holds the return address,
 * while the word below the stack pointer may have been overwritten.
 *
 * CLI is the last instruction that counts as application mode, so a frame from
 * application mode never has interrupts off. The code after CLI can be
 * interrupted only by NMI, #MC and single-step traps, which do not use the
 * current stack.
 */
SYM_CODE_START(ukl_syscall_restart)
	ANNOTATE_NOENDBR
	pushq	%rcx
SYM_INNER_LABEL(ukl_syscall, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	popq	%rcx
	movq	%rsp, %r11
	cli
/* __ukl_text_end is here, see text.lds.S. */
.section .ukl.text.leave, "ax"
	jmp	ukl_syscall_kernel
	int3
.section .ukl.text.entry, "ax"
SYM_CODE_END(ukl_syscall_restart)
