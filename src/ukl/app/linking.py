# SPDX-License-Identifier: GPL-2.0
"""Runs the links of one application, for build.py and for the compiler wrapper."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from ukl.app import link, sections
from ukl.base.errors import InputError, UklError
from ukl.base.model import Level, ObjectFacts, SyscallCounts
from ukl.elf import audit
from ukl.elf.reader import SHT_NOBITS, Elf, facts
from ukl.host import exec as host_exec

SCRIPTS = "kernel/overlay/scripts/ukl"
"""Linker scripts, crt.S and syscall.S, shared with link-app.sh."""

COUNTS = "syscalls.json"
"""File beside the object with the counts of rewritten system calls."""

DEBUG_MAX = 64 << 20
"""Bytes of debug information, not compressed, that a program takes with it into a guest."""

FUNCTIONS = "functions.json"
"""File beside the object with the kernel functions that it calls."""

Hint: TypeAlias = Callable[[Sequence[str]], str | None]
"""Undefined symbols -> the name of an installed library that defines them."""


def _no_hint(missing: Sequence[str]) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Linking:
    """The links of one application.

    `inputs` are ld's arguments (see link.partial_argv), `scripts` is the directory of the
    linker scripts. For messages, `origin` maps compiled objects to their sources, and
    `where` is the place of an error.
    """

    ld: str
    objcopy: str
    inputs: tuple[str, ...]
    scripts: Path
    origin: Mapping[str, str]
    where: Path
    hint: Hint = _no_hint
    extra: tuple[str, ...] = ()

    def run(self, directory: Path) -> str:
        """Make app.debug.o in `directory`; return ld's output of the second pass.

        Raises InputError for code that cannot be linked into the kernel.
        """
        log = directory / "link.log"
        first, second = directory / "first.o", directory / "second.o"
        self._partial(None, first, log)
        found = Elf.open(first)
        wrapped = link.wrap_words(sections.ITERATE) if sections.uses_headers(found) else ()
        printed = self._partial(found, second, log, wrapped)
        elf = Elf.open(second)
        if missing := sections.missing_names(elf.symbols):
            raise self._undefined(missing, log)
        _verify(elf, log)
        if narrow := audit.narrow_addresses(elf):
            raise link.not_relocatable(narrow, self.where, log)
        unique = directory / "unique"
        # objcopy refuses an empty list.
        names = ["# STB_GNU_UNIQUE", *sections.unique_names(elf.symbols)]
        unique.write_text("".join(f"{name}\n" for name in names))
        host_exec.run(link.weaken_argv(self.objcopy, unique, second), log=log)
        localise = link.localise_argv(self.objcopy, second, directory / "app.debug.o")
        host_exec.run(localise, log=log)
        for temporary in (first, second, unique):
            temporary.unlink()
        return printed

    def finish(self, directory: Path, syscall: Path, *, level: Level | None) -> None:
        """Make app.o and the executable `user` from the app.debug.o in `directory`."""
        tools = self.ld, self.objcopy
        finish(*tools, directory, syscall, self.scripts, level=level, debug=True)

    def _partial(
        self, first: Elf | None, output: Path, log: Path, extra: Sequence[str] = ()
    ) -> str:
        """Run the partial link; return ld's output.

        `first` is the result of the first pass, from which the script parts of the second
        are made; None in the first pass.
        """
        with TemporaryDirectory(prefix="ukl-") as temporary:
            for name, text in sections.parts(first).items():
                (Path(temporary) / name).write_text(text)
            argv = link.partial_argv(
                self.ld,
                self.inputs,
                script=self.scripts / "app.lds",
                parts=Path(temporary),
                output=output,
                extra=(*self.extra, *extra),
            )
            try:
                return host_exec.run(argv, log=log).stdout
            except host_exec.CommandFailed as error:
                raise link.explain(error.output, self.origin, log) from error

    def _undefined(self, missing: Sequence[str], log: Path) -> InputError:
        """Return the error about undefined symbols, with the objects that use them."""
        with TemporaryDirectory(prefix="ukl-") as temporary:
            traced = Path(temporary) / "traced.o"
            output = self._partial(None, traced, log, link.trace_words(missing))
        used_by = link.referrers(output, missing, self.origin)
        return link.undefined(missing, used_by, self.hint(missing), self.where, log)


def finish(
    ld: str,
    objcopy: str,
    directory: Path,
    syscall: Path,
    scripts: Path,
    *,
    level: Level | None,
    debug: bool,
) -> None:
    """Make app.o and the normal executable `user` from the app.debug.o in `directory`.

    `syscall` is the compiled syscall.S. With a `level`, `syscall` instructions are
    rewritten to calls in app.o, and in app.debug.o too; and always the C library's `hlt`.
    With `debug`, `user` keeps the debug information, if that is not too large for a guest.
    """
    log = directory / "link.log"
    whole, application = directory / "app.debug.o", directory / "app.o"
    elf = Elf.open(whole)
    functions = sections.functions(elf.symbols)
    (directory / FUNCTIONS).write_text(json.dumps(functions) + "\n")
    size = sum(each.size for each in elf.sections if each.name.startswith(".debug_"))
    user, script = directory / "user", scripts / "user.lds"
    keep = debug and size <= DEBUG_MAX
    host_exec.run(link.user_argv(ld, whole, syscall, script, user, debug=keep), log=log)
    _set_stack(user, executable=sections.needs_executable_stack(elf))
    from ukl.syscalls import rewrite  # noqa: PLC0415 - capstone takes 0.1 s

    if level is None:
        rewritten = rewrite.without_halts(elf)
    else:
        rewritten = rewrite.rewrite(elf, rewrite.plain_size(Elf.open(syscall)), level)
        (directory / COUNTS).write_text(json.dumps(asdict(rewritten.counts)) + "\n")
    if rewritten.data is not None:
        whole.unlink()  # `elf` maps it
        whole.write_bytes(rewritten.data)
    host_exec.run(link.strip_argv(objcopy, whole, application, functions), log=log)


def _set_stack(program: Path, *, executable: bool) -> None:
    """Set the flags of PT_GNU_STACK, which ld takes from a script with PHDRS alone."""
    elf = Elf.open(program)
    at = elf.segment_at("PT_GNU_STACK")
    del elf  # maps it
    with program.open("r+b") as stream:
        stream.seek(at + 4)  # p_flags
        stream.write(struct.pack("<I", 7 if executable else 6))


def read_facts(directory: Path) -> ObjectFacts:
    """Return the facts about the application that finish() made in `directory`."""
    found, counts = facts(directory / "app.o"), directory / COUNTS
    if counts.is_file():
        found = replace(found, syscalls=SyscallCounts(**json.loads(counts.read_text())))
    functions = tuple(json.loads((directory / FUNCTIONS).read_text()))
    weak = tuple(name for name in found.weak_undefined if name not in functions)
    return replace(found, functions=functions, weak_undefined=weak)


def summary(found: ObjectFacts) -> str:
    """Return the counts of system calls for the stage's line; "" if none were rewritten."""
    calls = found.syscalls
    if calls is None:
        return ""
    direct = f" ({calls.direct} direct)" if calls.direct else ""
    return f"syscalls: {calls.in_place} in place, {calls.stub} by stub{direct}, {calls.kept} kept"


def _verify(elf: Elf, log: Path) -> None:
    """Check that the script left no section that the kernel's link would misplace."""
    stray = [
        section.name
        for section in elf.sections
        if section.allocated and not section.name.startswith(".ukl.")
    ]
    if stray:
        raise UklError(f"sections that app.lds does not place: {' '.join(stray)}", log=log)
    for section in elf.sections:
        if section.name == ".ukl.relro" and section.kind != "SHT_PROGBITS":
            raise UklError(f".ukl.relro became {section.kind}", log=log)
        if section.name == ".ukl.bss" and section.kind != SHT_NOBITS:
            raise UklError(f".ukl.bss became {section.kind}", log=log)
