/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The applications' text, behind the kernel's: part of vmlinux.lds.S.
 *
 * A frame is application mode's if its RIP is between __ukl_text_start and
 * __ukl_text_end. The way from ukl_syscall() to the kernel comes right behind.
 *
 * .tmp_ukl_text.lds is made by scripts/link-vmlinux.sh, from app-text.lds.
 */
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
