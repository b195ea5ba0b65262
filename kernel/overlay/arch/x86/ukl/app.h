/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_APP_H
#define _ARCH_X86_UKL_APP_H

#include <linux/types.h>
#include <uapi/linux/ukl.h>

/**
 * struct ukl_app_info - an application in this kernel, as template.S describes it
 * @name:	its name, NUL-terminated
 * @image:	the ELF file without text that holds its initial data
 * @size:	size of @image in bytes
 */
struct ukl_app_info {
	char		name[UKL_NAME_SIZE];
	const void	*image;
	u64		size;
};

/* In init data, like @image: gone after boot. */
extern const struct ukl_app_info __ukl_apps_start[], __ukl_apps_end[];

#endif /* _ARCH_X86_UKL_APP_H */
