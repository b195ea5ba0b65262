/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Targets of the IDT gates that use the UKL stack in an application's address
 * space: for each vector, an instruction that marks the frame for error_entry,
 * and a jump to the handler that the vector has in the normal IDT.
 *
 * Interrupts and page faults need no mark if the words that the CPU has pushed
 * can be moved immediately. This takes fewer instructions than ukl_sync_regs():
 *
 * - From application mode, move them to the top of the task's kernel stack.
 * - For an interrupt from kernel mode, move them to where the CPU would have
 *   pushed them without IST. Leave faults from kernel mode to ukl_sync_regs(),
 *   because the interrupted stack may be full.
 *
 * The other exceptions are rare.
 *
 * The handlers are known when all gates are set up, see idt_setup_ukl(). Until
 * then, all jumps have the same target.
 */
#include <linux/linkage.h>
#include <asm/asm-offsets.h>
#include <asm/irq_vectors.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/processor-flags.h>
#include <asm/segment.h>
#include <asm/trapnr.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>
#include <asm/unwind_hints.h>

.code64
.section .noinstr.text, "ax"

	.balign	UKL_GATE_SIZE
SYM_CODE_START(ukl_gates)
	ANNOTATE_NOENDBR			/* IBT is off with applications */
	.set	.Lvector, 0
.rept NR_VECTORS
	.org	ukl_gates + .Lvector * UKL_GATE_SIZE, 0xcc
	.if .Lvector == X86_TRAP_PF
	UNWIND_HINT_IRET_REGS offset=8
	call	ukl_leave_fault_gate
	UNWIND_HINT_IRET_REGS offset=8
	.org	ukl_gates + .Lvector * UKL_GATE_SIZE + UKL_GATE_CALL_JUMP, 0xcc
	.elseif .Lvector < NUM_EXCEPTION_VECTORS
	.set	.Lerror_code, 8 * ((EXCEPTION_ERRCODE_MASK >> .Lvector) & 1)
	UNWIND_HINT_IRET_REGS offset=.Lerror_code
	orl	$UKL_CSX_GATE, 8 + .Lerror_code(%rsp)	/* CS */
	.org	ukl_gates + .Lvector * UKL_GATE_SIZE + UKL_GATE_MARK_JUMP, 0xcc
	.else
	UNWIND_HINT_IRET_REGS
	call	ukl_leave_gate
	UNWIND_HINT_IRET_REGS
	.org	ukl_gates + .Lvector * UKL_GATE_SIZE + UKL_GATE_CALL_JUMP, 0xcc
	.endif
	jmp.d32	asm_exc_invalid_op
	.set	.Lvector, .Lvector + 1
.endr
	.org	ukl_gates + NR_VECTORS * UKL_GATE_SIZE, 0xcc
SYM_CODE_END(ukl_gates)

/* On the new stack. rax points to the saved rax and the return address. */
.macro ukl_return_to_gate
	pushq	1*8(%rax)
	movq	(%rax), %rax
	/* No untraining needed: this does not return from user mode. */
	ANNOTATE_UNRET_SAFE
	ret
	int3
.endm

/*
 * Copy the words that the CPU has pushed from *rax to the top of the task's
 * kernel stack, as an application-mode frame, and return to the gate. At *rax:
 * rax, the gate's return address, the error code if there is one, ip, cs,
 * flags, sp, ss. Interrupts are always on in application mode, whatever the
 * application has done to EFLAGS.IF.
 */
.macro ukl_move_to_task error_code:req
	UNWIND_HINT_END_OF_STACK
	movq	PER_CPU_VAR(cpu_current_top_of_stack), %rsp
	pushq	\error_code + 6*8(%rax)		/* ss */
	pushq	\error_code + 5*8(%rax)		/* sp */
	pushq	\error_code + 4*8(%rax)		/* flags */
	orl	$X86_EFLAGS_IF, (%rsp)
	pushq	$(__KERNEL_CS | UKL_CSX_APP)	/* csx */
	pushq	\error_code + 2*8(%rax)		/* ip */
	.if \error_code
	pushq	2*8(%rax)
	.endif
	ukl_return_to_gate
.endm

/*
 * An interrupt can arrive anywhere with interrupts on. It is from kernel mode
 * if both the instruction pointer and the stack pointer are the kernel's; see
 * ukl_from_application(), which decides all but these common cases. Frames from
 * the fast calls, and from the entries of functions in front of the text, are
 * marked, because these run with interrupts on and some must be restarted. So
 * are frames from the stubs that follow the application's own text.
 */
SYM_CODE_START_LOCAL(ukl_leave_gate)
	UNWIND_HINT_IRET_REGS offset=8
	cmpq	$ukl_fast_calls, 8(%rsp)
	jae	.Lbehind
	cmpq	$_stext, 8(%rsp)
	jb	.Lbelow
.Lkernel:
	pushq	%rax
	movq	5*8(%rsp), %rax
	testq	%rax, %rax
	jns	.Luser_stack
	andq	$-16, %rax
	UNWIND_HINT_END_OF_STACK
	xchgq	%rsp, %rax
	pushq	6*8(%rax)			/* ss */
	pushq	5*8(%rax)			/* sp */
	pushq	4*8(%rax)			/* flags */
	pushq	3*8(%rax)			/* csx */
	pushq	2*8(%rax)			/* ip */
	ukl_return_to_gate

.Lbehind:
	UNWIND_HINT_IRET_REGS offset=8
	cmpq	$__ukl_text_start, 8(%rsp)
	jae	.Lapplication
	cmpq	$__ukl_functions_start, 8(%rsp)
	jae	.Lmark
	cmpq	$ukl_fast_calls_end, 8(%rsp)
	jae	.Lkernel
.Lmark:
	orl	$UKL_CSX_GATE, 16(%rsp)
	ANNOTATE_UNRET_SAFE
	ret
	int3

.Luser_stack:
	popq	%rax
	jmp	.Lmark

	/* What an application has mapped; the kernel executes nothing there. */
.Lbelow:
	UNWIND_HINT_IRET_REGS offset=8
	cmpq	$0, 8(%rsp)
	jl	.Lmark
	cmpq	$0, 4*8(%rsp)			/* a wild jump of the kernel's? */
	jge	.Lplain
	jmp	.Lmark

.Lapplication:
	UNWIND_HINT_IRET_REGS offset=8
	cmpq	$__ukl_stubs_start, 8(%rsp)
	jae	.Lmark
.Lplain:
	UNWIND_HINT_IRET_REGS offset=8
	pushq	%rax
	movq	%rsp, %rax
	ukl_move_to_task 0
SYM_CODE_END(ukl_leave_gate)

SYM_CODE_START_LOCAL(ukl_leave_fault_gate)
	UNWIND_HINT_IRET_REGS offset=16
	cmpq	$0, 16(%rsp)
	jl	.Lhigh_fault
	cmpq	$0, 5*8(%rsp)			/* as above */
	jge	.Lplain_fault
	jmp	.Lmark_fault

.Lhigh_fault:
	UNWIND_HINT_IRET_REGS offset=16
	cmpq	$__ukl_text_start, 16(%rsp)
	jb	.Lmark_fault
	cmpq	$__ukl_stubs_start, 16(%rsp)
	jae	.Lmark_fault
.Lplain_fault:
	UNWIND_HINT_IRET_REGS offset=16
	pushq	%rax
	movq	%rsp, %rax
	ukl_move_to_task 8

.Lmark_fault:
	UNWIND_HINT_IRET_REGS offset=16
	orl	$UKL_CSX_GATE, 24(%rsp)
	ANNOTATE_UNRET_SAFE
	ret
	int3
SYM_CODE_END(ukl_leave_fault_gate)
