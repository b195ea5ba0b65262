/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entries through which an application calls its own kernel functions: one slot
 * for each function. A file that is compiled with the functions includes this one
 * and has, for each function,
 *
 *	ukl_function_entry serve
 *
 * The application calls ukl_kernel_serve() like a C function. It may have up to
 * six parameters, integers and pointers. See Documentation/arch/x86/ukl.rst.
 *
 * fast.S includes this file, too, for what its entries have in common with these.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/processor-flags.h>
#include <asm/smap.h>
#include <asm/ukl_fast.h>
#include <asm/unwind_hints.h>

#include "../entry/calling.h"

/*
 * Leave the application's stack. r11 holds the previous stack pointer, @current
 * the task. POPF clears AC (SMAP becomes active), DF, NT and TF at once.
 */
.macro ukl_fast_enter current=%rcx
	movq	%rsp, %r11
	movq	PER_CPU_VAR(current_task), \current
	movq	TASK_ukl_frame(\current), %rsp
	UNWIND_HINT_REGS
	pushq	$(X86_EFLAGS_FIXED | X86_EFLAGS_IF)
	popfq
	movq	%r11, RSP(%rsp)
	movq	$ukl_fast_ret, RIP(%rsp)
.endm

.macro ukl_fast_return
	/* objtool has no annotation for a return with SMAP open. */
	ASM_STAC_UNSAFE
	UNWIND_HINT_END_OF_STACK
	movq	RSP(%rsp), %rsp
	/* Application text has no return thunks. */
	ANNOTATE_UNRET_SAFE
	ret
	int3
.endm

/* Return from a function, whose result is in rax and rdx. */
.macro ukl_call_leave
	movq	PER_CPU_VAR(current_task), %rcx
	testl	$UKL_FAST_WORK, TI_flags(%rcx)
	jnz	ukl_call_exit_work
	ukl_fast_return
.endm

/*
 * The entry of the function @name, like ukl_call_fast with the address in r10.
 * An interrupt before the switch of stacks, and a single-step trap, continue
 * there: see struct ukl_function.
 */
.macro ukl_function_entry name:req
	.pushsection .ukl.functions.text, "ax"
	.balign	UKL_FUNCTION_SLOT, 0xcc
SYM_CODE_START_NOALIGN(ukl_kernel_\name)
	UNWIND_HINT_END_OF_STACK
	ANNOTATE_NOENDBR
#ifdef CONFIG_UKL_FAST
	ukl_fast_enter current=%rax
	movq	$-1, ORIG_RAX(%rsp)
	call	\name
.Ltail_\name:
	ukl_call_leave
#else
	leaq	\name(%rip), %r10
	jmp	ukl_call_slow
.Ltail_\name:
#endif
	.org	ukl_kernel_\name + UKL_FUNCTION_SLOT, 0xcc
SYM_CODE_END(ukl_kernel_\name)
	.popsection
	_ASM_NOKPROBE(ukl_kernel_\name)
	.pushsection .ukl.functions, "a"
	.balign	4
	.long	\name - .
	.long	.Ltail_\name - ukl_kernel_\name
	.popsection
.endm
