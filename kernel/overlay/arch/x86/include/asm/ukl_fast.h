/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_UKL_FAST_H
#define _ASM_X86_UKL_FAST_H

/*
 * The entries of fast system calls, see arch/x86/ukl/fast.S: one per number, each
 * in a slot of its own; then those of calls of functions, and a last one that looks
 * the number of a system call up in rax.
 */
#define UKL_FAST_CALLS		512
#define UKL_FAST_FUNCTION	512
#define UKL_FAST_SLOW_FUNCTION	513
#define UKL_FAST_ANY		514
#define UKL_FAST_SLOT		160

#ifndef __ASSEMBLER__

#include <linux/types.h>

struct pt_regs;

#ifdef CONFIG_UKL

extern const char ukl_fast_calls[], ukl_fast_calls_end[];

/* For each entry, how far behind its start the way back begins. */
extern const u16 ukl_fast_tails[];

/* Where application mode calls the kernel, and returns to: see stub.S. */
extern const char ukl_syscall[], ukl_call[], ukl_fast_ret[];

/* A call of a function that keeps the caller's flags. */
extern const char ukl_call_slow[];

/* Is @ip in an entry of a fast system call? */
static __always_inline bool ukl_fast_address(unsigned long ip)
{
	return ip - (unsigned long)ukl_fast_calls <
	       (unsigned long)ukl_fast_calls_end - (unsigned long)ukl_fast_calls;
}

bool ukl_fast_singlestep(struct pt_regs *regs);

#else /* !CONFIG_UKL */

static __always_inline bool ukl_fast_singlestep(struct pt_regs *regs)
{
	return false;
}

#endif /* CONFIG_UKL */

#endif /* __ASSEMBLER__ */
#endif /* _ASM_X86_UKL_FAST_H */
