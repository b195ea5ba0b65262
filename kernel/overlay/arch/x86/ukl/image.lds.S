/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The applications' data: included in vmlinux.lds.S, in init data.
 *
 * It is linked at addresses in the user half that the 32-bit relocations of
 * -mcmodel=kernel can reach, and its initial content is stored in the image:
 * the VMA is low and the LMA is in the image, as for per-CPU data. Each
 * application has its own addresses, so that one link can place them all.
 *
 * exec.c copies the content of each application to a file in ELF format, whose
 * header is in template.S. The file has three pieces that start at page
 * boundaries:
 *
 *	ro	header, constants, unwind tables
 *	common	what the linker creates once for all applications: the initial
 *		thread-local data, the GOT, the relocations of indirect
 *		functions. All applications have it at the same address.
 *	rw	data, beginning with the part that becomes read-only after the
 *		C library has started (RELRO)
 *
 * The bss of all applications comes last, because it takes no space in the
 * image.
 *
 * The data starts at 4 MiB plus the offset of the image within 2 MiB. With
 * different offsets the alignment of PT_LOAD segments would add 2 MiB to the
 * file. A compact kernel accepts that, because it has little space below its
 * text.
 *
 * scripts/link-vmlinux.sh generates the files .tmp_ukl_*.lds from app-*.lds.
 */
#ifdef CONFIG_UKL_COMPACT
#define UKL_DATA_BASE	0x400000
#else
#define UKL_DATA_BASE	(0x400000 + (__ukl_image & (HPAGE_SIZE - 1)))
#endif
#define UKL_AT(sec)	AT(__ukl_image_lma + ADDR(sec) - __ukl_low_start)

	. = ALIGN(PAGE_SIZE);
	__ukl_image = .;
	__ukl_image_lma = ABSOLUTE(. - LOAD_OFFSET);
	__ukl_low_start = ABSOLUTE(UKL_DATA_BASE);
	. = __ukl_low_start;
	INCLUDE .tmp_ukl_ro.lds

	. = ALIGN(PAGE_SIZE);
	__ukl_common_start = .;
	.ukl.tdata : UKL_AT(.ukl.tdata) {
		*(.ukl.tdata)
		__ukl_tdata_end = .;
	} :ukl :ukl_tls
	.ukl.tbss : UKL_AT(.ukl.tbss) {
		*(.ukl.tbss)
		__ukl_tbss_end = .;
	} :ukl :ukl_tls
	.ukl.got : UKL_AT(.ukl.got) {
		*(.got) *(.igot) *(.got.plt) *(.igot.plt)
	} :ukl
	.ukl.rela : UKL_AT(.ukl.rela) {
		. = ALIGN(8);
		__rela_iplt_start = .;
		*(.rela.iplt)
		__rela_iplt_end = .;
		__ukl_common_end = .;
		/*
		 * Without an application the segment would be empty. objcopy
		 * takes its section for the first of the next segment then.
		 */
		. += DEFINED(__ukl_0_ro_start) ? 0 : 24;
	} :ukl
	INCLUDE .tmp_ukl_rw.lds
	__ukl_low_end = .;
	INCLUDE .tmp_ukl_bss.lds

	__ukl_common_size = ABSOLUTE(__ukl_common_end - __ukl_common_start);
	__ukl_tls_filesz = ABSOLUTE(__ukl_tdata_end - __ukl_common_start);
	__ukl_tls_memsz = ABSOLUTE(__ukl_tbss_end - __ukl_common_start);
	__ukl_tls_align = ABSOLUTE(MAX(ALIGNOF(.ukl.tdata), ALIGNOF(.ukl.tbss)));
	ASSERT(. <= __ukl_text_start - LOAD_OFFSET,
	       "UKL: application data out of reach of text: increase CONFIG_PHYSICAL_START")
	ASSERT(SIZEOF(.ukl.got) <= 0x18 || DEFINED(__ukl_0_ro_start),
	       "Unexpected GOT/PLT entries detected!")
	. = __ukl_image + (__ukl_low_end - __ukl_low_start);
