/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_UKL_H
#define _UAPI_LINUX_UKL_H

#include <linux/types.h>

#define UKL_MARKER_MAGIC	"\177UKL"
#define UKL_MARKER_VERSION	1

/* Exceptions and interrupts return to the application without IRET. */
#define UKL_MARKER_RET		0x1

/*
 * The application may execute files that it maps, such as shared objects. They must be
 * owned by root, not writable by group or others, and not on a nosuid mount.
 */
#define UKL_MARKER_EXEC		0x2

/* It may execute memory that it has written. Needs UKL_MARKER_EXEC. */
#define UKL_MARKER_JIT		0x4

/* It may execute memory while it is writable. Needs UKL_MARKER_JIT. */
#define UKL_MARKER_WX		0x8

/* Programs that it executes run at CPL 0, too, if their files have the same rules. */
#define UKL_MARKER_TREE		0x10

/* All defined flags */
#define UKL_MARKER_FLAGS	(UKL_MARKER_RET | UKL_MARKER_EXEC | UKL_MARKER_JIT | \
				 UKL_MARKER_WX | UKL_MARKER_TREE)

#define UKL_NAME_SIZE		32
#define UKL_BUILD_ID_SIZE	20

/**
 * struct ukl_marker - what a file contains whose execve() starts an application
 * @magic:	UKL_MARKER_MAGIC, without its terminating NUL
 * @version:	UKL_MARKER_VERSION, in the byte order of the CPU
 * @name:	name of the application, padded with NUL bytes, at least one
 * @build_id:	GNU build ID of the kernel that the application is linked into
 * @flags:	UKL_MARKER_*
 *
 * /sys/kernel/ukl/NAME/marker provides this content, with no flag set.
 */
struct ukl_marker {
	char	magic[4];
	__u32	version;
	char	name[UKL_NAME_SIZE];
	__u8	build_id[UKL_BUILD_ID_SIZE];
	__u32	flags;
};

#define UKL_NOTE_NAME		"UKL"
#define UKL_NOTE_MARKER		1

/**
 * struct ukl_marker_note - an ELF note with a marker
 * @name_size:	size of @name
 * @size:	size of @marker
 * @type:	UKL_NOTE_MARKER
 * @name:	UKL_NOTE_NAME
 * @marker:	the marker
 *
 * An ELF file with this note directly after its ELF header is a marker file, too. It can
 * contain what the application looks for in its executable, /proc/self/exe: symbols,
 * debug information, data.
 */
struct ukl_marker_note {
	__u32			name_size;
	__u32			size;
	__u32			type;
	char			name[4];
	struct ukl_marker	marker;
};

#define UKL_PROGRAM_MAGIC	"\177UKP"
#define UKL_PATH_SIZE		240

/**
 * struct ukl_program_marker - contents of a file whose execve() starts a program at CPL 0
 * @magic:	UKL_PROGRAM_MAGIC, without its terminating NUL
 * @version:	UKL_MARKER_VERSION, in the byte order of the CPU
 * @flags:	UKL_MARKER_*, with UKL_MARKER_EXEC
 * @path:	absolute path of the program, padded with NUL bytes, at least one
 */
struct ukl_program_marker {
	char	magic[4];
	__u32	version;
	__u32	flags;
	char	path[UKL_PATH_SIZE];
};

/*
 * Where code of programs at CPL 0 finds the entries of fast system calls: an array of
 * addresses, one for each number below UKL_ENTRY_ANY, and at UKL_ENTRY_ANY one for the
 * number in rax. It can be read at CPL 0 only. See Documentation/arch/x86/ukl.rst.
 */
#define UKL_ENTRIES		0xffffffffffa00000
#define UKL_ENTRY_ANY		512

/*
 * A function that jumps to such an entry can say where the system call is repeated after
 * a signal. In the four bytes before the function, in the byte order of the CPU, the
 * lowest byte is the distance from the function to a SYSCALL instruction followed by a
 * RET. The other bytes are UKL_STUB_MARK.
 */
#define UKL_STUB_MARK		0x4c4b5500

#endif /* _UAPI_LINUX_UKL_H */
