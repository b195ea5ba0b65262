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
