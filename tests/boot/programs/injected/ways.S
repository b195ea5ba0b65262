/* SPDX-License-Identifier: GPL-2.0 */
/*
 * void by_call(struct state *state)
 * void by_syscall(struct state *state)
 * void by_fault(struct state *state)
 * void by_fast_call(struct state *state)
 * void by_fast_number(struct state *state)
 *
 * Load all general registers but rsp, the red zone and the carry flag from
 * state->in; enter the kernel; store their values after that to state->out. The order:
 * rax rbx rcx rdx rsi rdi rbp r8..r15, flags, eight words of red zone.
 */
	.text

	.macro way name, enter:vararg
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, %rax
	mov %rdi, pointer(%rip)

	.set i, 0
	.rept 8
	mov 8 * (16 + i)(%rax), %rbx
	mov %rbx, -8 * (1 + i)(%rsp)
	.set i, i + 1
	.endr

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
	stc
	\enter

	mov %rax, scratch(%rip)
	mov pointer(%rip), %rax
	lea 8 * 24(%rax), %rax
	setc 8 * 15(%rax)
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
	mov scratch(%rip), %rbx
	mov %rbx, (%rax)

	.set i, 0
	.rept 8
	mov -8 * (1 + i)(%rsp), %rbx
	mov %rbx, 8 * (16 + i)(%rax)
	.set i, i + 1
	.endr

	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.cfi_endproc
	.size \name, . - \name
	.endm

	way by_call, call ukl_syscall
	way by_syscall, syscall
	way by_fast_call, call ukl_fast_110
	way by_fast_number, call ukl_syscall_fast
	way by_fault, movb $7, (%rdi)

	.bss
	.balign 8
pointer:
	.skip 8
scratch:
	.skip 8

	.section .note.GNU-stack, "", @progbits
