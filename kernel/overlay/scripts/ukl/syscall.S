/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ukl_syscall for a UKL application that runs as a normal process. Registers
 * are those of the SYSCALL instruction; rcx, r11 and the flags are clobbered.
 *
 * CALL pushes its return address on the stack. A child that starts on another
 * stack needs it there, too, and a child that shares the stack of its suspended
 * parent must not overwrite the parent's.
 */

#define NR_CLONE		56
#define NR_VFORK		58
#define NR_CLONE3		435

#define CLONE_VM		0x100

/* struct clone_args, linux/sched.h */
#define ARGS_FLAGS		0
#define ARGS_STACK		40
#define ARGS_STACK_SIZE		48
#define ARGS_SIZE_MIN		64
#define ARGS_SIZE_MAX		4096

	/* For debuggers. user.lds does not place a second .eh_frame. */
	.cfi_sections .debug_frame

	.section .ukl.text, "ax", @progbits
	.globl ukl_syscall
	.type ukl_syscall, @function
ukl_syscall:
	.cfi_startproc
	cmp	$NR_CLONE, %rax
	je	.Lclone
	cmp	$NR_VFORK, %rax
	je	.Lshared_stack
	cmp	$NR_CLONE3, %rax
	je	.Lclone3
.Lplain:
	syscall
	ret

.Lclone:
	test	%rsi, %rsi
	jz	.Lsame_stack
	/* Store on both stacks: the caller's rsi, the return address. */
	mov	(%rsp), %rcx
	mov	%rcx, -8(%rsi)
	mov	%rsi, -16(%rsi)
	push	%rsi
	.cfi_adjust_cfa_offset 8
	sub	$16, %rsi
	syscall
	pop	%rsi
	.cfi_adjust_cfa_offset -8
	ret

.Lsame_stack:
	test	$CLONE_VM, %edi
	jz	.Lplain			/* the child has its own stack */
.Lshared_stack:
	popq	%fs:return_address@tpoff
	.cfi_adjust_cfa_offset -8
	syscall
	pushq	%fs:return_address@tpoff
	.cfi_adjust_cfa_offset 8
	ret

.Lclone3:
	cmp	$ARGS_SIZE_MIN, %rsi
	jb	.Lplain			/* the kernel rejects these sizes */
	cmp	$ARGS_SIZE_MAX, %rsi
	ja	.Lplain
	cmpq	$0, ARGS_STACK(%rdi)
	jne	.Lclone3_stack
	testl	$CLONE_VM, ARGS_FLAGS(%rdi)
	jz	.Lplain
	jmp	.Lshared_stack

.Lclone3_stack:
	/*
	 * Copy the arguments and reduce the stack size. Store on both stacks,
	 * upwards: the address of the next word, the caller's rsi and rdi, the
	 * return address.
	 */
	push	%rdi
	.cfi_adjust_cfa_offset 8
	push	%rsi
	.cfi_adjust_cfa_offset 8
	mov	%rsp, %r11
	.cfi_def_cfa_register %r11
	mov	%rsi, %rcx
	sub	%rcx, %rsp
	and	$-16, %rsp
	mov	%rdi, %rsi
	mov	%rsp, %rdi
	cld
	rep movsb
	mov	%rsp, %rdi
	mov	ARGS_STACK(%rdi), %rcx
	add	ARGS_STACK_SIZE(%rdi), %rcx
	mov	16(%r11), %rsi
	mov	%rsi, -8(%rcx)
	mov	8(%r11), %rsi
	mov	%rsi, -16(%rcx)
	mov	(%r11), %rsi
	mov	%rsi, -24(%rcx)
	sub	$24, %rcx
	mov	%rcx, -8(%rcx)
	subq	$32, ARGS_STACK_SIZE(%rdi)
	push	%r11
	syscall
	pop	%rsp
	.cfi_def_cfa %rsp, 24
	pop	%rsi
	.cfi_adjust_cfa_offset -8
	pop	%rdi
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size ukl_syscall, . - ukl_syscall

/* Fast calls. In a normal process they are ordinary system calls. */
	.section .ukl.text, "ax", @progbits
	.globl ukl_syscall_fast
	.type ukl_syscall_fast, @function
ukl_syscall_fast:
	jmp	ukl_syscall
	.size ukl_syscall_fast, . - ukl_syscall_fast

	/* Same layout as in stub.S, but never used as a return address here. */
	int3
	.globl ukl_fast_ret
ukl_fast_ret:
	ret

	.altmacro
	.macro fast_call nr
	.globl ukl_fast_\nr
	.type ukl_fast_\nr, @function
ukl_fast_\nr:
	mov	$\nr, %eax
	jmp	ukl_syscall
	.size ukl_fast_\nr, . - ukl_fast_\nr
	.endm
	.set	number, 0
	.rept	512
	fast_call %number
	.set	number, number + 1
	.endr

/* A normal process cannot call functions of the kernel. */
	.section .ukl.text, "ax", @progbits
	.globl ukl_call
	.type ukl_call, @function
ukl_call:
	ud2
	.size ukl_call, . - ukl_call

	.section .ukl.tbss, "awT", @nobits
	.balign 8
return_address:
	.skip	8

	.section .note.GNU-stack, "", @progbits
