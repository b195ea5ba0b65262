/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The applications' text, after the kernel's: included in vmlinux.lds.S.
 *
 * A frame is from application mode if its RIP is between __ukl_text_start and
 * __ukl_text_end. The jump from ukl_syscall() to the kernel follows
 * immediately.
 *
 * scripts/link-vmlinux.sh generates .tmp_ukl_text.lds from app-text.lds.
 *
 * In front of it are the entries of the applications' kernel functions, which
 * are kernel text.
 */
#include <asm/ukl_fast.h>

	.ukl.functions : AT(ADDR(.ukl.functions) - LOAD_OFFSET) {
		. = ALIGN(UKL_FUNCTION_SLOT);
		__ukl_functions_start = .;
		*(.ukl.functions.text)
		__ukl_functions_end = .;
		__ukl_functions = .;
		*(.ukl.functions)
	} :text = 0xcccccccc

	. = ALIGN(PAGE_SIZE);
	.ukl.text : AT(ADDR(.ukl.text) - LOAD_OFFSET) {
		__ukl_text_start = .;
		INCLUDE .tmp_ukl_text.lds
		. = ALIGN(16);
		__ukl_stubs_start = .;
		__ukl_iplt_start = .;
		*(.iplt)
		__ukl_iplt_end = .;
		*(.ukl.text.clock)
		__ukl_entry_start = .;
		*(.ukl.text.entry)
		__ukl_text_end = .;
		*(.ukl.text.leave)
		__ukl_leave_end = .;
		. = ALIGN(PAGE_SIZE);
	} :text = 0xcccccccc
