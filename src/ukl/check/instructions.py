# SPDX-License-Identifier: GPL-2.0
"""Machine code: system-call sites, and instructions that behave differently in ring 0."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ukl.base.model import SyscallCounts
from ukl.check.model import Finding, Subject, finding
from ukl.check.unit import Place, Unit
from ukl.syscalls.disassemble import Kind
from ukl.syscalls.rewritable import Site, Way

ARCH_PRCTL = 158
ARCH_SET_GS = "0x1001"

_HALTS = frozenset({"_start", "ukl_app_start", "check_one_fd", "__libc_check_standard_fds"})
"""Functions in which glibc executes `hlt` if even exit() returns."""


def sites(subject: Subject) -> Iterator[tuple[Unit, int, Site]]:
    """Yield each `syscall` instruction with its unit and its section's number."""
    for unit in subject.units:
        for number, sweep in unit.sweeps.items():
            for site in sweep.sites:
                yield unit, number, site


def counts(subject: Subject) -> SyscallCounts:
    """Return the number of sites of each kind."""
    ways = Counter(site.way for _, _, site in sites(subject))
    return SyscallCounts(ways[Way.IN_PLACE], ways[Way.STUB] + ways[Way.COPY], ways[Way.KEEP])


def findings(subject: Subject) -> Iterator[Finding]:
    """Yield the findings about single instructions."""
    yield from _syscalls(subject)
    notes: dict[str, list[Place]] = defaultdict(list)
    texts: dict[str, set[str]] = defaultdict(set)
    for unit in subject.units:
        for number, sweep in unit.sweeps.items():
            for note in sweep.notes:
                if note.kind is Kind.HALT:
                    known = note.function in _HALTS or note.function in subject.runtime
                    if known or not unit.place(number, note.address).function:
                        continue  # in code without symbols it is most likely in _start
                    rule = "privileged"
                else:
                    rule = note.kind.value
                notes[rule].append(unit.place(number, note.address))
                texts[rule].add(note.text)
    for rule, places in notes.items():
        shown = sorted(texts[rule])
        more = f" and {len(shown) - 4} others" if len(shown) > 4 else ""
        yield finding(rule, places, ", ".join(f"`{text}`" for text in shown[:4]) + more)
    places = [place for unit in subject.units for place in _set_gs(unit)]
    if places:
        yield finding("set-gs", list(dict.fromkeys(places)))


def _syscalls(subject: Subject) -> Iterator[Finding]:
    found = counts(subject)
    total = found.in_place + found.stub + found.kept
    if not total:
        return
    text = (
        f"{total} sites: {found.in_place} become a call in place, "
        f"{found.stub} through a stub, {found.kept} are kept"
    )
    yield finding("syscalls", (), text, count=total)
    kept: dict[str, list[Place]] = defaultdict(list)
    for unit, number, site in sites(subject):
        if site.way is Way.KEEP:
            kept[site.reason].append(unit.place(number, site.address))
    for reason, places in sorted(kept.items()):
        yield finding("syscall-kept", places, reason)


def _set_gs(unit: Unit) -> Iterator[Place]:
    wanted = [
        (number, site.address)
        for number, sweep in unit.sweeps.items()
        for site in sweep.sites
        if site.number == ARCH_PRCTL
    ]
    names = {"arch_prctl", "__arch_prctl", "syscall"}
    wanted += [(item.section, item.address) for item in unit.references(names)]
    for section, address in wanted:
        for _, _, mnemonic, operands in unit.function(section, address):
            if mnemonic == "mov" and operands in {f"edi, {ARCH_SET_GS}", f"esi, {ARCH_SET_GS}"}:
                yield unit.place(section, address)
                break
