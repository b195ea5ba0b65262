/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Part of every UKL application: registers the call frame information with the
 * unwinder.
 *
 * In a static program the unwinder finds it by PT_GNU_EH_FRAME and the PT_LOAD
 * segment that contains the program counter. The text of a UKL application is
 * kernel text, which is in none of the application's own program headers. So
 * register the table, as crtbeginT.o does. (That file is not position
 * independent and cannot be linked into the kernel.)
 */
	.text
	.type	ukl_register_eh_frame, @function
ukl_register_eh_frame:
	.cfi_startproc
	/*
	 * Weak: a program that does not use libgcc_eh.a cannot unwind, and must
	 * not pull it in.
	 */
	.weak	__register_frame_info
	movq	$__register_frame_info, %rax
	testq	%rax, %rax
	jz	1f
	movq	$__ukl_eh_frame_start, %rdi
	movq	$unwind_object, %rsi
	jmp	*%rax
1:	ret
	.cfi_endproc
	.size	ukl_register_eh_frame, . - ukl_register_eh_frame

	/* Priorities up to 100 are the implementation's and run first. */
	.section .init_array.00000, "aw"
	.balign	8
	.quad	ukl_register_eh_frame

	/*
	 * dl_iterate_phdr(), as the program calls it. The C library knows the program
	 * headers of the data alone. Before these, report an object without a name, which
	 * stands for the executable, with a PT_LOAD segment for the text. Its addresses are
	 * those in the executable, where user.lds puts the text at FILE_TEXT. A normal
	 * process has its text in the C library's headers.
	 *
	 * link-app.sh makes ld call this function (--wrap) if the program uses the other.
	 */
#define FILE_TEXT	0x401000
	.text
	.globl	__wrap_dl_iterate_phdr
	.type	__wrap_dl_iterate_phdr, @function
__wrap_dl_iterate_phdr:
	.cfi_startproc
	movq	$__executable_start, %rax
	testq	%rax, %rax
	jns	1f
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	subq	$88, %rsp
	.cfi_adjust_cfa_offset 88
	movq	%rdi, %rbx
	movq	%rsi, %rbp
	/* struct dl_phdr_info up to dlpi_phnum, whose size tells the callback so */
	leaq	-FILE_TEXT(%rax), %rcx
	movq	%rcx, (%rsp)
	movq	$no_name, 8(%rsp)
	leaq	32(%rsp), %rcx
	movq	%rcx, 16(%rsp)
	movq	$1, 24(%rsp)
	/* Elf64_Phdr: PT_LOAD, PF_R | PF_X; nothing of it is in the file */
	movabsq	$0x500000001, %rcx
	movq	%rcx, 32(%rsp)
	movq	$0, 40(%rsp)
	movq	$FILE_TEXT, 48(%rsp)
	movq	$FILE_TEXT, 56(%rsp)
	movq	$0, 64(%rsp)
	movq	$__etext, %rcx
	subq	%rax, %rcx
	movq	%rcx, 72(%rsp)
	movq	$4096, 80(%rsp)
	movq	%rsp, %rdi
	movl	$32, %esi
	movq	%rbp, %rdx
	call	*%rbx
	movq	%rbx, %rdi
	movq	%rbp, %rsi
	addq	$88, %rsp
	.cfi_adjust_cfa_offset -88
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	testl	%eax, %eax
	jnz	2f
	/* Weak: only there if the program uses it */
	.weak	__real_dl_iterate_phdr
1:	movq	$__real_dl_iterate_phdr, %rax
	jmp	*%rax
2:	ret
	.cfi_endproc
	.size	__wrap_dl_iterate_phdr, . - __wrap_dl_iterate_phdr

	.section .rodata
no_name:
	.byte	0

	/*
	 * Only here because the first input of .ukl.relro determines the
	 * section type, which must not be INIT_ARRAY.
	 */
	.section .data.rel.ro.local, "aw", @progbits
	.balign	8
	.quad	__ukl_eh_frame_start

	/*
	 * Space for libgcc's "struct object": six words in GCC 12, at most
	 * eight in any version so far.
	 */
	.local	unwind_object
	.comm	unwind_object, 16 * 8, 8

	.section .note.GNU-stack, "", @progbits
