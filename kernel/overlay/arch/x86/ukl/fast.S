/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fast system calls from application mode: one entry per system call number.
 * Each calls the implementation on the task's kernel stack, with only those
 * fields of struct pt_regs filled in that the implementation reads.
 *
 * Entry work is requested by thread_info->syscall_work, exit work by
 * thread_info->flags. If there is any, the code completes the frame and the
 * call continues like one of ukl_syscall(), so tracers and filters see an
 * ordinary call and signals are delivered as usual. The return address stays on
 * the application's stack. The instruction pointer in a completed frame is
 * ukl_fast_ret, a RET instruction, or, for a caller in the user half, the return
 * address: see ukl_fast_caller().
 *
 * Interrupts stay enabled. They can arrive
 *
 * - before the switch to the kernel stack and after the switch back, with a
 *   stack pointer in the user half. ukl_sync_regs() treats that as application
 *   mode. Before the call nothing has been done yet, so it becomes a call of
 *   ukl_syscall(); after the call only the RET remains.
 * - between the check of the flags and the switch back. The interrupt may have
 *   set a flag, so ukl_sync_regs() makes the check happen again, like the abort
 *   of a restartable sequence.
 *
 * On the kernel stack the stack pointer is below struct pt_regs from the first
 * instruction on, so no interrupt overwrites it.
 *
 * Registers: the entry for a number preserves what the psABI requires of a
 * function, and rdx if the call takes three arguments or more, because its
 * caller may return rdx. ukl_syscall_fast() preserves what the SYSCALL
 * instruction preserves.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/errno.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/smap.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>
#include <asm/unwind_hints.h>

#include "function.S"

#define UKL_APP_CS	(__KERNEL_CS | UKL_CSX_APP | UKL_CSX_CALL)
#define UKL_APP_FLAGS	(X86_EFLAGS_FIXED | X86_EFLAGS_IF | X86_EFLAGS_AC)

#define UKL_ARGS(sym, n)	.set args_##sym, n;
#define UKL_BASE(sym)		.set base_##sym, 1;
#include "fast-args.h"

.code64
/* kprobes are not allowed in this section. */
.section .kprobes.text, "ax"

.macro ukl_fast_check_entry_work
	cmpq	$0, TI_syscall_work(%rcx)
	jne	ukl_fast_entry_work
.endm

/* Registers that the implementation reads, and that a restarted call needs. */
.macro ukl_fast_store_args args:req
	.if \args > 0
	movq	%rdi, RDI(%rsp)
	.endif
	.if \args > 1
	movq	%rsi, RSI(%rsp)
	.endif
	.if \args > 2
	movq	%rdx, RDX(%rsp)
	.endif
	.if \args > 3
	movq	%r10, R10(%rsp)
	.endif
	.if \args > 4
	movq	%r8, R8(%rsp)
	.endif
	.if \args > 5
	movq	%r9, R9(%rsp)
	.endif
.endm

/* Jump to the label for the number of registers that the call has stored. */
.macro ukl_fast_check_exit_work args:req
	movq	PER_CPU_VAR(current_task), %rcx
	testl	$UKL_FAST_WORK, TI_flags(%rcx)
	.if \args == 0
	jnz	ukl_fast_exit_work_0
	.elseif \args == 1
	jnz	ukl_fast_exit_work_1
	.elseif \args == 2
	jnz	ukl_fast_exit_work_2
	.elseif \args == 3
	jnz	ukl_fast_exit_work_3
	.elseif \args == 4
	jnz	ukl_fast_exit_work_4
	.elseif \args == 5
	jnz	ukl_fast_exit_work_5
	.else
	jnz	ukl_fast_exit_work_6
	.endif
.endm

.macro ukl_fast_leave args:req
	.set	.Ltail, .
	ukl_fast_check_exit_work \args
	ukl_fast_return
	ukl_fast_tail .Ltail-.Lslot
.endm

/* Offset within the slot of the code that ukl_sync_regs() restarts. */
.macro ukl_fast_tail offset:req
	.pushsection .rodata
	.2byte	\offset
	.popsection
.endm

/* A slot that jumps to ukl_syscall(). */
.macro ukl_base_slot nr:req
	movl	$\nr, %eax
	jmp	ukl_syscall
	ukl_fast_tail UKL_FAST_SLOT
.endm

.macro ukl_fast_slot nr:req sym:req args:req
	ukl_fast_enter
	movq	$\nr, ORIG_RAX(%rsp)
	ukl_fast_check_entry_work
	ukl_fast_store_args \args
	.if \args > 0
	movq	%rsp, %rdi
	.endif
	call	__x64_\sym
	.if \args > 2
	movq	RDX(%rsp), %rdx
	.endif
	ukl_fast_leave \args
.endm

.macro ukl_slot nr:req sym:req
	.org	ukl_fast_calls + \nr * UKL_FAST_SLOT, 0xcc
	.set	.Lslot, .
	.set	.Lnext, \nr + 1
SYM_INNER_LABEL(ukl_fast_\nr, SYM_L_GLOBAL)
	UNWIND_HINT_END_OF_STACK
	ANNOTATE_NOENDBR
#ifdef CONFIG_UKL_FAST
	.ifdef base_\sym
	ukl_base_slot \nr
	.else
	.ifdef args_\sym
	ukl_fast_slot \nr, \sym, args_\sym
	.else
	ukl_fast_slot \nr, \sym, 6
	.endif
	.endif
#else
	ukl_base_slot \nr
#endif
.endm

	.pushsection .rodata
	.balign	2
SYM_DATA_START(ukl_fast_tails)
	.popsection

	.balign 64
SYM_CODE_START(ukl_fast_calls)
#define __SYSCALL(nr, sym)		ukl_slot nr, sym
#define __SYSCALL_NORETURN(nr, sym)	ukl_slot nr, sym
#include <asm/syscalls_64.h>
#undef __SYSCALL
#undef __SYSCALL_NORETURN

/* Numbers without a system call in this kernel. */
	.set	.Lgap, .Lnext
.rept UKL_FAST_CALLS - .Lgap
	.org	ukl_fast_calls + .Lnext * UKL_FAST_SLOT, 0xcc
	UNWIND_HINT_END_OF_STACK
	ANNOTATE_NOENDBR
	ukl_base_slot .Lnext
	.set	.Lnext, .Lnext + 1
.endr

.macro ukl_name_gap nr:req
	.globl	ukl_fast_\nr
	.set	ukl_fast_\nr, ukl_fast_calls + \nr * UKL_FAST_SLOT
.endm
.altmacro
.rept UKL_FAST_CALLS - .Lgap
	ukl_name_gap %.Lgap
	.set	.Lgap, .Lgap + 1
.endr
.noaltmacro

/*
 * Call the kernel function at r10. As the psABI requires, the stack is aligned
 * and the argument registers are unchanged.
 */
	.org	ukl_fast_calls + UKL_FAST_FUNCTION * UKL_FAST_SLOT, 0xcc
	.set	.Lslot, .
SYM_INNER_LABEL(ukl_call_fast, SYM_L_GLOBAL)
	UNWIND_HINT_END_OF_STACK
	ANNOTATE_NOENDBR
#ifdef CONFIG_UKL_FAST
	ukl_fast_enter current=%rax
	movq	$-1, ORIG_RAX(%rsp)
	CALL_NOSPEC r10
	.set	.Ltail, .
	ukl_call_leave
	ukl_fast_tail .Ltail-.Lslot
#else
	jmp	ukl_call_slow
	ukl_fast_tail UKL_FAST_SLOT
#endif

/*
 * The same with a complete frame that holds the caller's flags, for calls with
 * TF set and for kernels that track all transitions. The single-step trap after
 * each instruction up to POPF is ignored, see ukl_fast_singlestep().
 */
	.org	ukl_fast_calls + UKL_FAST_SLOW_FUNCTION * UKL_FAST_SLOT, 0xcc
SYM_INNER_LABEL(ukl_call_slow, SYM_L_GLOBAL)
	UNWIND_HINT_END_OF_STACK
	ANNOTATE_NOENDBR
	cli
	movq	%rsp, %r11
	movq	PER_CPU_VAR(cpu_current_top_of_stack), %rsp
	pushq	$__KERNEL_DS				/* pt_regs->ss */
	pushq	%r11					/* pt_regs->sp */
	pushfq
	popq	%r11
	pushq	$X86_EFLAGS_FIXED
	popfq
	orl	$X86_EFLAGS_IF, %r11d
	pushq	%r11					/* pt_regs->flags */
	pushq	$UKL_APP_CS				/* pt_regs->csx */
	pushq	$ukl_fast_ret				/* pt_regs->ip */
	pushq	$-1					/* pt_regs->orig_ax */
	PUSH_REGS
	movq	%rsp, %rdi
	call	ukl_call_function	/* returns with IRQs disabled */
	jmp	ukl_syscall_exit
	ukl_fast_tail UKL_FAST_SLOT

/*
 * A system call whose number is in rax. For code that expects what SYSCALL
 * guarantees: all registers but rcx and r11 are preserved.
 */
	.org	ukl_fast_calls + UKL_FAST_ANY * UKL_FAST_SLOT, 0xcc
	.set	.Lslot, .
SYM_INNER_LABEL(ukl_syscall_fast, SYM_L_GLOBAL)
	UNWIND_HINT_END_OF_STACK
	ANNOTATE_NOENDBR
#ifdef CONFIG_UKL_FAST
	/*
	 * A child that clone() starts on another stack cannot use a return
	 * address on this one, so such calls use ukl_syscall() from the start.
	 */
	cmpq	$UKL_FAST_CALLS, %rax
	jae	ukl_syscall
	cmpq	$0, ukl_fast_table(, %rax, 8)
	je	ukl_syscall
	ukl_fast_enter
	movq	%rax, ORIG_RAX(%rsp)
	ukl_fast_check_entry_work
	movq	ukl_fast_table(, %rax, 8), %rcx
	ukl_fast_store_args 6
	movq	%rsp, %rdi
	CALL_NOSPEC rcx
	movq	RDI(%rsp), %rdi
	movq	RSI(%rsp), %rsi
	movq	RDX(%rsp), %rdx
	movq	R10(%rsp), %r10
	movq	R8(%rsp), %r8
	movq	R9(%rsp), %r9
	ukl_fast_leave 6
#else
	jmp	ukl_syscall
	ukl_fast_tail UKL_FAST_SLOT
#endif
SYM_INNER_LABEL(ukl_fast_calls_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	int3
SYM_CODE_END(ukl_fast_calls)

	.pushsection .rodata
SYM_DATA_END(ukl_fast_tails)
	.popsection

#ifdef CONFIG_UKL_FAST

/* Common part of a complete frame at entry and exit. rsp: the frame. */
.macro ukl_fast_complete
	movq	$__KERNEL_DS, SS(%rsp)
	movq	$UKL_APP_FLAGS, EFLAGS(%rsp)
	movq	$UKL_APP_FLAGS, R11(%rsp)
	movq	$UKL_APP_CS, CS(%rsp)
	movq	$ukl_fast_ret, RCX(%rsp)
	movq	%rbx, RBX(%rsp)
	movq	%rbp, RBP(%rsp)
	movq	%r12, R12(%rsp)
	movq	%r13, R13(%rsp)
	movq	%r14, R14(%rsp)
	movq	%r15, R15(%rsp)
.endm

/* Before the call: all of the caller's registers but rcx and r11 are live. */
SYM_CODE_START_LOCAL(ukl_fast_entry_work)
	UNWIND_HINT_REGS
	ukl_fast_complete
	movq	$-ENOSYS, RAX(%rsp)
	ukl_fast_store_args 6
	movq	%rsp, %rdi
	call	ukl_fast_caller
	cli
	movq	ORIG_RAX(%rsp), %rax
	jmp	ukl_syscall_frame
SYM_CODE_END(ukl_fast_entry_work)

/*
 * After the call, with its result in rax. Frame slots of registers that were
 * not stored hold stale values.
 */
SYM_CODE_START_LOCAL(ukl_fast_exit_work)
SYM_INNER_LABEL(ukl_fast_exit_work_0, SYM_L_LOCAL)
	UNWIND_HINT_REGS
	movq	$0, RDI(%rsp)
SYM_INNER_LABEL(ukl_fast_exit_work_1, SYM_L_LOCAL)
	movq	$0, RSI(%rsp)
SYM_INNER_LABEL(ukl_fast_exit_work_2, SYM_L_LOCAL)
	movq	$0, RDX(%rsp)
SYM_INNER_LABEL(ukl_fast_exit_work_3, SYM_L_LOCAL)
	movq	$0, R10(%rsp)
SYM_INNER_LABEL(ukl_fast_exit_work_4, SYM_L_LOCAL)
	movq	$0, R8(%rsp)
SYM_INNER_LABEL(ukl_fast_exit_work_5, SYM_L_LOCAL)
	movq	$0, R9(%rsp)
SYM_INNER_LABEL(ukl_fast_exit_work_6, SYM_L_LOCAL)
	ukl_fast_complete
	movq	%rax, RAX(%rsp)
	movq	%rsp, %rdi
	call	ukl_fast_exit		/* returns with IRQs disabled */
	jmp	ukl_syscall_exit
SYM_CODE_END(ukl_fast_exit_work)

/* After the call of a function, with its result in rax and rdx. */
SYM_CODE_START(ukl_call_exit_work)
	UNWIND_HINT_REGS
	ANNOTATE_NOENDBR
	cli
	movq	$0, RDI(%rsp)
	movq	$0, RSI(%rsp)
	movq	%rdx, RDX(%rsp)
	movq	$0, R10(%rsp)
	movq	$0, R8(%rsp)
	movq	$0, R9(%rsp)
	ukl_fast_complete
	movq	%rax, RAX(%rsp)
	movq	%rsp, %rdi
	call	ukl_call_exit
	jmp	ukl_syscall_exit
SYM_CODE_END(ukl_call_exit_work)

/* System call implementations, for ukl_syscall_fast() */
	.section .rodata, "a"
	.balign	8
SYM_DATA_START_LOCAL(ukl_fast_table)
.macro ukl_fast_entry nr:req sym:req
	.org	ukl_fast_table + \nr * 8
	.ifndef base_\sym
	.quad	__x64_\sym
	.endif
.endm
#define __SYSCALL(nr, sym)		ukl_fast_entry nr, sym
#define __SYSCALL_NORETURN(nr, sym)	ukl_fast_entry nr, sym
#include <asm/syscalls_64.h>
	.org	ukl_fast_table + UKL_FAST_CALLS * 8
SYM_DATA_END(ukl_fast_table)

#endif /* CONFIG_UKL_FAST */
