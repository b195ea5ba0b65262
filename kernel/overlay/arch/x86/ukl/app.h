/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_APP_H
#define _ARCH_X86_UKL_APP_H

#include <linux/elf.h>
#include <linux/string.h>
#include <linux/types.h>
#include <uapi/linux/time.h>
#include <uapi/linux/ukl.h>

struct getcpu_cache;
struct ms_hyperv_tsc_page;
struct pvclock_vsyscall_time_info;

/**
 * struct ukl_piece - a part of an application's data
 * @vaddr:	where the application has it
 * @size:	its size in bytes
 */
struct ukl_piece {
	u64	vaddr;
	u64	size;
};

/**
 * struct ukl_app_info - an application in this kernel, as template.S describes it
 * @name:	its name, NUL-terminated
 * @text:	its text
 * @text_end:	the end of that
 * @image:	the initial content of the data of all applications
 * @low:	the address that the start of @image has in an application
 * @ro:		constants, with the header of the ELF file in front
 * @common:	what the linker made for all applications together
 * @rw:		data that is not zero
 * @rela:	in @common, the relocations of indirect functions
 * @rela_end:	the end of those
 */
struct ukl_app_info {
	char			name[UKL_NAME_SIZE];
	const char		*text;
	const char		*text_end;
	const char		*image;
	u64			low;
	struct ukl_piece	ro;
	struct ukl_piece	common;
	struct ukl_piece	rw;
	u64			rela;
	u64			rela_end;
};

/* The image of a vDSO in the kernel's read-only data, see vdso.S. */
extern const char ukl_vdso[];

#ifdef CONFIG_PARAVIRT_CLOCK
extern struct pvclock_vsyscall_time_info *ukl_pvclock;
#endif
#ifdef CONFIG_HYPERV_TIMER
extern struct ms_hyperv_tsc_page *ukl_hvclock;
#endif

/* The functions of that image, in application text */
int ukl_clock_gettime(clockid_t clock, struct __kernel_timespec *ts);
int ukl_clock_getres(clockid_t clock, struct __kernel_timespec *res);
int ukl_gettimeofday(struct __kernel_old_timeval *tv, struct timezone *tz);
__kernel_old_time_t ukl_time(__kernel_old_time_t *t);
long ukl_getcpu(unsigned int *cpu, unsigned int *node, struct getcpu_cache *unused);

/* Does a file begin as a marker file does? */
static inline bool ukl_marker_magic(const struct ukl_marker *marker)
{
	return !memcmp(marker->magic, UKL_MARKER_MAGIC, sizeof(marker->magic));
}

/* Is it one that this kernel understands? @size: the file's */
static inline bool ukl_marker_valid(const struct ukl_marker *marker, loff_t size)
{
	return size == sizeof(*marker) && ukl_marker_magic(marker) &&
	       marker->version == UKL_MARKER_VERSION &&
	       !(marker->flags & ~UKL_MARKER_FLAGS) &&
	       strnlen(marker->name, sizeof(marker->name)) < sizeof(marker->name);
}

/*
 * The linker makes one table of the relocations of indirect functions for all
 * applications, and the C library of each applies all that it sees. Functions of
 * another cannot run in its place: let an own one take the place of each of those.
 */
static inline void ukl_own_rela(struct elf64_rela *start,
				const struct elf64_rela *end,
				unsigned long text, unsigned long text_end)
{
	const struct elf64_rela *own = NULL;
	struct elf64_rela *rela;

	for (rela = start; rela < end; rela++) {
		if (rela->r_addend >= text && rela->r_addend < text_end)
			own = rela;
	}
	for (rela = start; rela < end; rela++) {
		if (rela->r_addend >= text && rela->r_addend < text_end)
			continue;
		if (own)
			*rela = *own;
		else
			memset(rela, 0, sizeof(*rela));
	}
}

/* In init data, like @image: gone after boot. */
extern const struct ukl_app_info __ukl_apps_start[], __ukl_apps_end[];

#endif /* _ARCH_X86_UKL_APP_H */
