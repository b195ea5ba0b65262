# SPDX-License-Identifier: GPL-2.0
"""Profiles a running guest: samples are taken in the guest, unwound and named on the host."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ukl.app import rewritten
from ukl.base.errors import UklError
from ukl.base.model import Mode
from ukl.base.resources import path as resource
from ukl.debug import lines, samples
from ukl.debug.mapped import Space
from ukl.debug.samples import Names, Profile
from ukl.debug.unwind import Code, Program
from ukl.elf.reader import Elf
from ukl.guest import build as guest_build
from ukl.host.store import Store, digest
from ukl.vm import control, execute
from ukl.vm.install import DIRECTORY, install_file
from ukl.vm.registry import Record, Registry, State, effective

SAMPLER = "profile"
FREQUENCY = 99
"""Samples per second. 99 avoids lockstep with activity at 100 Hz."""

_MAPS = r"""
readlink /proc/{pid}/exe
sed -n 's,^.* r-xp [^/]*\(/.*\),\1,p' /proc/{pid}/maps | sort -u |
while read -r file; do stat -L -c '%s %n' "$file"; done 2>/dev/null
echo; cat /proc/{pid}/maps
"""
"""Prints the path of a program; size and path of each file that it has mapped; all mappings."""

_PROCESS = re.compile(r"/proc/(\d+)/(?:task/\d+/)?comm:(.*)")
_PARENT = re.compile(r"/proc/(\d+)/stat:\d+ \(.*\) \S (\d+) ")


@dataclass(frozen=True, slots=True)
class Recording:
    """A profile: stacks, the number of samples, and the number of further samples lost."""

    guest: str
    stacks: Counter[tuple[str, ...]]
    samples: int
    lost: int


def record(
    guests: Registry, name: str, store: Store, seconds: float, frequency: int = FREQUENCY
) -> Recording:
    """Sample a guest for some seconds, or until Ctrl-C. UklError if it does not run."""
    entry = guests.get(name)
    if (state := effective(entry)) is not State.RUNNING:
        raise control.not_running(entry, state)
    if entry.images.vmlinux is None or not entry.images.vmlinux.exists():
        raise UklError(f"the kernel of {name} is not in the cache any more")
    program = guest_build.program(SAMPLER, resource("guest/tools"), [f"{SAMPLER}.c"], [], store)
    sampler = f"{DIRECTORY}/{SAMPLER}-{digest(program)[:12]}"
    install_file(guests, name, program, sampler)
    command = (sampler, str(frequency), f"{seconds:g}")
    with tempfile.TemporaryFile() as out:
        streams = execute.Streams(None, out.fileno())
        code = execute.in_guest(guests, name, command, streams=streams)
        if code != 0:
            raise UklError(f"{name}: sampling failed with status {code}")
        out.seek(0, os.SEEK_SET)
        profile = samples.parse(out.read())
    names = _names(guests, entry, entry.images.vmlinux, profile, store)
    stacks = _plain(samples.folded(profile.samples, names))
    return Recording(name, stacks, len(profile.samples), profile.lost)


def _plain(stacks: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """Return stacks with demangled names of C++ and Rust."""
    plain = lines.demangle({name for frames in stacks for name in frames})
    found: Counter[tuple[str, ...]] = Counter()
    for frames, count in stacks.items():
        found[tuple(plain.get(name, name).replace(";", ",") for name in frames)] += count
    return found


def _names(
    guests: Registry, record: Record, vmlinux: Path, profile: Profile, store: Store
) -> Names:
    kernel = Elf.open(vmlinux)
    offset = profile.text - kernel.addresses(["_stext"]).get("_stext", profile.text)
    _, output = execute.captured(
        guests, record.name, ("sh", "-c", "grep -H '' /proc/[0-9]*/comm /proc/[0-9]*/stat")
    )
    processes, parents = parse_processes(output.decode("utf-8", "replace"))
    whole = Program(kernel, offset)
    own: Code | None = None
    program = record.images.program
    if program is not None and program.exists():
        elf = Elf.open(program)
        if record.given.mode is Mode.PROCESS and elf.kind == "ET_EXEC":
            own = Program(elf)
        elif record.life.pid is not None:
            own = _mapped(guests, record.name, record.life.pid, program, whole, store=store)
    return Names(processes, family(record.life.pid, parents), whole, own)


def _mapped(
    guests: Registry, name: str, pid: int, program: Path, vmlinux: Program, *, store: Store
) -> Space:
    """Return the files that the application has mapped, as far as this machine has the same."""
    _, output = execute.captured(guests, name, ("sh", "-c", _MAPS.format(pid=pid)))
    head, _, maps = output.decode("utf-8", "replace").partition("\n\n")
    first, *lines = head.splitlines() or [""]
    sizes = {path: int(size) for size, _, path in (line.partition(" ") for line in lines)}

    def opened(path: str) -> Elf | None:
        file = program if path == first else Path(path)
        if not file.is_file():
            return None
        for form in rewritten.forms(file, store):
            if form.is_file() and form.stat().st_size == sizes.get(path):
                return Elf.open(form)
        return None  # another file of this name: that of a container image

    return Space(maps, opened, vmlinux)


def parse_processes(text: str) -> tuple[dict[int, str], dict[int, int]]:
    """Return names and parents of processes, from grep's output on /proc. Pure."""
    names = {int(pid): comm for pid, comm in _PROCESS.findall(text)}
    parents = {int(pid): int(parent) for pid, parent in _PARENT.findall(text)}
    return names, parents


def family(application: int | None, parents: dict[int, int]) -> frozenset[int]:
    """Return the application's processes: itself and its descendants. Pure."""
    found = {application} if application is not None else set()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(pid for pid in found if pid is not None)


def table(profile: Recording, count: int = 30) -> list[str]:
    """Return the lines of a table of functions, sorted by share. Pure."""
    whole = max(1, profile.samples)
    lost = f", {profile.lost} more were lost" if profile.lost else ""
    lines = [f"{profile.guest}: {profile.samples} samples{lost}", "    SELF   TOTAL  FUNCTION"]
    for each in samples.shares(profile.stacks)[:count]:
        kernel = each.function.endswith("_[k]")
        name = each.function.removesuffix("_[k]")
        lines.append(
            f"{100 * each.own / whole:>7.1f}%{100 * each.total / whole:>7.1f}%  "
            f"{'k' if kernel else 'a'} {name}"
        )
    return lines
