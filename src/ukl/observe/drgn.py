# SPDX-License-Identifier: GPL-2.0
"""`ukl drgn`: examines the data structures of a guest's kernel in Python, with drgn.

The memory of a running guest is read through QEMU's gdb stub, without a copy. The machine is
stopped meanwhile, so the data is consistent. For a crashed guest, its dump is read.
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
from ukl.elf.reader import RELA, Buffer, Elf, Segment
from ukl.host.store import Store
from ukl.observe import crashes, gdb
from ukl.observe.stub import Stub
from ukl.vm import postmortem
from ukl.vm.registry import Registry

DEBUG, TEXT = ".debug_info", ".ukl.text"

R_X86_64_NONE, R_X86_64_DTPOFF32 = 0, 21

PHYSICAL = 1 << 52
"""End of physical addresses (Intel SDM vol. 3, 4.1.4)."""

Read = Callable[[int, int], bytes]
"""Returns memory, given address and size. Raises Unreadable."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is examined: the kernel, its KASLR offset, and its memory.

    `application` is the application's object with debug information, `sections` has the addresses
    of its sections.
    """

    vmlinux: Path
    offset: int
    virtual: Read
    physical: Read
    application: Path | None = None
    sections: Mapping[str, int] = field(default_factory=dict)


def module() -> ModuleType:
    """Return the module drgn; MissingError if it is not installed."""
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
    """Raise UklError if the kernel has no debug information for drgn."""
    if kernel.section(DEBUG) is None:
        raise UklError(
            "the kernel has no debug information, so its types are not known",
            where=vmlinux,
            remedy="run it with --profile dwarf: the same code, compiled with debug information",
        )


# --- the memory ---------------------------------------------------------------------------


@contextlib.contextmanager
def running(guests: Registry, name: str) -> Iterator[Target]:
    """Yield a running guest, which is stopped for the block."""
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
    """Return the application's object among the files with symbols, and its sections. Pure."""
    return next(
        ((file, found) for file, found in files.items() if file != vmlinux and TEXT in found),
        (None, {}),
    )


def reader(segments: Iterable[Segment], data: Buffer, *, physical: bool) -> Read:
    """Return a reader of a dump. Its segments may overlap: a page has several addresses. Pure."""
    begins: list[int] = []
    pieces: list[tuple[int, int]] = []
    covered = 0
    for each in sorted(segments, key=lambda each: each.physical if physical else each.address):
        begin = each.physical if physical else each.address
        end = begin + each.file_size
        if each.kind == "PT_LOAD" and end > covered:
            first = max(begin, covered)
            begins.append(first)
            pieces.append((end, each.offset + first - begin))
            covered = end

    def read(address: int, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            at = address + len(found)
            number = bisect.bisect_right(begins, at) - 1
            if number < 0 or at >= pieces[number][0]:
                raise Unreadable(f"{at:#x}")
            end, offset = pieces[number]
            begin = offset + at - begins[number]
            found += data[begin : begin + min(size - len(found), end - at)]
        return bytes(found)

    return read


@contextlib.contextmanager
def crashed(store: Store, name: str) -> Iterator[Target]:
    """Yield the newest dump of a guest whose kernel has crashed."""
    report = crashes.dumped(store, name)
    if report.kind is Kind.SIGNAL:
        raise InputError(
            f"the newest dump of {name} is the core of a process: {report.reason}",
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
    """Return the drgn program for a target."""
    drgn = module()
    kernel = Elf.open(target.vmlinux)

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        try:
            return target.physical(address, count)
        except Unreadable as error:
            raise drgn.FaultError("there is no memory", address) from error

    try:
        info = vmcoreinfo.text(kernel, target.offset, target.virtual)
    except Unreadable as error:
        raise UklError(
            f"the kernel's memory cannot be read: {error}",
            remedy="it may still be booting: try again",
        ) from error
    prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    prog.add_memory_segment(0, PHYSICAL, read, True)
    prog.set_linux_kernel_custom(info, False)
    prog.load_debug_info([str(target.vmlinux)])
    if target.application is not None:
        _add_application(prog, target.application, target.sections)
    return prog


def _add_application(prog: Any, file: Path, sections: Mapping[str, int]) -> None:
    """Add the application as a kernel module, and exclude its text from that of the kernel."""
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
    file.write_bytes(without_thread_locals(Elf.open(file)))
    module = prog.relocatable_module(file.stem, begin, create=True)
    for name, address in sections.items():
        module.section_addresses[name] = address
    module.address_ranges = [(begin, end)]
    module.try_file(str(file), force=True)


def without_thread_locals(elf: Elf) -> bytes:
    """Return the file without the offsets of thread-local variables in its debug information.

    drgn refuses a file whose debug information has a relocation that it does not know, and it
    knows none of thread-local variables (libdrgn/arch_x86_64.c, apply_elf_reloc_x86_64()). Pure.
    """
    data = bytearray(elf.data)
    for section in elf.sections:
        if section.kind == "SHT_RELA" and section.name.startswith(".rela.debug_"):
            content = elf.content(section)
            for number, (_, kind, _, _) in enumerate(RELA.iter_unpack(content)):
                if kind == R_X86_64_DTPOFF32:
                    at = section.offset + number * RELA.size + 8
                    data[at : at + 4] = R_X86_64_NONE.to_bytes(4, "little")
    return bytes(data)


def inspect(target: Target, script: Sequence[str], code: str | None) -> int:
    """Execute `code`, a script with its arguments, or code from stdin; return the exit status.

    An exception of the code is printed as a traceback that has only the code's own frames.
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
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        frames = [each for each in traceback.extract_tb(error.__traceback__) if _is_user(each)]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
        sys.stderr.write("".join([*lines, *traceback.format_exception_only(error)]))
        return 1
    return 0


def _is_user(frame: traceback.FrameSummary) -> bool:
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
