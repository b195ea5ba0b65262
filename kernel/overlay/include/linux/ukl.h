/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_UKL_H
#define _LINUX_UKL_H

#include <linux/types.h>

struct file;
struct linux_binprm;
struct pt_regs;

#ifdef CONFIG_UKL

bool ukl_binprm(const struct linux_binprm *bprm);
struct file *ukl_exe_file(const struct linux_binprm *bprm);
void ukl_start_thread(struct pt_regs *regs);

#else

static inline bool ukl_binprm(const struct linux_binprm *bprm)
{
	return false;
}

static inline struct file *ukl_exe_file(const struct linux_binprm *bprm)
{
	return NULL;
}

static inline void ukl_start_thread(struct pt_regs *regs)
{
}

#endif /* CONFIG_UKL */
#endif /* _LINUX_UKL_H */
