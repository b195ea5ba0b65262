/* SPDX-License-Identifier: GPL-2.0 */
/*
 * void keep_registers(const struct registers *in, struct registers *out,
 *		       unsigned long rounds)
 *
 * Fill general registers, the red zone, the carry flag and the SSE registers,
 * count down, and store their values after that.
 */
	.text
	.globl keep_registers
	.type keep_registers, @function
keep_registers:
	.cfi_startproc
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15

	.set i, 0
	.rept 16
	mov 8 * (12 + i)(%rdi), %rax
	mov %rax, -8 * (1 + i)(%rsp)
	.set i, i + 1
	.endr

	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu 8 * 28 + 16 * \n(%rdi), %xmm\n
	.endr

	mov 8(%rdi), %rbx
	mov 16(%rdi), %rcx
	mov 24(%rdi), %rbp
	mov 32(%rdi), %r8
	mov 40(%rdi), %r9
	mov 48(%rdi), %r10
	mov 56(%rdi), %r11
	mov 64(%rdi), %r12
	mov 72(%rdi), %r13
	mov 80(%rdi), %r14
	mov 88(%rdi), %r15
	mov (%rdi), %rax

	/* dec does not change the carry flag. */
	stc
1:	dec %rdx
	jnz 1b
	jc 2f
	not %rax
2:
	mov %rax, (%rsi)
	mov %rbx, 8(%rsi)
	mov %rcx, 16(%rsi)
	mov %rbp, 24(%rsi)
	mov %r8, 32(%rsi)
	mov %r9, 40(%rsi)
	mov %r10, 48(%rsi)
	mov %r11, 56(%rsi)
	mov %r12, 64(%rsi)
	mov %r13, 72(%rsi)
	mov %r14, 80(%rsi)
	mov %r15, 88(%rsi)

	.set i, 0
	.rept 16
	mov -8 * (1 + i)(%rsp), %rax
	mov %rax, 8 * (12 + i)(%rsi)
	.set i, i + 1
	.endr

	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movdqu %xmm\n, 8 * 28 + 16 * \n(%rsi)
	.endr

	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.cfi_endproc
	.size keep_registers, . - keep_registers
	.section .note.GNU-stack, "", @progbits
