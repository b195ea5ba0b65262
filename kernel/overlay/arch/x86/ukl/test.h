/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_TEST_H
#define _ARCH_X86_UKL_TEST_H

/*
 * Functions that the selftests call from application mode.
 */
#include <linux/compiler_types.h>

struct ukl_test_pair {
	unsigned long low, high;
};

unsigned long ukl_test_digits(unsigned long a, unsigned long b, unsigned long c,
			      unsigned long d, unsigned long e, unsigned long f);
struct ukl_test_pair ukl_test_pair(unsigned long low);
long ukl_test_wait(unsigned long ms);
long ukl_test_read(const unsigned long __user *from);

#endif /* _ARCH_X86_UKL_TEST_H */
