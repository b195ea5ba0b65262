# SPDX-License-Identifier: GPL-2.0
"""The `hlt` instructions with which C libraries end a program that must not go on.

In a process they raise SIGSEGV. In ring 0 the processor waits for an interrupt and goes on: after
abort() in a process that ignores signals (PID 1), and, with musl, after a corrupted heap or stack
was found. An instruction of the same size that is invalid in 64-bit mode raises SIGILL instead.

Only the libraries' own functions are changed, which are compiled from C: there a `hlt` of the
disassembly is no data. In others it is the program's, and is executed.
"""

from __future__ import annotations

from ukl.syscalls.disassemble import Kind, Sweep

HALT = b"\xf4"
INVALID = b"\x06"
"""PUSH ES: "invalid in 64-bit mode" (Intel SDM, volume 2, appendix A, one-byte opcode map)."""

_GLIBC = frozenset({"abort", "_exit", "check_one_fd", "__start_context"})
_MALLOC = """
    __libc_free __libc_malloc_impl __libc_realloc __malloc_allzerop __malloc_donate alloc_slot
    aligned_alloc free get_meta malloc_usable_size nontrivial_free realloc
"""
_MUSL = frozenset(_MALLOC.split()) | {"__asctime_r", "__init_libc", "__init_tls"}
_MUSL |= {"__stack_chk_fail", "pthread_timedjoin_np"}
FUNCTIONS = _GLIBC | _MUSL
"""Functions of glibc 2.36 and musl 1.2.3 with a `hlt` (objdump -d libc.a)."""


def places(found: Sweep) -> tuple[int, ...]:
    """Return the addresses of the instructions to replace. Pure."""
    return tuple(
        note.address
        for note in found.notes
        if note.kind is Kind.HALT and note.function in FUNCTIONS
    )
