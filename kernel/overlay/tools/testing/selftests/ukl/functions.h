/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UKL_FUNCTIONS_H
#define UKL_FUNCTIONS_H

/*
 * Kernel functions in arch/x86/ukl/test.c. They are weak, because a kernel
 * without CONFIG_UKL_TEST does not have them.
 */
#define KERNEL_FUNCTION(name)					\
	asm(".pushsection .text\n\t"				\
	    ".weak ukl_import_" #name "\n\t"			\
	    ".globl kernel_" #name "\n\t"			\
	    ".type kernel_" #name ", @function\n"		\
	    "kernel_" #name ":\n\t"				\
	    "leaq ukl_import_" #name "(%rip), %r10\n\t"	\
	    "jmp ukl_call\n\t"					\
	    ".popsection")

struct pair {
	unsigned long low, high;
};

KERNEL_FUNCTION(ukl_test_digits);
KERNEL_FUNCTION(ukl_test_pair);
KERNEL_FUNCTION(ukl_test_wait);
KERNEL_FUNCTION(ukl_test_read);

unsigned long kernel_ukl_test_digits(unsigned long a, unsigned long b, unsigned long c,
				     unsigned long d, unsigned long e, unsigned long f);
struct pair kernel_ukl_test_pair(unsigned long low);
long kernel_ukl_test_wait(unsigned long ms);
long kernel_ukl_test_read(const unsigned long *from);

#endif /* UKL_FUNCTIONS_H */
