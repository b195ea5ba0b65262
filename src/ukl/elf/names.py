# SPDX-License-Identifier: GPL-2.0
"""Symbols of a rewritten application that other parts of ukl and the kernel use."""

SYSCALL = "ukl_syscall"

RESTART = "ukl_syscall_restart"
"""The kernel's code that restarts an interrupted call; weak: a normal program lacks it."""

PLAIN = "ukl_syscall_plain"
"""The normal program's ukl_syscall, under a name that the kernel does not have; weak."""

STUBS = "ukl_call_stubs"
"""Symbol of the stubs: the partial link defines it, rewriting sets its range."""

FAST = "ukl_syscall_fast"
"""The kernel's entry that preserves the same registers as the SYSCALL instruction."""

FAST_RETURN = "ukl_fast_ret"
"""Return address of a fast call that took the slow path; weak."""

CALL = "ukl_call"
"""The kernel's entry that calls a kernel function; weak: a normal program lacks it."""

IMPORT = "ukl_import_"
"""Prefix of a weak name for a kernel function: the rest is the function's name, and the
finished object uses that. In a normal program the name is null."""

OWN = "ukl_kernel_"
"""Prefix of a weak name for the entry of the application's own kernel function. In a normal
program the name is null."""

OFFERED = frozenset(
    {
        "ukl_socket_open",
        "ukl_socket_close",
        "ukl_socket_send",
        "ukl_socket_recv",
        "ukl_socket_poll",
        "ukl_page_entry",
        "ukl_rdmsr",
        "ukl_wrmsr",
        "ukl_run_to_completion",
    }
)
"""Functions of arch/x86/ukl/shortcut.c, which a kernel may lack: ukl.h has replacements."""

FAST_NUMBERS = range(512)
"""Numbers of system calls that have a direct entry, fast_entry(), in every kernel."""


def fast_entry(number: int) -> str:
    """Return the name of the kernel's direct entry for one system call."""
    return f"ukl_fast_{number}"


SHORT = {
    3: ("close",),
    4: ("stat",),
    5: ("fstat",),
    6: ("lstat",),
    12: ("brk",),
    11: ("munmap",),
    21: ("access",),
    22: ("pipe",),
    24: ("sched_yield", "yield"),
    32: ("dup",),
    33: ("dup2",),
    35: ("nanosleep",),
    37: ("alarm",),
    39: ("getpid",),
    48: ("shutdown",),
    50: ("listen",),
    62: ("kill",),
    74: ("fsync",),
    75: ("fdatasync",),
    77: ("ftruncate", "ftruncate64"),
    95: ("umask",),
    96: ("gettimeofday",),
    98: ("getrusage",),
    100: ("times",),
    102: ("getuid",),
    104: ("getgid",),
    107: ("geteuid",),
    108: ("getegid",),
    110: ("getppid",),
    111: ("getpgrp",),
    112: ("setsid",),
    162: ("sync",),
    186: ("gettid",),
    200: ("tkill",),
    201: ("time",),
    218: ("set_tid_address",),
    228: ("clock_gettime",),
    229: ("clock_getres",),
    283: ("timerfd_create",),
    287: ("timerfd_gettime",),
    290: ("eventfd2",),
    291: ("epoll_create1",),
    293: ("pipe2",),
}
"""System calls of fewer than three arguments, whose direct entries do not preserve rdx, and the
C library's functions that consist of such a call and, by their prototypes, return one register.
arch/x86/ukl/fast-args.h has the numbers of arguments."""
