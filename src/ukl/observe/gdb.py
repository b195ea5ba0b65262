# SPDX-License-Identifier: GPL-2.0
"""gdb on a running guest: QEMU's stub, and the symbols where this boot has put them.

KASLR moves the kernel, and the application's text with it; the application's data stays in
the user half. The guest need not answer for that to be found: an entry of the interrupt
descriptor table, read by way of QEMU, points to a function of the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ukl.base.errors import UklError
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec
from ukl.vm import control
from ukl.vm.registry import Record, Registry

GDB = "gdb"
OBJCOPY = "objcopy"

VECTOR, HANDLER = 2, "asm_exc_nmi"
"""A vector of the interrupt descriptor table, and what it points to. It has to be one with a stack
of its own: an application's address space has other gates for the rest (arch/x86/ukl/gate.S)."""

GATE_SIZE = 16
"""Bytes (Intel SDM vol. 3, 6.14.1)."""

KERNEL_HALF = 1 << 63

_IDT = re.compile(r"^IDT=\s*([0-9a-f]+)", re.MULTILINE)
_WORDS = re.compile(r"0x([0-9a-f]{16})")

SHN_LORESERVE = 0xFF00


# --- where things are; pure ---------------------------------------------------------


def idt_base(registers: str) -> int:
    """Return the address of the descriptor table in QEMU's `info registers`."""
    found = _IDT.search(registers)
    if found is None:
        raise UklError("QEMU does not tell where the interrupt descriptor table is")
    return int(found[1], 16)


def gate_dump(table: int) -> str:
    """Return the command of QEMU's monitor that shows the gate of VECTOR."""
    return f"x /2gx {table + VECTOR * GATE_SIZE:#x}"


def handler(dump: str) -> int:
    """Return the address in a gate descriptor, dumped as two words (Intel SDM vol. 3, 6.14.1)."""
    words = [int(word, 16) for word in _WORDS.findall(dump)]
    if len(words) != 2:
        raise UklError(
            "the guest's interrupt descriptor table cannot be read",
            remedy="it may not have booted far enough yet: try it again",
        )
    low, high = words
    return low & 0xFFFF | low >> 32 & 0xFFFF0000 | (high & 0xFFFFFFFF) << 32


def moved(elf: Elf, offset: int) -> dict[str, int]:
    """Return the addresses of vmlinux' sections when the kernel half is moved by `offset`."""
    return {
        section.name: section.address + (offset if section.address >= KERNEL_HALF else 0)
        for section in elf.sections
        if section.allocated
    }


def placed(application: Elf, vmlinux: Elf, offset: int) -> dict[str, int]:
    """Return where the sections of the application's object are in the running kernel.

    A symbol that either file has but once tells where its section went.
    """
    once = {
        name for name, times in Counter(each.name for each in vmlinux.symbols).items() if times == 1
    }
    addresses = {each.name: each.value for each in vmlinux.symbols if each.name in once}
    own = Counter(each.name for each in application.symbols)
    found: dict[str, int] = {}
    for symbol in application.symbols:
        if not 0 < symbol.section < min(SHN_LORESERVE, len(application.sections)):
            continue
        section = application.sections[symbol.section]
        if (
            not section.allocated
            or section.name in found
            or own[symbol.name] > 1
            or symbol.name not in addresses
            or section.name in {".ukl.tdata", ".ukl.tbss"}  # offsets, not addresses
        ):
            continue
        base = addresses[symbol.name] - symbol.value
        found[section.name] = base + (offset if base >= KERNEL_HALF else 0)
    return found


_BUILDING = re.compile(rb"(/[^\0]*/)\.([0-9a-f]{32})\.\w+\.tmp(?=[/\0])")


def built(elf: Elf) -> dict[str, str]:
    """Return where directories went in which sources were compiled: the cache renames them.

    A recipe is built in ROOT/KIND/.KEY.XXXX.tmp, which is ROOT/KIND/KEY when it is whole
    (host/store.py); its debug information has the former.
    """
    found = {}
    for name in (".debug_line_str", ".debug_str"):
        if (section := elf.section(name)) is not None:
            for match in _BUILDING.finditer(elf.content(section)):
                found[match[0].decode()] = (match[1] + match[2]).decode()
    return found


def script(
    files: Mapping[Path, Mapping[str, int]],
    target: str,
    sources: Path | None = None,
    moves: Mapping[str, str] | None = None,
) -> str:
    """Return the commands that load the symbols of `files`, and then do `target`.

    `sources` is the directory that names of source files are relative to, `moves` tells
    where directories are that are not any more where sources were compiled.
    """
    commands = ["set confirm off", "set architecture i386:x86-64"]
    for before, after in (moves or {}).items():
        commands.append(f"set substitute-path {_quoted(Path(before))} {_quoted(Path(after))}")
    if sources is not None:
        commands.append(f"directory {_quoted(sources)}")
    for file, sections in files.items():
        places = " ".join(f"-s {name} {address:#x}" for name, address in sections.items())
        commands.append(f"add-symbol-file {_quoted(file)} {places}")
    # By way of gdb's Python: nobody wants to see what each of them says.
    lines = [f"python gdb.execute({json.dumps(command)}, to_string=True)" for command in commands]
    return "\n".join([*lines, target, ""])


ORC = (".text", ".orc_unwind_ip", ".orc_unwind")


def unwinder(vmlinux: Path, kernel: Elf, offset: int) -> str:
    """Return the commands that let gdb unwind the kernel's frames; none if it has no tables."""
    found = {name: kernel.section(name) for name in ORC}
    places = {
        name: (each.address, each.offset, each.size)
        for name, each in found.items()
        if each is not None
    }
    if len(places) < len(ORC):
        return ""
    ours = str(Path(__file__).parents[2])
    call = f"in_gdb.install({str(vmlinux)!r}, {places!r}, {offset})"
    words = [f"sys.path.insert(0, {ours!r})", "from ukl.debug import in_gdb", call]
    return f"python import sys; {'; '.join(words)}\n"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- doing it -------------------------------------------------------------------------


def debug(guests: Registry, name: str, args: Sequence[str]) -> int:
    """Run gdb on a guest and return its exit status; the guest goes on afterwards.

    `args` are further arguments of gdb, which come when the symbols are loaded and the
    guest is attached to. The guest stands still as long as gdb does not let it run.
    """
    host_exec.find(GDB)
    record = guests.get(name)
    if record.vmlinux is None or not record.vmlinux.exists():
        raise UklError(f"the kernel of {name} is not in the cache any more")
    with tempfile.TemporaryDirectory(prefix="ukl-gdb-") as temporary:
        stub = Path(temporary) / "stub"
        kernel = Elf.open(record.vmlinux)
        with opened(guests, record, stub, kernel) as offset:
            files = symbols(record.debug, record.vmlinux, kernel, offset, Path(temporary))
            commands = Path(temporary) / "commands"
            commands.write_text(
                unwinder(record.vmlinux, kernel, offset)
                + script(files, f"target remote {stub}", record.sources, _moves(record.debug))
            )
            return _gdb(commands, args)


@contextlib.contextmanager
def opened(guests: Registry, record: Record, stub: Path, kernel: Elf) -> Iterator[int]:
    """Have QEMU's gdb stub listen on the socket `stub` for the block.

    Gives by how much the guest's kernel was moved.
    """
    place = guests.place(record.name)
    with control.request(record, place, request="gdb", stub=str(stub)) as connection:
        yield offset_of(kernel, _told(connection), record.vmlinux)


def open_dump(
    dump: Path,
    program: Path,
    args: Sequence[str],
    *,
    offset: int = 0,
    debug: Path | None = None,
    sources: Path | None = None,
) -> int:
    """Run gdb on a core file and return its exit status.

    `program` is vmlinux, which was moved by `offset`, or a normal executable.
    """
    host_exec.find(GDB)
    with tempfile.TemporaryDirectory(prefix="ukl-gdb-") as temporary:
        elf = Elf.open(program)
        files = symbols(debug, program, elf, offset, Path(temporary))
        commands = Path(temporary) / "commands"
        # A process' core lacks what it never wrote to: the file has that.
        commands.write_text(
            "set trust-readonly-sections on\n"
            + unwinder(program, elf, offset)
            + script(files, f"core-file {dump}", sources, _moves(debug))
        )
        return _gdb(commands, args)


def _told(connection: socket.socket) -> int:
    """Return where VECTOR leads, as the keeper says in its second line."""
    with connection.makefile("rb") as stream:
        value = json.loads(stream.readline())
    return handler(str(value["idt"]))


def offset_of(kernel: Elf, found: int, vmlinux: Path | None = None) -> int:
    """Return by how much this boot has moved the kernel, whose VECTOR leads to `found`."""
    linked = kernel.addresses([HANDLER]).get(HANDLER)
    if linked is None:
        raise UklError(f"the kernel has no symbol {HANDLER}", where=vmlinux)
    return found - linked


def _moves(debug: Path | None) -> dict[str, str]:
    return built(Elf.open(debug)) if debug is not None and debug.exists() else {}


def symbols(
    debug: Path | None, vmlinux: Path, kernel: Elf, offset: int, temporary: Path
) -> dict[Path, Mapping[str, int]]:
    """Return where the sections of each file with symbols are: vmlinux, and the application's.

    The latter is a copy in `temporary`, whose unwind table has the name that everybody knows.
    """
    files: dict[Path, Mapping[str, int]] = {vmlinux: moved(kernel, offset)}
    if debug is not None and debug.exists():
        # gdb looks for the unwind tables by their usual name.
        own = temporary / debug.name
        rename = (".ukl.eh_frame", ".eh_frame")
        host_exec.run([OBJCOPY, "--rename-section", "=".join(rename), debug, own])
        files[own] = placed(Elf.open(own), kernel, offset)
    return {file: sections for file, sections in files.items() if sections}


def _gdb(commands: Path, args: Sequence[str]) -> int:
    argv = [GDB, "-q", "-x", str(commands), *args]
    env = {"TERM": os.environ.get("TERM", "dumb")}
    # Ctrl-C is gdb's: it stops the guest. A handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with host_exec.spawn(argv, env=env, foreground=True) as process:
            return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
