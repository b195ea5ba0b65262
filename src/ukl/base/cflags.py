# SPDX-License-Identifier: GPL-2.0
"""Compiler options for code that runs in the kernel and in a normal process.

This module imports nothing: the compiler wrapper loads it at each start.
"""

NO_RED_ZONE = ("-mno-red-zone",)
"""An interrupt in ring 0 must not find live data below the stack pointer when a call
replaces the syscall instruction."""

KERNEL_MODEL = (
    # Text in the top 2 GiB, data in the bottom 2 GiB: sign-extended 32-bit
    # addresses reach both.
    "-mcmodel=kernel",
    "-fno-pic",
    "-fno-pie",
)
"""Not for position-independent code: compilers reject the combination."""

CANARY = (
    # With the kernel model, compilers read the canary from %gs, which is the kernel's.
    "-mstack-protector-guard=tls",
    "-mstack-protector-guard-reg=fs",
    "-mstack-protector-guard-offset=40",
)

NO_LTO = ("-fno-lto",)
"""The partial link reads machine code."""

UKL_FLAGS = (*NO_RED_ZONE, *KERNEL_MODEL, *CANARY, *NO_LTO)
"""These come last on the command line, so they override the others."""
