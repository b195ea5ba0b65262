# SPDX-License-Identifier: GPL-2.0
"""Commands for gdb that load a guest's symbols and unwind its kernel's frames. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ukl.elf.reader import Elf

ORC = (".text", ".orc_unwind_ip", ".orc_unwind")


def script(
    files: Mapping[Path, Mapping[str, int]],
    target: str,
    sources: Path | None = None,
    moves: Mapping[str, str] | None = None,
) -> str:
    """Return the commands that load the symbols of `files`, followed by the command `target`.

    `files` maps each file to its sections' addresses. Names of source files are relative to
    `sources`; `moves` maps directories in which sources were compiled to their current paths.
    """
    commands = ["set confirm off", "set architecture i386:x86-64"]
    for before, after in (moves or {}).items():
        commands.append(f"set substitute-path {_quoted(Path(before))} {_quoted(Path(after))}")
    if sources is not None:
        commands.append(f"directory {_quoted(sources)}")
    for file, sections in files.items():
        places = " ".join(f"-s {name} {address:#x}" for name, address in sections.items())
        commands.append(f"add-symbol-file {_quoted(file)} {places}")
    # gdb.execute() in Python can suppress the output of each command.
    lines = [f"python gdb.execute({json.dumps(command)}, to_string=True)" for command in commands]
    return "\n".join([*lines, target, ""])


def script_of_files(core: Path, files: Mapping[Path, int]) -> str:
    """Return the commands to open a core, with the symbols of files that were moved. Pure."""
    lines = [f"add-symbol-file {_quoted(file)} -o {moved:#x}" for file, moved in files.items()]
    return "\n".join(["set confirm off", f"core-file {core}", *lines, ""])


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
    root = str(Path(__file__).parents[2])
    call = f"in_gdb.install({str(vmlinux)!r}, {places!r}, {offset})"
    words = [f"sys.path.insert(0, {root!r})", "from ukl.debug import in_gdb", call]
    return f"python import sys; {'; '.join(words)}\n"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
