/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Part of every UKL application: tells the unwinder where the call frame
 * information lies.
 *
 * A static program finds it through PT_GNU_EH_FRAME and the PT_LOAD segment
 * that contains the program counter. The text of a UKL application is kernel
 * text, which none of the application's own program headers describe, so the
 * table is registered, the way crtbeginT.o does. (That file is not position
 * independent and does not link into the kernel.)
 */
	.text
	.type	ukl_register_eh_frame, @function
ukl_register_eh_frame:
	.cfi_startproc
	/*
	 * Weak: a program that nothing pulls libgcc_eh.a into cannot unwind,
	 * and shall not grow for it.
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

	/* Up to priority 100 the implementation's: before C++'s constructors. */
	.section .init_array.00000, "aw"
	.balign	8
	.quad	ukl_register_eh_frame

	/*
	 * Nothing needs it, but the first input of .ukl.relro decides that
	 * section's type, which must not become INIT_ARRAY.
	 */
	.section .data.rel.ro.local, "aw", @progbits
	.balign	8
	.quad	__ukl_eh_frame_start

	/*
	 * Room for libgcc's "struct object": six words in GCC 12, eight at most
	 * in any version so far.
	 */
	.local	unwind_object
	.comm	unwind_object, 16 * 8, 8

	.section .note.GNU-stack, "", @progbits
