/* SPDX-License-Identifier: GPL-2.0 */
/*
 * void registers_at_ud2(const unsigned long in[16], unsigned long out[16])
 *
 * Load all registers except rsp from `in` (rax rbx rcx rdx rsi rdi rbp r8..r15), take an
 * exception, store their values after it to `out`. A handler has to skip two bytes.
 */
	.text
	.globl registers_at_ud2, registers_ud2
	.type registers_at_ud2, @function
registers_at_ud2:
	.cfi_startproc
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rsi
	mov %rdi, %rax
	mov 8(%rax), %rbx
	mov 16(%rax), %rcx
	mov 24(%rax), %rdx
	mov 32(%rax), %rsi
	mov 40(%rax), %rdi
	mov 48(%rax), %rbp
	mov 56(%rax), %r8
	mov 64(%rax), %r9
	mov 72(%rax), %r10
	mov 80(%rax), %r11
	mov 88(%rax), %r12
	mov 96(%rax), %r13
	mov 104(%rax), %r14
	mov 112(%rax), %r15
	mov (%rax), %rax
registers_ud2:
	ud2
	xchg %rax, (%rsp)
	mov %rbx, 8(%rax)
	mov %rcx, 16(%rax)
	mov %rdx, 24(%rax)
	mov %rsi, 32(%rax)
	mov %rdi, 40(%rax)
	mov %rbp, 48(%rax)
	mov %r8, 56(%rax)
	mov %r9, 64(%rax)
	mov %r10, 72(%rax)
	mov %r11, 80(%rax)
	mov %r12, 88(%rax)
	mov %r13, 96(%rax)
	mov %r14, 104(%rax)
	mov %r15, 112(%rax)
	pop %rcx
	mov %rcx, (%rax)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.cfi_endproc
	.size registers_at_ud2, . - registers_at_ud2
	.section .note.GNU-stack, "", @progbits
