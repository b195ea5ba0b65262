# SPDX-License-Identifier: GPL-2.0
"""The environment of a measurement: machine, tools, versions."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from ukl import __version__
from ukl.base import resources
from ukl.base.errors import UklError
from ukl.base.model import HostCaps
from ukl.host import exec as host_exec


def gather(caps: HostCaps) -> dict[str, object]:
    """Return the current environment, for a measurement."""
    release = platform.freedesktop_os_release()
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "ukl": __version__,
        "commit": _commit(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "system": release.get("PRETTY_NAME", ""),
        "host kernel": platform.release(),
        "accelerator": caps.accelerator.value,
        "qemu": ".".join(map(str, caps.qemu_version or ())),
        "compiler": host_exec.version("gcc"),
        "linker": host_exec.version("ld"),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
    }


def differing(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the names of the values that differ, except those that may. Pure."""
    may_differ = {"date", "load", "commit", "ukl", "kernels"}
    names = [name for name in dict.fromkeys([*before, *after]) if name not in may_differ]
    return [name for name in names if before.get(name) != after.get(name)]


def _commit() -> str:
    """Return the commit that is checked out, with `-dirty` if files differ; "": no checkout."""
    top = resources.checkout()
    if top is None:
        return ""
    with contextlib.suppress(UklError):
        argv = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return host_exec.run(argv, cwd=top, timeout=20).stdout.strip()
    return ""


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
