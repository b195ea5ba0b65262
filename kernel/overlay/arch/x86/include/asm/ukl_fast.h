/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_UKL_FAST_H
#define _ASM_X86_UKL_FAST_H

/*
 * Entries of fast system calls, see arch/x86/ukl/fast.S: one slot per number,
 * two slots for function calls, and a last one for a system call whose number
 * is in rax.
 */
#define UKL_FAST_CALLS		512
#define UKL_FAST_FUNCTION	512
#define UKL_FAST_SLOW_FUNCTION	513
#define UKL_FAST_ANY		514
#define UKL_FAST_SLOT		160

/* Size of the entry of an application's own kernel function, see function.S */
#define UKL_FUNCTION_SLOT	128

#ifndef __ASSEMBLER__

#include <linux/types.h>

struct pt_regs;

#ifdef CONFIG_UKL

extern const char ukl_fast_calls[], ukl_fast_calls_end[];

/* For each entry, the offset of the code that returns to the application */
extern const u16 ukl_fast_tails[];

/*
 * An entry of an application's own kernel function, see function.S: the function, as
 * a distance from this field, and the offset of the code that returns to the application
 */
struct ukl_function {
	s32 function;
	u32 tail;
};

/* These entries, linked by text.lds.S, and a description of each */
extern const char __ukl_functions_start[], __ukl_functions_end[];
extern const struct ukl_function __ukl_functions[];

/*
 * Functions that application mode calls, and the return address in completed
 * frames of fast calls: see stub.S
 */
extern const char ukl_syscall[], ukl_call[], ukl_fast_ret[];

/* Function call that saves the caller's flags */
extern const char ukl_call_slow[];

/* Is @ip in the entry of a fast call? */
static __always_inline bool ukl_fast_address(unsigned long ip)
{
	return ip - (unsigned long)ukl_fast_calls <
	       (unsigned long)ukl_fast_calls_end - (unsigned long)ukl_fast_calls;
}

/* The entry of an application's kernel function that contains @ip, or NULL */
static __always_inline const struct ukl_function *ukl_function_entry(unsigned long ip)
{
	unsigned long offset = ip - (unsigned long)__ukl_functions_start;

	if (offset >= (unsigned long)__ukl_functions_end - (unsigned long)__ukl_functions_start)
		return NULL;
	return &__ukl_functions[offset / UKL_FUNCTION_SLOT];
}

bool ukl_fast_singlestep(struct pt_regs *regs);
bool ukl_rewind_call(struct pt_regs *regs);
void ukl_return_to_user_half(struct pt_regs *regs);

#else /* !CONFIG_UKL */

static __always_inline bool ukl_fast_singlestep(struct pt_regs *regs)
{
	return false;
}

#endif /* CONFIG_UKL */

#endif /* __ASSEMBLER__ */
#endif /* _ASM_X86_UKL_FAST_H */
