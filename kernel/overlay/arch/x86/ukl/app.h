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
 * @vaddr:	its address in the application
 * @size:	its size in bytes
 */
struct ukl_piece {
	u64	vaddr;
	u64	size;
};

/**
 * struct ukl_app_info - an application in this kernel, as defined by template.S
 * @name:	its name, NUL-terminated
 * @text:	start of its text
 * @text_end:	end of its text
 * @image:	the initial content of the data of all applications
 * @low:	the address of the start of @image in an application
 * @ro:		constants, after the header of the ELF file
 * @common:	data that the linker creates once for all applications
 * @rw:		initialized data
 * @rela:	start of the relocations of indirect functions, in @common
 * @rela_end:	end of these relocations
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

/* A vDSO image in the kernel's read-only data, see vdso.S */
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

/* Does the marker start with its magic? */
static inline bool ukl_marker_magic(const struct ukl_marker *marker)
{
	return !memcmp(marker->magic, UKL_MARKER_MAGIC, sizeof(marker->magic));
}

/* The marker in an ELF file that starts with @head, or NULL */
static inline const struct ukl_marker *ukl_elf_marker(const char *head)
{
	const struct ukl_marker_note *note;

	note = (const struct ukl_marker_note *)(head + sizeof(struct elf64_hdr));
	if (memcmp(head, ELFMAG, SELFMAG) || head[EI_CLASS] != ELFCLASS64 ||
	    note->name_size != sizeof(note->name) || note->size != sizeof(note->marker) ||
	    note->type != UKL_NOTE_MARKER ||
	    memcmp(note->name, UKL_NOTE_NAME, sizeof(note->name)))
		return NULL;
	return &note->marker;
}

/* UKL_MARKER_JIT needs UKL_MARKER_EXEC, and UKL_MARKER_WX needs UKL_MARKER_JIT. */
static inline bool ukl_flags_valid(u32 flags)
{
	return !(flags & ~UKL_MARKER_FLAGS) &&
	       (!(flags & UKL_MARKER_JIT) || (flags & UKL_MARKER_EXEC)) &&
	       (!(flags & UKL_MARKER_WX) || (flags & UKL_MARKER_JIT));
}

/* Is it a marker that this kernel understands? @size: size of the file without an ELF part */
static inline bool ukl_marker_valid(const struct ukl_marker *marker, loff_t size)
{
	return size == sizeof(*marker) && ukl_marker_magic(marker) &&
	       marker->version == UKL_MARKER_VERSION &&
	       ukl_flags_valid(marker->flags) &&
	       strnlen(marker->name, sizeof(marker->name)) < sizeof(marker->name);
}

/* The same for a marker file that names a program */
static inline bool ukl_program_marker_magic(const struct ukl_program_marker *marker)
{
	return !memcmp(marker->magic, UKL_PROGRAM_MAGIC, sizeof(marker->magic));
}

static inline bool ukl_program_marker_valid(const struct ukl_program_marker *marker,
					    loff_t size)
{
	return size == sizeof(*marker) && ukl_program_marker_magic(marker) &&
	       marker->version == UKL_MARKER_VERSION &&
	       ukl_flags_valid(marker->flags) && (marker->flags & UKL_MARKER_EXEC) &&
	       marker->path[0] == '/' &&
	       strnlen(marker->path, sizeof(marker->path)) < sizeof(marker->path);
}

/*
 * The linker creates a single table of relocations of indirect functions for
 * all applications, and the C library of each application applies the whole
 * table. Resolvers of other applications cannot run there. Replace their
 * relocations by one of the application itself, or clear them if it has none.
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

/* Let programs find the entries of fast system calls, see entries.c. */
void ukl_map_entries(void);

/* In init data like @image, freed after boot */
extern const struct ukl_app_info __ukl_apps_start[], __ukl_apps_end[];

#endif /* _ARCH_X86_UKL_APP_H */
