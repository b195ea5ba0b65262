# SPDX-License-Identifier: GPL-2.0
"""Instructions per function, and per layer: a part of the kernel, or the application. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

Name = TypeVar("Name", str, tuple[str, str])

Place = tuple[str, str]
"""A layer and a function."""

Profile = Mapping[Place, float]
"""Instructions per request."""

APPLICATION = "application"
OTHER = "other programs"
"""What no part of the application or of the kernel is at: the vDSO, shared objects, init."""
REST = "rest of the kernel"

KERNEL = "_[k]"
"""Behind the name of a kernel function in a flame graph (debug/flames.py)."""

LAYERS: Mapping[str, tuple[str, ...]] = {
    "TCP/IP": ("net/ipv4/", "net/ipv6/"),
    "sockets": ("net/socket.o", "net/core/sock", "net/core/stream.o", "net/core/datagram.o"),
    "packets": ("net/",),
    "virtio": ("drivers/virtio/", "drivers/net/virtio_net.o"),
    "drivers": ("drivers/",),
    "epoll": ("fs/eventpoll.o", "fs/select.o", "fs/eventfd.o"),
    "io_uring": ("io_uring/",),
    "files": ("fs/", "block/"),
    "scheduler and locks": ("kernel/sched/", "kernel/locking/", "arch/x86/kernel/process"),
    "timers": (
        *("kernel/time/", "lib/timerqueue.o", "drivers/clocksource/"),
        *("arch/x86/kernel/apic/apic.o", "arch/x86/kernel/tsc.o", "arch/x86/kernel/kvmclock.o"),
    ),
    "interrupts": (
        "kernel/irq/",
        "kernel/softirq.o",
        "arch/x86/kernel/irq",
        "arch/x86/kernel/apic/",
    ),
    "RCU": ("kernel/rcu/",),
    "entry and exit": (
        *("arch/x86/entry/", "kernel/entry/", "arch/x86/ukl/"),
        *("kernel/context_tracking.o", "kernel/rseq.o"),
    ),
    "protections": ("arch/x86/lib/retpoline.o", "mm/usercopy.o"),
    "copies": (
        *("lib/iov_iter.o", "lib/usercopy.o", "arch/x86/lib/copy_"),
        *("arch/x86/lib/mem", "arch/x86/lib/usercopy"),
    ),
    "memory": ("mm/", "arch/x86/mm/"),
    "library": ("lib/", "arch/x86/lib/"),
    REST: ("",),
}
"""Layer -> the beginnings of its objects' paths in the kernel's build; the longest counts."""

_BY_PATH = sorted(
    ((begin, layer) for layer, begins in LAYERS.items() for begin in begins),
    key=lambda pair: -len(pair[0]),
)

SMALLEST = 0.01
"""The share of all instructions below which a function has no row of its own."""


def layer_of(path: str) -> str:
    """Return the layer of an object of the kernel's build."""
    return next(layer for begin, layer in _BY_PATH if path.startswith(begin))


def profile(instructions: Mapping[int, float], place: Callable[[int], Place]) -> Profile:
    """Return the sums by place of the instructions at each address."""
    found: dict[Place, float] = {}
    for address, number in instructions.items():
        at = place(address)
        found[at] = found.get(at, 0.0) + number
    return found


def mean(profiles: Iterable[Profile]) -> Profile:
    """Return the mean of profiles of the same requests."""
    every = list(profiles)
    places = dict.fromkeys(place for each in every for place in each)
    return {place: sum(each.get(place, 0.0) for each in every) / len(every) for place in places}


def _layers(found: Profile) -> dict[str, float]:
    sums: dict[str, float] = {}
    for (layer, _), number in found.items():
        sums[layer] = sums.get(layer, 0.0) + number
    return sums


def _columns(tables: Collection[Mapping[Name, float]]) -> list[tuple[Name, list[float]]]:
    """Return what is in any of the tables, with its number in each. The largest first."""
    names = dict.fromkeys(name for each in tables for name in each)
    found = [(name, [each.get(name, 0.0) for each in tables]) for name in names]
    return sorted(found, key=lambda pair: -max(pair[1]))


def _row(title: str, numbers: Iterable[float]) -> list[str]:
    return [title, *(f"{number:,.0f}" for number in numbers)]


def rows(profiles: Mapping[str, Profile]) -> list[list[str]]:
    """Return a table of variants: each layer, and below it its functions. The largest first."""
    whole = [sum(each.values()) for each in profiles.values()]
    functions = _columns(profiles.values())
    found = [["instructions", *profiles], _row("all", whole)]
    for layer, numbers in _columns([_layers(each) for each in profiles.values()]):
        if any(map(round, numbers)):
            found.append(_row(layer, numbers))
            found += [
                _row(f"  {name}", own)
                for (within, name), own in functions
                if within == layer
                and any(part >= SMALLEST * all_ for part, all_ in zip(own, whole, strict=True))
            ]
    return found


def stacks(found: Profile) -> dict[tuple[str, ...], int]:
    """Return the stacks of a flame graph: a layer, and in it a function."""
    return {
        (layer, function)
        if layer in {APPLICATION, OTHER}
        else (layer + KERNEL, function + KERNEL): round(number)
        for (layer, function), number in found.items()
        if round(number) > 0
    }


def file_name(suite: str, row: str, variant: str) -> str:
    """Return the name of a flame graph."""
    words = re.sub(r"[^\w]+", "-", row).strip("-")
    return f"{suite}-{words}-{variant}.svg"
