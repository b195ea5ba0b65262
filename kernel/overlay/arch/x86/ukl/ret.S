/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Return to application mode from interrupts and exceptions.
 *
 * IRET does much that is not needed within CPL 0: only the flags, the stack
 * pointer and the instruction pointer have to change, the latter two at once.
 * RET with an immediate operand changes both. The words that POPF and RET read
 * are written below the application's red zone, as a signal frame would be:
 *
 *	sp - 128	end of the red zone
 *	sp - 136	instruction pointer
 *	sp - 144	flags, without IF
 *
 * The stack may be not present or write-protected, and sp may not point to a
 * stack at all. If the words cannot be written, return by IRET. The words can
 * also disappear before they are read, when another CPU unmaps the page, and an
 * NMI ends the interrupt shadow of STI. If an interrupt or exception hits one
 * of the three instructions, ukl_undo_return() changes its frame to the one
 * that they return to.
 *
 * IRET is also required
 *
 * - with TF set: the trap must follow the application's instruction;
 * - with hardware breakpoints: RF prevents the breakpoint that was hit from
 *   triggering again;
 * - if the process has registered for core serialization with membarrier(): the
 *   return from an IPI has to be serializing.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/processor-flags.h>
#include <asm/smap.h>
#include <asm/ukl.h>
#include <asm/unwind_hints.h>

#include "../entry/calling.h"
#include "ret.h"

.code64
.section .entry.text, "ax"

/* Return to CPL 0, to the kernel or to the application. rsp: the frame. */
SYM_CODE_START(ukl_return_to_kernel)
	UNWIND_HINT_REGS
#ifdef CONFIG_UKL_RET
	testl	$UKL_CSX_APP, CS(%rsp)
	jz	restore_regs_and_return_to_kernel
	movq	PER_CPU_VAR(current_task), %rdx
	movq	TASK_mm(%rdx), %rcx
	testb	$UKL_RET_FLAG, MM_context_flags(%rcx)
	jz	restore_regs_and_return_to_kernel
#ifdef CONFIG_MEMBARRIER
	testl	$UKL_RET_SYNC_CORE, MM_membarrier_state(%rcx)
	jnz	restore_regs_and_return_to_kernel
#endif
	cmpq	$0, PER_CPU_VAR(cpu_dr7)
	jne	restore_regs_and_return_to_kernel
	movq	EFLAGS(%rsp), %rsi
	testl	$X86_EFLAGS_TF, %esi
	jnz	restore_regs_and_return_to_kernel
	andq	$~X86_EFLAGS_IF, %rsi
	movq	RSP(%rsp), %rdi
	subq	$UKL_RET_OFFSET, %rdi
	/* Never write to the kernel half. */
	js	restore_regs_and_return_to_kernel
	movq	RIP(%rsp), %rax

	/* Interrupts are off: do not handle a page fault. */
	incl	TASK_pagefault_disabled(%rdx)
	/*
	 * Leave SMAP open: application mode runs with AC set. objtool has no
	 * annotation for such a return.
	 */
	ASM_STAC_UNSAFE
.Lstore_ip:
	movq	%rax, 8(%rdi)
.Lstore_flags:
	movq	%rsi, (%rdi)
	decl	TASK_pagefault_disabled(%rdx)

	movq	%rdi, RSP(%rsp)
	POP_REGS
	UNWIND_HINT_IRET_REGS offset=8
	movq	4*8(%rsp), %rsp
	UNWIND_HINT_END_OF_STACK
	jmp	ukl_return_by_ret

.Lnot_written:
	UNWIND_HINT_REGS
	ASM_CLAC_UNSAFE
	decl	TASK_pagefault_disabled(%rdx)
#endif
	jmp	restore_regs_and_return_to_kernel
SYM_CODE_END(ukl_return_to_kernel)

#ifdef CONFIG_UKL_RET
	_ASM_EXTABLE(.Lstore_ip, .Lnot_written)
	_ASM_EXTABLE(.Lstore_flags, .Lnot_written)
#endif
