/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Description of an application that is linked into the kernel.
 * scripts/link-vmlinux.sh assembles this file for each application, with
 * UKL_APP_NAME and UKL_APP_INDEX defined, and links the result with the object
 * that CONFIG_UKL_APP names.
 *
 * The application's data is linked at user addresses and stored in the image as
 * an ELF executable without text, which execve() of that file maps. This is the
 * header of the file; see image.lds.S and app-*.lds for the rest.
 */
#include <linux/elf-em.h>

/* From <linux/elf.h>, which cannot be included from assembly */
#define ELFCLASS64	2
#define ELFDATA2LSB	1
#define EV_CURRENT	1
#define ELFOSABI_NONE	0
#define ET_EXEC		2
#define PT_LOAD		1
#define PT_TLS		7
#define PT_GNU_STACK	0x6474e551
#define PT_GNU_RELRO	0x6474e552
#define PF_W		2
#define PF_R		4
#define EHDR_SIZE	64	/* sizeof(Elf64_Ehdr) */
#define PHDR_SIZE	56	/* sizeof(Elf64_Phdr) */

#if !defined(UKL_APP_NAME) || !defined(UKL_APP_INDEX)
#error "UKL_APP_NAME and UKL_APP_INDEX are not defined"
#endif

/* A symbol of this application, defined in app-*.lds */
#define __OWN(index, name)	__ukl_ ## index ## _ ## name
#define _OWN(index, name)	__OWN(index, name)
#define OWN(name)		_OWN(UKL_APP_INDEX, name)

	.section .ukl.hdr, "a"
	.balign	64
	.globl	ukl_ehdr_start
ukl_ehdr_start:
	.byte	0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE
	.quad	0
	.word	ET_EXEC, EM_X86_64
	.long	EV_CURRENT
	.quad	ukl_app_start			/* e_entry */
	.quad	EHDR_SIZE			/* e_phoff */
	.quad	0				/* e_shoff */
	.long	0				/* e_flags */
	.word	EHDR_SIZE, PHDR_SIZE, (phdrs_end - phdrs) / PHDR_SIZE
	.word	0, 0, 0				/* no section headers */
phdrs:
	.long	PT_LOAD, PF_R
	.quad	0, OWN(ro_start), OWN(ro_start)
	.quad	OWN(ro_size), OWN(ro_size), 4096

	.long	PT_LOAD, PF_R | PF_W
	.quad	OWN(common_offset), __ukl_common_start, __ukl_common_start
	.quad	__ukl_common_size, __ukl_common_size, 4096

	.long	PT_LOAD, PF_R | PF_W
	.quad	OWN(rw_offset), OWN(rw_start), OWN(rw_start)
	.quad	OWN(rw_size), OWN(rw_size), 4096

	.long	PT_LOAD, PF_R | PF_W
	.quad	0, OWN(bss_start), OWN(bss_start)
	.quad	0, OWN(bss_size), 4096

	.long	PT_TLS, PF_R
	.quad	OWN(common_offset), __ukl_common_start, __ukl_common_start
	.quad	__ukl_tls_filesz, __ukl_tls_memsz, __ukl_tls_align

	/* Read-only after the C library has started */
	.long	PT_GNU_RELRO, PF_R
	.quad	0, OWN(relro_start), OWN(relro_start)
	.quad	OWN(relro_size), OWN(relro_size), 1

	.long	PT_GNU_STACK, PF_R | PF_W
	.quad	0, 0, 0, 0, 0, 16
phdrs_end:

	/* struct ukl_app_info */
	.section .ukl.apps, "a"
	.balign	8
name:
	.asciz	UKL_APP_NAME
	.if . - name > 32
	.error	"the application's name is longer than 31 characters"
	.endif
	.skip	32 - (. - name)
	.quad	OWN(text_start), OWN(text_end)
	.quad	__ukl_image, __ukl_low_start
	.quad	OWN(ro_start), OWN(ro_size)
	.quad	__ukl_common_start, __ukl_common_size
	.quad	OWN(rw_start), OWN(rw_size)
	.quad	__rela_iplt_start, __rela_iplt_end

	.section .note.GNU-stack, "", @progbits
