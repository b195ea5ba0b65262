/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System call entry from application mode.
 *
 * The CPU already runs at CPL 0 with the kernel's %gs and CR3. The entry code
 * only has to switch from the application's stack to the task's kernel stack
 * and to build struct pt_regs. The application's stack is pageable and may hold
 * a red zone, so nothing may be pushed on it.
 *
 * The speculation barriers in entry_SYSCALL_64 protect the kernel from less
 * privileged code. The application is as privileged as the kernel, so they are
 * not needed here.
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
 * SYSCALL executed by application text. MSR_LSTAR points here, see load.c.
 *
 * rcx: return address; r11: saved flags. Interrupts are off, and
 * MSR_SYSCALL_MASK has cleared AC, DF, NT and TF.
 */
SYM_CODE_START(ukl_entry_SYSCALL_64)
	UNWIND_HINT_ENTRY
	ANNOTATE_NOENDBR			/* IBT is off with applications */
	/* tss.sp2 is scratch space, as in entry_SYSCALL_64. */
	movq	%rsp, PER_CPU_VAR(cpu_tss_rw + TSS_sp2)
	movq	PER_CPU_VAR(cpu_current_top_of_stack), %rsp
	pushq	$__KERNEL_DS				/* pt_regs->ss */
	pushq	PER_CPU_VAR(cpu_tss_rw + TSS_sp2)	/* pt_regs->sp */
	pushq	%r11					/* pt_regs->flags */
	pushq	$(__KERNEL_CS | UKL_CSX_APP)		/* pt_regs->csx */
	jmp	.Lregs

/*
 * Entry from ukl_syscall(), with interrupts off.
 *
 * rcx: return address; r11: stack pointer after the return. The first
 * instruction must be the one that leaves the application's stack: a
 * single-step trap after any other instruction would have a kernel RIP with a
 * user stack pointer.
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
	/* SYSCALL would have saved IF set: the caller has interrupts on. */
	orl	$X86_EFLAGS_IF, %r11d
	pushq	%r11					/* pt_regs->flags */
	pushq	$(__KERNEL_CS | UKL_CSX_APP | UKL_CSX_CALL)	/* pt_regs->csx */

.Lregs:
	pushq	%rcx					/* pt_regs->ip */
	pushq	%rax					/* pt_regs->orig_ax */
	PUSH_REGS rax=$-ENOSYS
	VALIDATE_UNRET_END

/* Entry from fast.S, with interrupts off. rsp: the frame; rax: the number. */
SYM_INNER_LABEL(ukl_syscall_frame, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	movq	%rsp, %rdi
	/* Sign extend the lower 32bit as syscall numbers are treated as int */
	movslq	%eax, %rsi
	call	do_syscall_64		/* returns with IRQs disabled */

/* Exit from fast.S, with all exit work done. */
SYM_INNER_LABEL(ukl_syscall_exit, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	/*
	 * Signal delivery, sigreturn, ptrace and exec change the frame and make
	 * one of these comparisons fail. An unchanged frame does not need IRET.
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

	/* Return from SYSCALL: restore all but rcx and r11, flags included. */
	POP_REGS
	UNWIND_HINT_IRET_REGS offset=8
	andl	$~X86_EFLAGS_IF, 3*8(%rsp)
	addq	$3*8, %rsp
	UNWIND_HINT_END_OF_STACK
	popfq				/* restores AC, too */
	popq	%rsp
	jmp	ukl_return_to_ip

.Lreturn_to_call:
	POP_REGS
	UNWIND_HINT_IRET_REGS offset=8
	movq	4*8(%rsp), %rsp
	UNWIND_HINT_END_OF_STACK
	jmp	ukl_return_to_call

	/*
	 * An interrupt gate or SYSCALL would have cleared these flags.
	 * exc_debug_kernel() has ignored the single-step trap after each
	 * instruction so far, see is_sysenter_singlestep(). The frame keeps TF
	 * for the application.
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
