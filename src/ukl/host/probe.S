/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest that tries an accelerator: firmware code, linked at 0xff000 of the
 * ROM that QEMU maps below 1 MiB, entered in real mode from the reset vector.
 *
 * It goes to 64-bit mode with paging, doubles sixteen bytes by an SSE2
 * instruction, writes them to the debug port and ends QEMU. The vector
 * instruction is there because a KVM without hardware support can interpret
 * simple code, and then fails in the middle of a kernel's boot.
 *
 * probe.py carries the assembled bytes; tests/tool assembles this and compares.
 */
	.set	DEBUGCON, 0xe9
	.set	EXIT, 0xf4
	.set	EXIT_VALUE, 0x21
	.set	BUFFER, 0x5000

	.text
	.globl	_start
	.code16
_start:
	cli
	lgdtl	%cs:gdt_pointer - 0xf0000
	movl	%cr0, %eax
	orb	$1, %al				/* PE */
	movl	%eax, %cr0
	ljmpl	$8, $protected

	.code32
protected:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$0x2003, 0x1000			/* PML4 -> PDPT -> PD -> 2 MiB, 1:1 */
	movl	$0x3003, 0x2000
	movl	$0x0083, 0x3000
	movl	$0x1000, %eax
	movl	%eax, %cr3
	movl	$0x620, %eax			/* PAE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx		/* EFER */
	rdmsr
	orl	$0x100, %eax			/* LME */
	wrmsr
	movl	%cr0, %eax
	andl	$~0x4, %eax			/* EM */
	orl	$0x80000002, %eax		/* PG, MP */
	movl	%eax, %cr0
	ljmpl	$24, $long_mode

	.code64
long_mode:
	movdqu	nonce(%rip), %xmm0
	paddb	%xmm0, %xmm0
	movl	$BUFFER, %esi
	movdqu	%xmm0, (%rsi)
	movl	$16, %ecx
	movl	$DEBUGCON, %edx
	cld
	rep outsb
	movb	$EXIT_VALUE, %al
	outb	%al, $EXIT
1:	hlt
	jmp	1b

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9a000000ffff		/* 8: 32-bit code */
	.quad	0x00cf92000000ffff		/* 16: data */
	.quad	0x00af9a000000ffff		/* 24: 64-bit code */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt
	.balign	16, 0
nonce:						/* sixteen bytes follow */
