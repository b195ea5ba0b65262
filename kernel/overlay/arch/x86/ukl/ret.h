/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_RET_H
#define _ARCH_X86_UKL_RET_H

/* Size of the red zone, see System V ABI for x86-64, 3.2.2 */
#define UKL_RED_ZONE		128

/* Distance from the application's stack pointer to the flags for POPF */
#define UKL_RET_OFFSET		(UKL_RED_ZONE + 2 * 8)

#endif /* _ARCH_X86_UKL_RET_H */
