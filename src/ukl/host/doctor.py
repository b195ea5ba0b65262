# SPDX-License-Identifier: GPL-2.0
"""The findings of `ukl doctor`: what is installed, what is missing, and the remedies."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from enum import StrEnum

from ukl.base.errors import UklError
from ukl.base.model import Accelerator
from ukl.host import packages
from ukl.host.exec import version
from ukl.host.probe import kvm_remedy, memory_available, probe
from ukl.host.requirements import REQUIREMENTS, install_command
from ukl.host.store import FIRST_BUILD, Store, mount_point

MEMORY_NEEDED = 2 << 30
"""Bytes that the final link of a kernel and a guest take together."""

VERSIONED = frozenset(
    {"gcc", "g++", "clang", "ld", "make", "musl-gcc", "qemu-system-x86_64", "gdb"}
)
"""Tools whose versions are shown."""


class Level(StrEnum):
    """The severity of a finding; only MISSING keeps `ukl` from working."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `remedy` is empty if none is needed."""

    name: str
    level: Level
    detail: str
    remedy: str = ""
    package: str = ""


def examine(store: Store) -> list[Finding]:
    """Return the findings about this machine; tests KVM unless the result is in the cache."""
    return [*_tools(), _kvm(store), _disk(store), _memory(), _processors()]


def _tools() -> list[Finding]:
    findings = []
    for row in REQUIREMENTS:
        there = packages.is_there(row)
        level = Level.OK if there else Level.NOTE if row.optional else Level.MISSING
        remedy = "" if there else install_command(row.package)
        package = "" if there else row.package
        detail = row.purpose + (_version(row.tool) if there else "")
        findings.append(Finding(row.tool, level, detail, remedy, package))
    return findings


def _version(tool: str) -> str:
    """Return what a tool says about its version, for those that make or run what users see."""
    if tool not in VERSIONED:
        return ""
    try:
        return f": {version(tool)}"
    except UklError:
        return ", but does not say its version"


def _kvm(store: Store) -> Finding:
    caps = probe(store)
    if caps.accelerator is Accelerator.KVM:
        return Finding("KVM", Level.OK, "a tiny guest ran with it")
    note = " ".join(caps.notes)
    return Finding("KVM", Level.NOTE, note, kvm_remedy(note))


def _disk(store: Store) -> Finding:
    mount = mount_point(store.root)
    free = shutil.disk_usage(mount).free
    detail = f"{free / (1 << 30):.1f} GiB free on {mount}, where the cache {store.root} is"
    if free >= FIRST_BUILD:
        return Finding("disk", Level.OK, detail)
    return Finding(
        "disk",
        Level.NOTE,
        f"{detail}; a first build takes up to {FIRST_BUILD >> 30} GiB",
        "free some space, or set another directory with --cache-dir or UKL_CACHE_DIR",
    )


def _memory() -> Finding:
    available = memory_available()
    detail = f"{available / (1 << 30):.1f} GiB available"
    if available >= MEMORY_NEEDED:
        return Finding("memory", Level.OK, detail)
    return Finding(
        "memory",
        Level.NOTE,
        f"{detail}; a kernel build and a guest take up to {MEMORY_NEEDED >> 30} GiB",
        "end other programs, or add swap",
    )


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0))
    if platform.machine() != "x86_64":
        return Finding(
            "processor",
            Level.MISSING,
            f"{platform.machine()}: only x86_64 is supported",
            "use an x86_64 machine",
        )
    return Finding("processor", Level.OK, f"x86_64, {count} core{'s' if count > 1 else ''}")
