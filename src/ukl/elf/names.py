# SPDX-License-Identifier: GPL-2.0
"""Symbols of a rewritten application that others know too."""

SYSCALL = "ukl_syscall"

RESTART = "ukl_syscall_restart"
"""The kernel's, where an interrupted call begins anew; weak: a normal program has none."""

PLAIN = "ukl_syscall_plain"
"""The normal program's ukl_syscall, by a name that the kernel does not have; weak."""

STUBS = "ukl_call_stubs"
"""Made by the partial link, and put around the stubs when they are there."""

FAST = "ukl_syscall_fast"
"""The kernel's entry that keeps what the SYSCALL instruction keeps."""

FAST_RETURN = "ukl_fast_ret"
"""Where a fast call is found that had to go the whole way; weak."""

CALL = "ukl_call"
"""The kernel's entry that calls a function; weak: a normal program has none."""

IMPORT = "ukl_import_"
"""Prefix of a weak name that stands for the kernel's function of the rest of it. In the
finished object it is that; a normal program finds null."""

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
"""Functions of arch/x86/ukl/shortcut.c: ukl.h does without those that a kernel does not have."""

FAST_NUMBERS = range(512)
"""System calls that have an entry of their own, fast_entry(), in every kernel."""


def fast_entry(number: int) -> str:
    """Return the kernel's entry of one system call."""
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
"""System calls of fewer than three arguments, whose own entries do not keep rdx, and the
C library's functions that are such a call: they return one register, by their prototypes.
arch/x86/ukl/fast-args.h has the numbers of arguments."""
