/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_UKL_H
#define _LINUX_UKL_H

#include <linux/types.h>

struct file;
struct linux_binprm;
struct mm_struct;
struct page;
struct pt_regs;
struct vm_area_struct;

#ifdef CONFIG_UKL

#include <asm/ukl.h>

bool ukl_mm(const struct mm_struct *mm);
bool ukl_binprm(const struct linux_binprm *bprm);
bool ukl_linked_binprm(const struct linux_binprm *bprm);
struct file *ukl_exe_file(const struct linux_binprm *bprm);
void ukl_inherit(struct linux_binprm *bprm);
void ukl_begin_exec(struct linux_binprm *bprm);
void ukl_release_binprm(struct linux_binprm *bprm);
int ukl_may_execute(const struct file *file, bool written, unsigned long vm_flags);
bool ukl_may_write_text(const struct mm_struct *mm);
void ukl_setup_additional_pages(void);
void ukl_start_thread(struct pt_regs *regs);
struct page *ukl_text_page(unsigned long addr);
struct vm_area_struct *ukl_text_vma(struct mm_struct *mm);
int ukl_read_text(struct mm_struct *mm, unsigned long addr, void *buf, int len);

#else

#define ukl_own_code(ip)	false

static inline bool ukl_mm(const struct mm_struct *mm)
{
	return false;
}

static inline bool ukl_binprm(const struct linux_binprm *bprm)
{
	return false;
}

static inline bool ukl_linked_binprm(const struct linux_binprm *bprm)
{
	return false;
}

static inline void ukl_inherit(struct linux_binprm *bprm)
{
}

#define ukl_exe_file(bprm)	((bprm)->file)

static inline void ukl_begin_exec(struct linux_binprm *bprm)
{
}

static inline void ukl_release_binprm(struct linux_binprm *bprm)
{
}

static inline int ukl_may_execute(const struct file *file, bool written,
				  unsigned long vm_flags)
{
	return 0;
}

/* A constant, which changes no object */
#define ukl_may_write_text(mm)	true

static inline void ukl_setup_additional_pages(void)
{
}

static inline void ukl_start_thread(struct pt_regs *regs)
{
}

static inline struct page *ukl_text_page(unsigned long addr)
{
	return NULL;
}

static inline struct vm_area_struct *ukl_text_vma(struct mm_struct *mm)
{
	return NULL;
}

static inline int ukl_read_text(struct mm_struct *mm, unsigned long addr,
				void *buf, int len)
{
	return 0;
}

#endif /* CONFIG_UKL */
#endif /* _LINUX_UKL_H */
