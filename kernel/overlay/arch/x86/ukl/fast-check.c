// SPDX-License-Identifier: GPL-2.0
/* Compile-time checks of the assumptions in fast.S. */
#include <linux/build_bug.h>

/* Without the wrappers, <linux/syscalls.h> declares these names. */
#undef CONFIG_ARCH_HAS_SYSCALL_WRAPPER
#include <linux/syscalls.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>
#include <asm/unistd.h>

/* A call with another number of arguments does not compile. */
#define ZEROS_0
#define ZEROS_1		0
#define ZEROS_2		0, 0
#define ZEROS_3		0, 0, 0
#define ZEROS_4		0, 0, 0, 0
#define ZEROS_5		0, 0, 0, 0, 0
#define ZEROS_6		0, 0, 0, 0, 0, 0

#define UKL_ARGS(sym, n) static_assert(sizeof(sym(ZEROS_##n)) == sizeof(long));
#define UKL_BASE(sym)
#include "fast-args.h"

static_assert(UKL_FAST_CALLS >= NR_syscalls);
