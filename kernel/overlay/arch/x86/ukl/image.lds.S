/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The application's data: part of vmlinux.lds.S, in its init data.
 *
 * It is linked at addresses in the user half, near enough for the 32-bit
 * relocations of -mcmodel=kernel to reach, and its initial content is stored in
 * the image: the VMA is low, the LMA is in the image, as for per-CPU data.
 *
 * The content is an ELF file, whose header is in template.S. Its pages are mapped
 * read-only up to __ukl_rw_start, private and writable from there, and up to
 * .ukl.data read-only again once the C library has started (RELRO).
 *
 * The data begins at 4 MiB and the offset that the image has within 2 MiB: were
 * the two different, the alignment of PT_LOAD segments would cost 2 MiB of file.
 */
#define UKL_DATA_BASE	0x400000
#define UKL_AT(sec)	AT(__ukl_image_lma + ADDR(sec) - __ukl_ro_start)

	. = ALIGN(PAGE_SIZE);
	__ukl_image = .;
	__ukl_image_lma = ABSOLUTE(. - LOAD_OFFSET);
	__ukl_ro_start = ABSOLUTE(UKL_DATA_BASE +
				  (__ukl_image & (HPAGE_SIZE - 1)));
	.ukl.ro __ukl_ro_start : UKL_AT(.ukl.ro) {
		KEEP(*(.ukl.hdr))
		*(.ukl.rodata)
		*(.ukl.eh_frame)
		. = ALIGN(8);
		__rela_iplt_start = .;
		*(.rela.iplt)
		__rela_iplt_end = .;
		__ukl_ro_end = .;
	} :ukl
	. = ALIGN(PAGE_SIZE);
	__ukl_rw_start = .;
	.ukl.tdata : UKL_AT(.ukl.tdata) {
		*(.ukl.tdata)
		__ukl_tdata_end = .;
	} :ukl :ukl_tls
	.ukl.tbss : UKL_AT(.ukl.tbss) {
		*(.ukl.tbss)
		__ukl_tbss_end = .;
	} :ukl :ukl_tls
	.ukl.relro : UKL_AT(.ukl.relro) {
		*(.ukl.relro)
	} :ukl
	.ukl.got : UKL_AT(.ukl.got) {
		*(.got) *(.igot) *(.got.plt) *(.igot.plt)
	} :ukl
	. = ALIGN(PAGE_SIZE);
	.ukl.data : UKL_AT(.ukl.data) {
		__ukl_data_start = .;
		*(.ukl.data)
		. = ALIGN(16);
		__ukl_data_end = .;
	} :ukl
	.ukl.bss (NOLOAD) : UKL_AT(.ukl.bss) {
		*(.ukl.bss)
		. = ALIGN(16);
		__ukl_bss_end = .;
	} :NONE
	__ukl_ro_size = ABSOLUTE(__ukl_ro_end - __ukl_ro_start);
	__ukl_rw_offset = ABSOLUTE(__ukl_rw_start - __ukl_ro_start);
	__ukl_rw_filesz = ABSOLUTE(__ukl_data_end - __ukl_rw_start);
	__ukl_rw_memsz = ABSOLUTE(__ukl_bss_end - __ukl_rw_start);
	__ukl_tls_filesz = ABSOLUTE(__ukl_tdata_end - __ukl_rw_start);
	__ukl_tls_memsz = ABSOLUTE(__ukl_tbss_end - __ukl_rw_start);
	__ukl_tls_align = ABSOLUTE(MAX(ALIGNOF(.ukl.tdata), ALIGNOF(.ukl.tbss)));
	__ukl_relro_size = ABSOLUTE(__ukl_data_start - __ukl_rw_start);
	__ukl_image_size = ABSOLUTE(__ukl_data_end - __ukl_ro_start);
	ASSERT(__ukl_bss_end <= __ukl_text_start - LOAD_OFFSET,
	       "UKL: application data out of reach of text: increase CONFIG_PHYSICAL_START")
	ASSERT(SIZEOF(.ukl.got) <= 0x18 || DEFINED(ukl_app_start),
	       "Unexpected GOT/PLT entries detected!")
	. = __ukl_image + __ukl_image_size;
