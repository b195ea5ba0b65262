/* SPDX-License-Identifier: GPL-2.0 */
/*
 * void spin(struct state *state)
 *
 * Load all general registers from state->in, in the order rax rbx rcx rdx rsi rdi
 * rbp rsp r8..r15; count rax down to 0 without touching the stack; store their
 * values after that to state->out, and the carry flag, which was set.
 */
	.text
	.globl spin
	.type spin, @function
spin:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, pointer(%rip)
	mov %rsp, stack(%rip)
	mov %rdi, %rax
	mov 8(%rax), %rbx
	mov 16(%rax), %rcx
	mov 24(%rax), %rdx
	mov 32(%rax), %rsi
	mov 40(%rax), %rdi
	mov 48(%rax), %rbp
	mov 56(%rax), %rsp
	mov 64(%rax), %r8
	mov 72(%rax), %r9
	mov 80(%rax), %r10
	mov 88(%rax), %r11
	mov 96(%rax), %r12
	mov 104(%rax), %r13
	mov 112(%rax), %r14
	mov 120(%rax), %r15
	mov (%rax), %rax
	stc
1:	dec %rax
	jnz 1b
	mov %rax, scratch(%rip)
	mov pointer(%rip), %rax
	lea 8 * 16(%rax), %rax
	setc 8 * 16(%rax)
	mov %rbx, 8(%rax)
	mov %rcx, 16(%rax)
	mov %rdx, 24(%rax)
	mov %rsi, 32(%rax)
	mov %rdi, 40(%rax)
	mov %rbp, 48(%rax)
	mov %rsp, 56(%rax)
	mov %r8, 64(%rax)
	mov %r9, 72(%rax)
	mov %r10, 80(%rax)
	mov %r11, 88(%rax)
	mov %r12, 96(%rax)
	mov %r13, 104(%rax)
	mov %r14, 112(%rax)
	mov %r15, 120(%rax)
	mov scratch(%rip), %rbx
	mov %rbx, (%rax)
	mov stack(%rip), %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size spin, . - spin

	.bss
	.balign 8
pointer:
	.skip 8
stack:
	.skip 8
scratch:
	.skip 8

	.section .note.GNU-stack, "", @progbits
