/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entries into the kernel with all registers given, and the landing place of forged
 * frames. They return %cs, of the ring in which they have arrived.
 */
	.text

/* A system call with arbitrary registers that does return */
	.macro entry name, insn:vararg
	.globl \name
	.type \name, @function
\name:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, enter_sp(%rip)
	pushq 8 * 16(%rdi)
	mov 8 * 0(%rdi), %rax
	mov 8 * 1(%rdi), %rbx
	mov 8 * 2(%rdi), %rcx
	mov 8 * 3(%rdi), %rdx
	mov 8 * 4(%rdi), %rsi
	mov 8 * 6(%rdi), %rbp
	mov 8 * 8(%rdi), %r8
	mov 8 * 9(%rdi), %r9
	mov 8 * 10(%rdi), %r10
	mov 8 * 11(%rdi), %r11
	mov 8 * 12(%rdi), %r12
	mov 8 * 13(%rdi), %r13
	mov 8 * 14(%rdi), %r14
	mov 8 * 15(%rdi), %r15
	popfq
	push 8 * 7(%rdi)
	mov 8 * 5(%rdi), %rdi
	pop %rsp
	\insn
	mov enter_sp(%rip), %rsp
	pushq $0x202
	popfq
	mov %cs, %eax
	movzwl %ax, %eax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size \name, . - \name
	.endm

	entry enter_syscall, syscall
	entry enter_int80, int $0x80
	entry enter_sysenter, sysenter

/* void enter_sigreturn(const void *frame): as if a handler had returned to this frame */
	.globl enter_sigreturn
	.type enter_sigreturn, @function
enter_sigreturn:
	mov %rdi, %rsp
	mov $15, %eax
	syscall
	hlt
	.size enter_sigreturn, . - enter_sigreturn

/* The landing place of frames: no register has a known value. */
	.globl landing
	.type landing, @function
landing:
	mov %cs, %eax
	mov landing_sp(%rip), %rsp
	pushq $0x202
	popfq
	movzwl %ax, %edi
	call landed
	hlt
	.size landing, . - landing

	.bss
	.balign 8
enter_sp:
	.zero 8
	.globl landing_sp
landing_sp:
	.zero 8

	.section .note.GNU-stack, "", @progbits
