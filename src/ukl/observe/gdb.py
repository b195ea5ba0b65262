# SPDX-License-Identifier: GPL-2.0
"""Runs gdb on a running guest: QEMU's gdb stub, and symbols at their relocated addresses."""

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
from ukl.debug import mapped
from ukl.debug.core import Core
from ukl.debug.gdb_script import script, script_of_files, unwinder
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
    """Run gdb on a guest and return its exit status; the guest resumes afterwards.

    `args` are further arguments of gdb. gdb executes their commands after it has loaded the
    symbols and attached to the guest, which is stopped until gdb continues it.
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
    """Make QEMU's gdb stub listen on the socket `stub` for the block.

    Yields the KASLR offset of the guest's kernel.
    """
    directory = guests.place(record.name)
    with control.request(record, directory, request="gdb", stub=str(stub)) as connection:
        yield offset_of(kernel, _handler_address(connection), record.images.vmlinux)


def open_dump(
    dump: Path,
    program: Path,
    args: Sequence[str],
    *,
    offset: int = 0,
    debug: Path | None = None,
    sources: Path | None = None,
    as_is: str = "",
) -> int:
    """Run gdb on a core file and return its exit status.

    `program` is vmlinux, with the KASLR offset `offset`, or a normal executable, or what ran from
    the path `as_is`.
    """
    programs.find(GDB)
    with tempfile.TemporaryDirectory(prefix="ukl-gdb-") as temporary:
        commands = Path(temporary) / "commands"
        if as_is:
            commands.write_text(script_of_files(dump, _mapped(dump, as_is, program)))
            return _gdb(commands, args)
        elf = Elf.open(program)
        files = symbols(debug, program, elf, offset, Path(temporary))
        # A core lacks pages that were never written: gdb reads those from the program.
        commands.write_text(
            "set trust-readonly-sections on\n"
            + unwinder(program, elf, offset)
            + script(files, f"core-file {dump}", sources, _moves(debug))
        )
        return _gdb(commands, args)


def _handler_address(connection: socket.socket) -> int:
    """Return the address of VECTOR's handler, from the second line of the keeper's reply."""
    with connection.makefile("rb") as stream:
        value = json.loads(stream.readline())
    return handler(str(value["idt"]))


def _moves(debug: Path | None) -> dict[str, str]:
    return renamed_directories(Elf.open(debug)) if debug is not None and debug.exists() else {}


def symbols(
    debug: Path | None, vmlinux: Path, kernel: Elf, offset: int, temporary: Path
) -> dict[Path, Mapping[str, int]]:
    """Return the addresses of the sections of each file with symbols: vmlinux and the application.

    The latter is a copy in `temporary` whose unwind table has its standard name.
    """
    files: dict[Path, Mapping[str, int]] = {vmlinux: kernel_sections(kernel, offset)}
    if debug is not None and debug.exists():
        # gdb finds unwind tables by their standard name.
        copy = temporary / debug.name
        rename = (".ukl.eh_frame", ".eh_frame")
        host_exec.run([OBJCOPY, "--rename-section", "=".join(rename), debug, copy])
        files[copy] = application_sections(Elf.open(copy), kernel, offset)
    return {file: sections for file, sections in files.items() if sections}


def _mapped(dump: Path, path: str, program: Path) -> dict[Path, int]:
    """Return the files that a process had mapped, and by how much each was moved."""
    core = Core(Elf.open(dump))
    found = mapped.programs(mapped.rows(core.maps()), mapped.opener(core, path, program))
    return {program if row.path == path else Path(row.path): each.offset for row, each in found}


def _gdb(commands: Path, args: Sequence[str]) -> int:
    argv = [GDB, "-q", "-x", str(commands), *args]
    env = {"TERM": os.environ.get("TERM", "dumb")}
    # Ctrl-C is for gdb, to stop the guest. Unlike SIG_IGN, a handler is not inherited.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return process.in_foreground(argv, env=env)
    finally:
        signal.signal(signal.SIGINT, before)
