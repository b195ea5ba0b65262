/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The application's text, behind the kernel's: part of vmlinux.lds.S.
 *
 * A frame is application mode's if its RIP is between __ukl_text_start and
 * __ukl_text_end. The way from ukl_syscall() to the kernel comes right behind.
 */
	. = ALIGN(PAGE_SIZE);
	.ukl.text : AT(ADDR(.ukl.text) - LOAD_OFFSET) {
		__ukl_text_start = .;
		*(.ukl.text)
		*(.iplt)
		*(.ukl.text.entry)
		__ukl_text_end = .;
		*(.ukl.text.leave)
		__ukl_leave_end = .;
		. = ALIGN(PAGE_SIZE);
	} :text = 0xcccccccc
