/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The image that AT_SYSINFO_EHDR points to in application mode: a shared object
 * with the symbols of a vDSO, but without text. The symbol values are offsets
 * from the image to functions in application text, see clock.c, which an
 * application can call directly.
 *
 * C libraries read the image in place, in the kernel's read-only data. It has no
 * DT_SONAME: dl_iterate_phdr() would report that string in place, and a system call
 * that takes its address, such as open(), fails with EFAULT.
 */
#include <linux/elf-em.h>
#include <linux/linkage.h>

/* From <linux/elf.h>, which cannot be included from assembly */
#define ELFCLASS64	2
#define ELFDATA2LSB	1
#define EV_CURRENT	1
#define ELFOSABI_NONE	0
#define ET_DYN		3
#define PT_LOAD		1
#define PT_DYNAMIC	2
#define PF_X		1
#define PF_R		4
#define EHDR_SIZE	64	/* sizeof(Elf64_Ehdr) */
#define PHDR_SIZE	56	/* sizeof(Elf64_Phdr) */
#define SYM_SIZE	24	/* sizeof(Elf64_Sym) */
#define DT_NULL		0
#define DT_HASH		4
#define DT_STRTAB	5
#define DT_SYMTAB	6
#define DT_STRSZ	10
#define DT_SYMENT	11
#define DT_VERSYM	0x6ffffff0
#define DT_VERDEF	0x6ffffffc
#define DT_VERDEFNUM	0x6ffffffd
#define VER_FLG_BASE	1
#define FUNC_INFO	0x12	/* STB_GLOBAL, STT_FUNC */

/* System V hash of the name, see the gABI */
#define HASH_LINUX_2_6	0x03ae75f6
#define HASH_SONAME	0x0deebfa1

	.section .rodata, "a"
	.balign 64
SYM_DATA_START(ukl_vdso)
	.byte	0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE
	.quad	0
	.word	ET_DYN, EM_X86_64
	.long	EV_CURRENT
	.quad	0				/* e_entry */
	.quad	EHDR_SIZE			/* e_phoff */
	.quad	0				/* e_shoff */
	.long	0				/* e_flags */
	.word	EHDR_SIZE, PHDR_SIZE, 2
	.word	0, 0, 0				/* no section headers */

	.long	PT_LOAD, PF_R | PF_X
	.quad	0, 0, 0, .Lend - ukl_vdso, .Lend - ukl_vdso, 4096
	.long	PT_DYNAMIC, PF_R
	.quad	.Ldynamic - ukl_vdso, .Ldynamic - ukl_vdso, .Ldynamic - ukl_vdso
	.quad	.Ldynamic_end - .Ldynamic, .Ldynamic_end - .Ldynamic, 8

	.balign 8
.Ldynamic:
	.quad	DT_HASH, .Lhash - ukl_vdso
	.quad	DT_STRTAB, .Lstrings - ukl_vdso
	.quad	DT_SYMTAB, .Lsymbols - ukl_vdso
	.quad	DT_STRSZ, .Lstrings_end - .Lstrings
	.quad	DT_SYMENT, SYM_SIZE
	.quad	DT_VERSYM, .Lversions - ukl_vdso
	.quad	DT_VERDEF, .Lverdef - ukl_vdso
	.quad	DT_VERDEFNUM, 2
	.quad	DT_NULL, 0
.Ldynamic_end:

	/* One bucket, with all symbols in its chain */
.Lhash:
	.long	1, 6
	.long	1
	.long	0, 2, 3, 4, 5, 0

.macro FUNCTION name function
	.long	\name - .Lstrings
	.byte	FUNC_INFO, 0
	.word	1
	.quad	\function - ukl_vdso
	.quad	0
.endm
	.balign 8
.Lsymbols:
	.skip	SYM_SIZE
	FUNCTION .Lclock_gettime ukl_clock_gettime
	FUNCTION .Lgettimeofday ukl_gettimeofday
	FUNCTION .Ltime ukl_time
	FUNCTION .Lclock_getres ukl_clock_getres
	FUNCTION .Lgetcpu ukl_getcpu

	/* All symbols have the second version that .Lverdef defines. */
.Lversions:
	.word	0, 2, 2, 2, 2, 2

	.balign 4
.Lverdef:
	.word	1, VER_FLG_BASE, 1, 1
	.long	HASH_SONAME, 20, 28
	.long	.Lsoname - .Lstrings, 0
	.word	1, 0, 2, 1
	.long	HASH_LINUX_2_6, 20, 0
	.long	.Llinux - .Lstrings, 0

.Lstrings:
	.byte	0
.Lsoname:
	.asciz	"linux-vdso.so.1"
.Llinux:
	.asciz	"LINUX_2.6"
.Lclock_gettime:
	.asciz	"__vdso_clock_gettime"
.Lgettimeofday:
	.asciz	"__vdso_gettimeofday"
.Ltime:
	.asciz	"__vdso_time"
.Lclock_getres:
	.asciz	"__vdso_clock_getres"
.Lgetcpu:
	.asciz	"__vdso_getcpu"
.Lstrings_end:
.Lend:
SYM_DATA_END(ukl_vdso)
