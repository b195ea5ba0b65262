# SPDX-License-Identifier: GPL-2.0
"""gdb on a running guest: QEMU's stub, and the symbols where this boot has put them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ukl.base.errors import UklError
from ukl.debug.gdb_script import script, unwinder
from ukl.debug.placement import (
    application_sections,
    handler,
    kernel_sections,
    offset_of,
    renamed_directories,
)
from ukl.elf.reader import Elf
from ukl.host import exec as host_exec
from ukl.host import process, programs
from ukl.vm import control
from ukl.vm.registry import Record, Registry

GDB = "gdb"
OBJCOPY = "objcopy"


def debug(guests: Registry, name: str, args: Sequence[str]) -> int:
    """Run gdb on a guest and return its exit status; the guest goes on afterwards.

    `args` are further arguments of gdb, which come when the symbols are loaded and the
    guest is attached to. The guest stands still as long as gdb does not let it run.
    """
    programs.find(GDB)
    record = guests.get(name)
    if record.images.vmlinux is None or not record.images.vmlinux.exists():
        raise UklError(f"the kernel of {name} is not in the cache any more")
    with tempfile.TemporaryDirectory(prefix="ukl-gdb-") as temporary:
        stub = Path(temporary) / "stub"
        kernel = Elf.open(record.images.vmlinux)
        with opened(guests, record, stub, kernel) as offset:
            files = symbols(
                record.images.debug, record.images.vmlinux, kernel, offset, Path(temporary)
            )
            commands = Path(temporary) / "commands"
            commands.write_text(
                unwinder(record.images.vmlinux, kernel, offset)
                + script(
                    files,
                    f"target remote {stub}",
                    record.images.sources,
                    _moves(record.images.debug),
                )
            )
            return _gdb(commands, args)


@contextlib.contextmanager
def opened(guests: Registry, record: Record, stub: Path, kernel: Elf) -> Iterator[int]:
    """Have QEMU's gdb stub listen on the socket `stub` for the block.

    Gives by how much the guest's kernel was moved.
    """
    place = guests.place(record.name)
    with control.request(record, place, request="gdb", stub=str(stub)) as connection:
        yield offset_of(kernel, _told(connection), record.images.vmlinux)


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
    programs.find(GDB)
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


def _moves(debug: Path | None) -> dict[str, str]:
    return renamed_directories(Elf.open(debug)) if debug is not None and debug.exists() else {}


def symbols(
    debug: Path | None, vmlinux: Path, kernel: Elf, offset: int, temporary: Path
) -> dict[Path, Mapping[str, int]]:
    """Return where the sections of each file with symbols are: vmlinux, and the application's.

    The latter is a copy in `temporary`, whose unwind table has the name that everybody knows.
    """
    files: dict[Path, Mapping[str, int]] = {vmlinux: kernel_sections(kernel, offset)}
    if debug is not None and debug.exists():
        # gdb looks for the unwind tables by their usual name.
        own = temporary / debug.name
        rename = (".ukl.eh_frame", ".eh_frame")
        host_exec.run([OBJCOPY, "--rename-section", "=".join(rename), debug, own])
        files[own] = application_sections(Elf.open(own), kernel, offset)
    return {file: sections for file, sections in files.items() if sections}


def _gdb(commands: Path, args: Sequence[str]) -> int:
    argv = [GDB, "-q", "-x", str(commands), *args]
    env = {"TERM": os.environ.get("TERM", "dumb")}
    # Ctrl-C is gdb's: it stops the guest. A handler, unlike SIG_IGN, is not inherited.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return process.in_foreground(argv, env=env)
    finally:
        signal.signal(signal.SIGINT, before)
