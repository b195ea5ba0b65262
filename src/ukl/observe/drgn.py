# SPDX-License-Identifier: GPL-2.0
"""`ukl drgn`: the data structures of a guest's kernel, in Python, by drgn.

Of a guest that runs, by way of QEMU's gdb stub: the machine stands still meanwhile, so what is
read fits together, and nothing is copied. Of one that has crashed, its dump.
"""

from __future__ import annotations

import bisect
import contextlib
import runpy
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ukl.base.errors import InputError, MissingError, UklError
from ukl.debug import vmcoreinfo
from ukl.debug.crash import Kind
from ukl.debug.unwind import Unreadable
from ukl.elf.reader import Buffer, Elf, Segment
from ukl.host.store import Store
from ukl.observe import crashes, gdb
from ukl.observe.stub import Stub
from ukl.vm import postmortem
from ukl.vm.registry import Registry

DEBUG, TEXT = ".debug_info", ".ukl.text"

PHYSICAL = 1 << 52
"""Where physical addresses end (Intel SDM vol. 3, 4.1.4)."""

Read = Callable[[int, int], bytes]
"""Returns memory by address and size; Unreadable where there is none."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked at: the kernel, by how much it was moved, and its memory.

    `application` is its object with debug information, `sections` where each of its sections is.
    """

    vmlinux: Path
    offset: int
    virtual: Read
    physical: Read
    application: Path | None = None
    sections: Mapping[str, int] = field(default_factory=dict)


def module() -> ModuleType:
    """Return drgn; MissingError where it is not installed."""
    try:
        import drgn  # noqa: PLC0415 - an optional dependency
        import drgn.cli  # noqa: PLC0415
    except ImportError:
        raise MissingError(
            "`ukl drgn` needs drgn, which is not in this Python environment",
            remedy=f"{sys.executable} -m pip install 'drgn>=0.3,<0.4'",
        ) from None
    return drgn


def check(kernel: Elf, vmlinux: Path) -> None:
    """Raise UklError if drgn would know nothing of this kernel."""
    if kernel.section(DEBUG) is None:
        raise UklError(
            "the kernel has no debug information, so its types are not known",
            where=vmlinux,
            remedy="run it with --profile dwarf: the same code, compiled once more, with them",
        )


# --- the memory ---------------------------------------------------------------------------


@contextlib.contextmanager
def running(guests: Registry, name: str) -> Iterator[Target]:
    """Give a guest that runs; it stands still for the block."""
    record = guests.get(name)
    if record.images.vmlinux is None or not record.images.vmlinux.exists():
        raise UklError(f"the kernel of {name} is not in the cache any more")
    kernel = Elf.open(record.images.vmlinux)
    check(kernel, record.images.vmlinux)
    with tempfile.TemporaryDirectory(prefix="ukl-drgn-") as temporary:
        path = Path(temporary) / "stub"
        with gdb.opened(guests, record, path, kernel) as offset, Stub.connect(path) as stub:

            def virtual(address: int, size: int) -> bytes:
                return stub.read(address, size, physical=False)

            def physical(address: int, size: int) -> bytes:
                return stub.read(address, size, physical=True)

            files = gdb.symbols(
                record.images.debug, record.images.vmlinux, kernel, offset, Path(temporary)
            )
            yield Target(
                record.images.vmlinux,
                offset,
                virtual,
                physical,
                *_application(files, record.images.vmlinux),
            )


def _application(
    files: Mapping[Path, Mapping[str, int]], vmlinux: Path
) -> tuple[Path | None, Mapping[str, int]]:
    """Return the application's object and its sections among the files with symbols. Pure."""
    return next(
        ((file, found) for file, found in files.items() if file != vmlinux and TEXT in found),
        (None, {}),
    )


def reader(segments: Iterable[Segment], data: Buffer, *, physical: bool) -> Read:
    """Return what reads a dump, whose segments may overlap: a page has several addresses. Pure."""
    begins: list[int] = []
    places: list[tuple[int, int]] = []
    known = 0
    for each in sorted(segments, key=lambda each: each.physical if physical else each.address):
        begin = each.physical if physical else each.address
        end = begin + each.file_size
        if each.kind == "PT_LOAD" and end > known:
            first = max(begin, known)
            begins.append(first)
            places.append((end, each.offset + first - begin))
            known = end

    def read(address: int, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            at = address + len(found)
            number = bisect.bisect_right(begins, at) - 1
            if number < 0 or at >= places[number][0]:
                raise Unreadable(f"{at:#x}")
            end, offset = places[number]
            begin = offset + at - begins[number]
            found += data[begin : begin + min(size - len(found), end - at)]
        return bytes(found)

    return read


@contextlib.contextmanager
def crashed(store: Store, name: str) -> Iterator[Target]:
    """Give the newest dump of a guest whose kernel has crashed."""
    report = crashes.dumped(store, name)
    if report.kind is Kind.SIGNAL:
        raise InputError(
            f"the newest dump of {name} is a process' core: {report.reason}",
            remedy=f"ukl gdb {name} --dump opens it",
        )
    kernel = Elf.open(report.images.program)
    check(kernel, report.images.program)
    assert report.dump is not None
    with postmortem.decompressed(report.dump) as path:
        core = Elf.open(path)
        virtual = reader(core.segments, core.data, physical=False)
        physical = reader(core.segments, core.data, physical=True)
        images = report.images
        with tempfile.TemporaryDirectory(prefix="ukl-drgn-") as temporary:
            files = gdb.symbols(
                images.debug, images.program, kernel, images.offset, Path(temporary)
            )
            yield Target(
                images.program,
                images.offset,
                virtual,
                physical,
                *_application(files, images.program),
            )


# --- drgn -----------------------------------------------------------------------------------


def program(target: Target) -> Any:
    """Return drgn's program for what is looked at."""
    drgn = module()
    kernel = Elf.open(target.vmlinux)

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        try:
            return target.physical(address, count)
        except Unreadable as error:
            raise drgn.FaultError("there is no memory", address) from error

    try:
        said = vmcoreinfo.text(kernel, target.offset, target.virtual)
    except Unreadable as error:
        raise UklError(
            f"the kernel's memory cannot be read: {error}",
            remedy="it may not have booted far enough yet: try it again",
        ) from error
    prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    prog.add_memory_segment(0, PHYSICAL, read, True)
    prog.set_linux_kernel_custom(said, False)
    prog.load_debug_info([str(target.vmlinux)])
    if target.application is not None:
        _add_application(prog, target.application, target.sections)
    return prog


def _add_application(prog: Any, file: Path, sections: Mapping[str, int]) -> None:
    """Let drgn know the application as it knows a module of the kernel, whose text it is within."""
    text = Elf.open(file).section(TEXT)
    assert text is not None
    begin, end = sections[TEXT], sections[TEXT] + text.size
    kernel = prog.main_module()
    ranges = kernel.address_ranges or ()
    kernel.address_ranges = [
        part
        for low, high in ranges
        for part in ((low, min(high, begin)), (max(low, end), high))
        if part[0] < part[1]
    ]
    module = prog.relocatable_module(file.stem, begin, create=True)
    for name, address in sections.items():
        module.section_addresses[name] = address
    module.address_ranges = [(begin, end)]
    module.try_file(str(file), force=True)


def inspect(target: Target, script: Sequence[str], code: str | None) -> int:
    """Execute `code`, or a script with its arguments, or what stdin says; return the status.

    An exception there is no error of ours: its traceback is what its author wants to see.
    """
    prog = program(target)
    try:
        _execute(prog, script, code)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except UklError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever somebody else's program raises
        theirs = [each for each in traceback.extract_tb(error.__traceback__) if _theirs(each)]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(theirs)]
        sys.stderr.write("".join([*lines, *traceback.format_exception_only(error)]))
        return 1
    return 0


def _theirs(frame: traceback.FrameSummary) -> bool:
    return frame.filename != __file__ and not frame.filename.startswith("<frozen runpy")


def _execute(prog: Any, script: Sequence[str], code: str | None) -> None:
    drgn = module()
    if code is not None:
        sys.argv = ["-e", *script]
        exec(compile(code, "-e", "exec"), drgn.cli.default_globals(prog))
    elif script:
        sys.argv = list(script)
        sys.path.insert(0, str(Path(script[0]).resolve().parent))
        runpy.run_path(script[0], init_globals={"prog": prog}, run_name="__main__")
    elif sys.stdin.isatty():
        drgn.cli.run_interactive(prog)
    else:
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), drgn.cli.default_globals(prog))
