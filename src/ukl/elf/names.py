# SPDX-License-Identifier: GPL-2.0
"""Symbols of a rewritten application that others know too."""

SYSCALL = "ukl_syscall"

RESTART = "ukl_syscall_restart"
"""The kernel's, where an interrupted call begins anew; weak: a normal program has none."""

PLAIN = "ukl_syscall_plain"
"""The normal program's ukl_syscall, by a name that the kernel does not have; weak."""

STUBS = "ukl_call_stubs"
"""Made by the partial link, and put around the stubs when they are there."""
