/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_UKL_H
#define _UAPI_LINUX_UKL_H

#include <linux/types.h>

#define UKL_MARKER_MAGIC	"\177UKL"
#define UKL_MARKER_VERSION	1

/* Exceptions and interrupts return to the application without IRET. */
#define UKL_MARKER_RET		0x1

/* All defined flags */
#define UKL_MARKER_FLAGS	UKL_MARKER_RET

#define UKL_NAME_SIZE		32
#define UKL_BUILD_ID_SIZE	20

/**
 * struct ukl_marker - content of a file whose execve() starts an application
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

#endif /* _UAPI_LINUX_UKL_H */
