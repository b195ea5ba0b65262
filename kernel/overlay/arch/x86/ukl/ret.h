/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_RET_H
#define _ARCH_X86_UKL_RET_H

/* What the way back by RET leaves alone below the stack pointer: psABI, 3.2.2 */
#define UKL_RED_ZONE		128

/* How far below the application's stack pointer POPF finds the flags. */
#define UKL_RET_OFFSET		(UKL_RED_ZONE + 2 * 8)

#endif /* _ARCH_X86_UKL_RET_H */
