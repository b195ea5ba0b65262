/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Entry point of an application with `populate`: locks its memory, then jumps to
 * the application's own entry point, with the stack that the kernel set up.
 *
 * The C library has not run yet. Sections have the names of the partial link.
 */

#define NR_WRITE		1
#define NR_MLOCKALL		151
#define NR_EXIT_GROUP		231

#define MCL_CURRENT		1
#define MCL_FUTURE		2

#define STDERR			2
#define NOT_EXECUTED		126

	/* For debuggers only: crtend.o has already terminated .eh_frame. */
	.cfi_sections .debug_frame

	.section .ukl.text, "ax", @progbits
	.balign 16
	.globl ukl_app_populated
	.type ukl_app_populated, @function
ukl_app_populated:
	.cfi_startproc
	.cfi_undefined %rip
	mov	$NR_MLOCKALL, %eax
	mov	$(MCL_CURRENT | MCL_FUTURE), %edi
	syscall
	neg	%eax
	jz	ukl_app_start

	/* mlockall() returns no error of more than two digits. */
	mov	$10, %cl
	div	%cl
	add	%ax, digits
	mov	$NR_WRITE, %eax
	mov	$STDERR, %edi
	mov	$message, %rsi
	mov	$(message_end - message), %edx
	syscall
	mov	$NR_EXIT_GROUP, %eax
	mov	$NOT_EXECUTED, %edi
	syscall
	ud2
	.cfi_endproc
	.size ukl_app_populated, . - ukl_app_populated

	.section .ukl.data, "aw", @progbits
message:
	.ascii "populate: mlockall() failed with errno "
digits:
	.ascii "00: it takes CAP_IPC_LOCK, or a larger RLIMIT_MEMLOCK\n"
message_end:

	.section .note.GNU-stack, "", @progbits
