# SPDX-License-Identifier: GPL-2.0
"""What the kernels of the boot tests have; as a program it builds them, before any test."""

from __future__ import annotations

import contextlib

from ukl.base.errors import MissingError
from ukl.base.progress import Progress
from ukl.flow import kernel
from ukl.flow.context import Context
from ukl.host.store import Store

FULL = {
    f"CONFIG_{name}": "y"
    for name in (
        # For tools/testing/selftests/ukl.
        *("DEBUG_FS", "UKL_TEST"),
        # What Linux can do to, and for, a process beyond the base configuration.
        *("CGROUPS", "MEMCG", "CGROUP_PIDS", "CPUSETS"),
        *("CGROUP_SCHED", "FAIR_GROUP_SCHED", "CFS_BANDWIDTH"),
        *("NAMESPACES", "UTS_NS", "IPC_NS", "PID_NS", "NET_NS", "USER_NS", "TIME_NS"),
        *("SWAP", "BLK_DEV_RAM", "HUGETLBFS", "USERFAULTFD", "KSM", "CHECKPOINT_RESTORE"),
        *("X86_MCE", "MEMORY_FAILURE"),
        # Doors into the kernel that normal processes try, and that look at its text.
        *("MODIFY_LDT_SYSCALL", "KPROBES", "FTRACE", "KPROBE_EVENTS", "BPF_SYSCALL"),
        # Off at boot where an application is linked in, on processors that have them.
        *("X86_FRED", "X86_KERNEL_IBT", "X86_USER_SHADOW_STACK"),
        # The kernel's own checks of its entry code.
        *("DEBUG_KERNEL", "DEBUG_ENTRY"),
        # Its unit tests, which run if the command line says so.
        *("KUNIT", "KUNIT_DEBUGFS", "UKL_KUNIT_TEST"),
    )
} | {"CONFIG_KUNIT_DEFAULT_ENABLED": "n"}
"""Options of the kernel for what takes more than the base configuration, which the others use."""


def main() -> None:
    """Build both, and what normal processes are measured on beside ours."""
    context = Context(Store.default(), Progress())
    # The tests skip, or fail where nothing may be skipped, for want of the same tool.
    with contextlib.suppress(MissingError):
        kernel.build(kernel.Wanted(), context)
        kernel.build(kernel.Wanted(FULL), context)
        kernel.build(kernel.Wanted(patched=False), context)


if __name__ == "__main__":
    main()
