/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls from application mode.
 *
 * The CPU is at CPL 0 already, with the kernel's %gs and CR3; what is left to do
 * is the switch from the application's stack to the task's kernel stack, and
 * struct pt_regs. The application's stack is pageable and may hold a red
 * zone: nothing is pushed on it.
 *
 * The speculation barriers of entry_SYSCALL_64 guard the kernel against less
 * privileged code. The application is no such code, so there are none here.
 */
#include <linux/export.h>
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/asm.h>
#include <asm/errno.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/smap.h>
#include <asm/ukl.h>
#include <asm/unwind_hints.h>

#include "../entry/calling.h"

.code64
.section .entry.text, "ax"

/*
 * SYSCALL executed by application text: MSR_LSTAR leads here, see load.c.
 *
 * rcx: address behind the instruction; r11: the flags. Interrupts are off, and
 * MSR_SYSCALL_MASK has cleared AC, DF, NT and TF.
 */
SYM_CODE_START(ukl_entry_SYSCALL_64)
	UNWIND_HINT_ENTRY
	/* tss.sp2 is scratch space, as in entry_SYSCALL_64. */
	movq	%rsp, PER_CPU_VAR(cpu_tss_rw + TSS_sp2)
	movq	PER_CPU_VAR(cpu_current_top_of_stack), %rsp
	pushq	$__KERNEL_DS				/* pt_regs->ss */
	pushq	PER_CPU_VAR(cpu_tss_rw + TSS_sp2)	/* pt_regs->sp */
	pushq	%r11					/* pt_regs->flags */
	pushq	$(__KERNEL_CS | UKL_CSX_APP)		/* pt_regs->csx */
	jmp	.Lregs

/*
 * ukl_syscall() arrives here, with interrupts off.
 *
 * rcx: return address; r11: the stack pointer after the return. The first
 * instruction must be the one that leaves the application's stack: a
 * single-step trap behind any other would find a kernel RIP on a user stack.
 */
SYM_INNER_LABEL(ukl_syscall_kernel, SYM_L_GLOBAL)
	UNWIND_HINT_ENTRY
	ANNOTATE_NOENDBR
	movq	PER_CPU_VAR(cpu_current_top_of_stack), %rsp
	pushq	$__KERNEL_DS				/* pt_regs->ss */
	pushq	%r11					/* pt_regs->sp */
	pushfq
	popq	%r11
	testl	$(X86_EFLAGS_TF | X86_EFLAGS_NT), %r11d
	jnz	.Lclear_flags
.Lflags_cleared:
	ASM_CLAC
	cld
	/* What SYSCALL would have put into r11: the caller has interrupts on. */
	orl	$X86_EFLAGS_IF, %r11d
	pushq	%r11					/* pt_regs->flags */
	pushq	$(__KERNEL_CS | UKL_CSX_APP | UKL_CSX_CALL)	/* pt_regs->csx */

.Lregs:
	pushq	%rcx					/* pt_regs->ip */
	pushq	%rax					/* pt_regs->orig_ax */
	PUSH_REGS rax=$-ENOSYS
	VALIDATE_UNRET_END

/* fast.S arrives here, with interrupts off: rsp: the frame; rax: the number. */
SYM_INNER_LABEL(ukl_syscall_frame, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	movq	%rsp, %rdi
	/* Sign extend the lower 32bit as syscall numbers are treated as int */
	movslq	%eax, %rsi
	call	do_syscall_64		/* returns with IRQs disabled */

/* And here, with all exit work done. */
SYM_INNER_LABEL(ukl_syscall_exit, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	/*
	 * Whoever changes the frame (signal delivery, sigreturn, ptrace, exec)
	 * makes one of these differ. What is left needs no IRET.
	 */
	movq	RIP(%rsp), %rcx
	cmpq	%rcx, RCX(%rsp)
	jne	swapgs_restore_regs_and_return_to_usermode
	movq	EFLAGS(%rsp), %r11
	cmpq	%r11, R11(%rsp)
	jne	swapgs_restore_regs_and_return_to_usermode
	testl	$(X86_EFLAGS_RF | X86_EFLAGS_TF | X86_EFLAGS_NT), %r11d
	jnz	swapgs_restore_regs_and_return_to_usermode
	movl	CS(%rsp), %edx
	cmpl	$(__KERNEL_CS | UKL_CSX_APP | UKL_CSX_CALL), %edx
	je	.Lreturn_to_call
	cmpl	$(__KERNEL_CS | UKL_CSX_APP), %edx
	jne	swapgs_restore_regs_and_return_to_usermode

	/* Behind SYSCALL: all registers but rcx and r11 are as before, flags too. */
	POP_REGS
	UNWIND_HINT_IRET_REGS offset=8
	andl	$~X86_EFLAGS_IF, 3*8(%rsp)
	addq	$3*8, %rsp
	UNWIND_HINT_END_OF_STACK
	popfq				/* AC comes back with it */
	popq	%rsp
	jmp	ukl_return_to_ip

.Lreturn_to_call:
	POP_REGS
	UNWIND_HINT_IRET_REGS offset=8
	movq	4*8(%rsp), %rsp
	UNWIND_HINT_END_OF_STACK
	jmp	ukl_return_to_call

	/*
	 * An interrupt gate and SYSCALL would have cleared these. The trap
	 * behind each instruction so far was ignored by exc_debug_kernel(), see
	 * is_sysenter_singlestep(); the frame keeps TF for the application.
	 */
.Lclear_flags:
	UNWIND_HINT_ENTRY
	pushfq
	andl	$~(X86_EFLAGS_TF | X86_EFLAGS_NT), (%rsp)
	popfq
	jmp	.Lflags_cleared
SYM_INNER_LABEL(ukl_syscall_kernel_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	int3
SYM_CODE_END(ukl_entry_SYSCALL_64)
