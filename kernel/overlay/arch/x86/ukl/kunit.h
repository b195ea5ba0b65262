/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_KUNIT_H
#define _ARCH_X86_UKL_KUNIT_H

/* A function with an entry like those of an application, see kunit-entry.S */
void ukl_kunit_function(void);
extern const char ukl_kernel_ukl_kunit_function[];

#endif /* _ARCH_X86_UKL_KUNIT_H */
