# SPDX-License-Identifier: GPL-2.0
"""Examines a crash in a guest, and keeps its report: backtraces and a dump.

When the kernel panics, QEMU pauses the machine at pvpanic's call (`-action panic=pause`):
QEMU's monitor reads its processors' registers and stacks and dumps its memory as an ELF core,
and the machine then resets. The guest sends the core of a process killed by a signal
(vm/cores.py).

A failure here is not an error of the run: the report says what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import shutil
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import Mode
from ukl.debug import crash, unwind
from ukl.debug.core import Core, describe
from ukl.debug.crash import Crash, Images, Kind
from ukl.debug.mapped import Mapped, Space, opener
from ukl.debug.placement import gate_dump, handler, idt_base, offset_of
from ukl.debug.unwind import Frame, Program, Unreadable
from ukl.elf.reader import Elf
from ukl.guest.mounts import marker_path
from ukl.image.initrd import user_path
from ukl.vm import console, cores, status
from ukl.vm.monitor import Monitor
from ukl.vm.session import PauseReason, Session

MAX_REPORTS = 5
"""Most reports per run, so that a server whose children all crash cannot fill the disk."""

DUMP = "dump.gz"
FIFO = "dump.fifo"
FAILURES = "postmortem.log"
"""Beside the console's log: errors while a report was made."""

FINISH = 60.0
"""Seconds that the last core's report may take after the guest's end."""

_PAGE = 1024
_CHUNK = 1 << 20

_REGISTER = re.compile(r"\b(R[A-Z0-9]{1,2}) ?=([0-9a-f]{16})\b")
_WORD = re.compile(r"0x([0-9a-f]{16})")

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR_SIZE, _VADDR_AT = 56, 16

PANIC = ("panic", "vpanic")


@dataclass(frozen=True, slots=True)
class Subject:
    """What runs in the guest: its images, and the normal executable.

    `as_is` has the path and the mode of a program that runs as it is.
    """

    guest: str
    application: str
    vmlinux: Path
    user: Path | None = None
    debug: Path | None = None
    sources: Path | None = None
    cpus: int = 1
    as_is: Mapping[str, Mode] = field(default_factory=dict)

    def images(self, program: Path, offset: int) -> Images:
        """Return the images of a crash."""
        return Images(program, offset, self.debug, self.sources)


# --- the output of QEMU's monitor; pure -------------------------------------------------


def registers(text: str) -> dict[str, int]:
    """Return the general registers in `info registers`, by their names in lower case."""
    return {name.lower(): int(value, 16) for name, value in _REGISTER.findall(text)}


def memory(text: str) -> bytes:
    """Return the bytes of a dump in words of 8 bytes; raises Unreadable if it has none."""
    words = _WORD.findall(text)
    if not words:
        raise Unreadable(text.strip())
    return b"".join(int(word, 16).to_bytes(8, "little") for word in words)


def reason_of(tail: bytes, *, init: bool) -> str | None:
    """Return why the kernel panicked; None if that was the application's normal end.

    `init` says that the application was process 1, whose end is always a panic.
    """
    ended = console.init_exit(tail) if init else None
    if ended is None:
        return console.panic_reason(tail) or "the kernel panicked"
    _, number = ended
    return None if number is None else f"{describe(number, 0, 0)}, of process 1"


def from_panic(frames: list[Frame]) -> list[Frame]:
    """Return a backtrace from panic() on, without the functions that panic() calls."""
    for number, frame in enumerate(frames):
        if frame.function in PANIC:
            return frames[number:]
    return frames


def canonical(head: bytes, table: int, count: int) -> bytes:
    """Return the beginning of a dump with canonical addresses in its segments.

    `table` is the offset of its `count` program headers. QEMU (target/i386/arch_memory_mapping.c)
    sets the upper bits of all addresses, those of the user half too: 16 bits with page tables of
    four levels, 7 with five.
    """
    fixed = bytearray(head)
    for number in range(count):
        at = table + _PHDR_SIZE * number + _VADDR_AT
        if at + 8 > len(head):
            break
        address = int.from_bytes(head[at : at + 8], "little")
        half = 1 << (47 if address >> 48 == 0xFFFF else 56)
        if not address & half:
            fixed[at : at + 8] = (address & half - 1).to_bytes(8, "little")
    return bytes(fixed)


# --- a paused machine ---------------------------------------------------------------------


async def handler_address(monitor: Monitor) -> int:
    """Return the address of VECTOR's handler in this boot; raises UklError if it is unknown."""
    table = idt_base(await monitor.human("info registers"))
    return handler(await monitor.human(gate_dump(table)))


async def processors(monitor: Monitor, program: Program, cpus: int) -> list[list[Frame]]:
    """Return the backtrace of each processor."""
    loop = asyncio.get_running_loop()

    def reader(cpu: int) -> Callable[[int, int], bytes]:
        def fetch(address: int, size: int) -> bytes:
            line = f"x /{size // 8}gx {address:#x}"
            output = asyncio.run_coroutine_threadsafe(monitor.human(line, cpu), loop)
            try:
                return memory(output.result())
            except UklError as error:
                raise Unreadable(str(error)) from error

        return fetch

    found = []
    for cpu in range(cpus):
        state = registers(await monitor.human("info registers", cpu))
        read = unwind.words(reader(cpu), _PAGE)
        found.append(await asyncio.to_thread(unwind.backtrace, program, state, read))
    return found


async def dump(monitor: Monitor, target: Path) -> None:
    """Write the machine's memory, compressed, to `target`, which exists only if complete."""
    fifo, beside = target.with_name(FIFO), target.with_name(f".{target.name}.tmp")
    os.mkfifo(fifo, 0o600)

    def compress() -> None:
        with fifo.open("rb") as source, gzip.open(beside, "wb", cores.LEVEL) as out:
            first = source.read(_EHDR.size)
            if len(first) == _EHDR.size:
                table, _, _, _, size, count = _EHDR.unpack(first)[5:11]
                first += source.read(table + size * count - _EHDR.size)
                first = canonical(first, table, count)
            out.write(first)
            shutil.copyfileobj(source, out, _CHUNK)

    compressing = asyncio.create_task(asyncio.to_thread(compress))
    try:
        try:
            await monitor.dump(fifo)
        finally:
            # Releases a reader that waits for a writer, if QEMU has not opened the FIFO.
            with contextlib.suppress(OSError):
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            await compressing
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
        fifo.unlink(missing_ok=True)


async def examine(
    monitor: Monitor,
    subject: Subject,
    directory: Path,
    what: tuple[Kind, str],
    *,
    dumping: bool,
    vector: int | None = None,
) -> Crash:
    """Return the report on a paused machine; `what` is its kind and reason.

    `vector` is an earlier result of handler_address(), which fails if page tables are destroyed.
    """
    kernel = await asyncio.to_thread(Elf.open, subject.vmlinux)
    program, missing, file = Program(kernel), "", None
    stacks: list[list[Frame]] = []
    try:
        program.offset = offset_of(kernel, vector or await handler_address(monitor))
        stacks = await processors(monitor, program, subject.cpus)
    except UklError as error:
        missing = error.message
    if dumping:
        try:
            await dump(monitor, directory / DUMP)
            file = directory / DUMP
        except (OSError, UklError) as error:
            missing = str(error)
    elif what[0] is not Kind.TIMEOUT:
        missing = "not requested"
    named = {f"processor {cpu}": frames for cpu, frames in enumerate(stacks) if frames}
    culprit = {
        title: from_panic(frames)
        for title, frames in named.items()
        if any(frame.function in PANIC for frame in frames)
    }
    images = subject.images(subject.vmlinux, program.offset)
    traces = await asyncio.to_thread(crash.locate, program, images, {**culprit, **named} | culprit)
    return Crash(
        guest=subject.guest,
        application=subject.application,
        kind=what[0],
        reason=what[1],
        time=time.time(),
        traces=tuple(traces),
        images=crash.link_images(images, directory),
        dump=file,
        missing=missing,
    )


# --- a core ---------------------------------------------------------------------------------


@contextlib.contextmanager
def decompressed(dump_file: Path) -> Iterator[Path]:
    """Yield a sparse, decompressed copy of a dump for the block."""
    with tempfile.TemporaryDirectory(prefix="ukl-dump-", dir=_large_directory()) as temporary:
        path = Path(temporary) / "core"
        with gzip.open(dump_file, "rb") as source, path.open("wb") as out:
            while data := source.read(_CHUNK):
                if data.count(0) == len(data):
                    out.seek(len(data), os.SEEK_CUR)
                else:
                    out.write(data)
            out.truncate()
        yield path


def _large_directory() -> str | None:
    """Return the directory for large files: TMPDIR, or /var/tmp, as /tmp may be in memory."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else None)


def whose(header: cores.Header, subject: Subject) -> str:
    """Return the name of the process that a core is of, with its mode if that is known. Pure."""
    modes = {
        marker_path(subject.application): Mode.UNIKERNEL,
        user_path(subject.application): Mode.PROCESS,
        **subject.as_is,
    }
    mode = f", {modes[header.executable]}" if header.executable in modes else ""
    return f"process {header.pid} ({header.executable or subject.application}{mode})"


def examine_core(header: cores.Header, subject: Subject, directory: Path) -> Crash:
    """Return the report on a core that lies in `directory`."""
    file = directory / DUMP
    with decompressed(file) as path:
        core = Core(Elf.open(path))
        threads = core.threads()
        if not threads:
            raise UklError("the core has no threads")
        program, code, linked = _code_of(core, header, subject)
        read = unwind.words(core.fetch, _PAGE)
        stacks = {
            f"thread {each.number}": unwind.backtrace(code, each.registers, read)
            for each in threads
        }
        images = replace(subject.images(linked, program.offset), as_is=isinstance(program, Mapped))
        is_linked = header.executable == marker_path(subject.application)
        why = core.reason(header.signal, ring0=is_linked)
        return Crash(
            guest=subject.guest,
            application=header.executable or subject.application,
            kind=Kind.SIGNAL,
            reason=f"{whose(header, subject)}: {why}",
            time=time.time(),
            traces=tuple(crash.locate(program, images, stacks)),
            images=crash.link_images(images, directory),
            dump=file,
        )


def _code_of(
    core: Core, header: cores.Header, subject: Subject
) -> tuple[Program, unwind.Code, Path]:
    """Return the program of a core, all code that can be unwound, and the program's file."""
    kernel = Elf.open(subject.vmlinux)
    offset = 0
    if header.text:
        offset = header.text - kernel.addresses(["_stext"]).get("_stext", header.text)
    vmlinux = Program(kernel, offset)
    user = subject.user
    if user is not None and header.executable == user_path(subject.application):
        normal = Program(Elf.open(user))
        return normal, normal, user
    if user is None or header.executable not in subject.as_is:
        return vmlinux, vmlinux, subject.vmlinux

    space = Space(core.maps(), opener(core, header.executable, user), vmlinux)
    own = space.program(header.executable)
    return (own, space, user) if own is not None else (vmlinux, space, subject.vmlinux)


# --- while a session runs ---------------------------------------------------------------------


class PostMortem:
    """Handles the crashes of one session. `notify` gets the directory of each report."""

    def __init__(
        self, session: Session, subject: Subject, notify: Callable[[Path], None], *, dumping: bool
    ) -> None:
        self._session = session
        self._subject = subject
        self._notify = notify
        self._dumping = dumping
        self._receiver: asyncio.Task[None] | None = None
        self._locator: asyncio.Task[None] | None = None
        self._vector: int | None = None
        self._reports = 0

    def begin(self) -> None:
        """Start to handle panics and cores."""
        self._session.on_pause = self._on_pause
        self._locator = asyncio.create_task(self._locate())
        if self._session.core is not None:
            self._receiver = asyncio.create_task(self._receive_cores())

    async def finish(self) -> None:
        """Complete reports in progress, and stop; called after the guest's end."""
        if self._locator is not None:
            self._locator.cancel()
            await asyncio.gather(self._locator, return_exceptions=True)
        if self._receiver is not None:
            await asyncio.wait([self._receiver], timeout=FINISH)
            self._receiver.cancel()
            await asyncio.gather(self._receiver, return_exceptions=True)

    async def _locate(self) -> None:
        """Find the kernel's address while its page tables are intact."""
        if self._session.settings.nonce is not None:
            with contextlib.suppress(UklError):
                await self._session.until(status.Type.HELLO)
                self._vector = await handler_address(self._session.monitor)

    def _directory(self) -> Path:
        self._reports += 1
        directory = self._session.settings.directory / f"{crash.DIRECTORY}{self._reports}"
        directory.mkdir(exist_ok=True)
        return directory

    def _keep(self, report: Crash, directory: Path) -> None:
        crash.write(report, directory)
        self._notify(directory)

    async def _on_pause(self, why: PauseReason) -> None:
        panic: str | None = None
        if why is PauseReason.PANIC:
            panic = reason_of(self._session.tail(), init=self._session.settings.nonce is None)
            if panic is None:
                return
        directory = self._directory()
        reason = {
            PauseReason.PANIC: panic or "",
            PauseReason.RESET: "the machine was reset: by a triple fault, or on request",
            PauseReason.TIMEOUT: "this is where it was",
        }[why]
        try:
            report = await examine(
                self._session.monitor,
                self._subject,
                directory,
                (Kind(why.value), reason),
                dumping=self._dumping and why is not PauseReason.TIMEOUT,
                vector=self._vector,
            )
            self._keep(report, directory)
        except Exception:  # noqa: BLE001 - a bug here must not lose the run's result
            shutil.rmtree(directory, ignore_errors=True)
            self._session.settings.console_log.with_name(FAILURES).write_text(
                traceback.format_exc()
            )

    async def _receive_cores(self) -> None:
        loop = asyncio.get_running_loop()
        port = self._session.core
        assert port is not None
        decoder = cores.Decoder()
        header: cores.Header | None = None
        writer: cores.Writer | None = None
        directory = Path()
        try:
            while data := await loop.sock_recv(port, _CHUNK):
                for each in decoder.feed(data):
                    if isinstance(each, cores.Header):
                        if writer is not None:  # its sender was killed while it dumped
                            writer.drop()
                            shutil.rmtree(directory, ignore_errors=True)
                        header, writer = each, None
                        if self._reports < MAX_REPORTS:
                            directory = self._directory()
                            writer = cores.Writer(directory / DUMP)
                    elif each and writer is not None:
                        await asyncio.to_thread(writer.write, each)
                    elif not each:
                        await loop.sock_sendall(port, b"\n")
                        if writer is not None and header is not None:
                            writer.done()
                            await self._examine(header, directory)
                        writer = None
        except (OSError, cores.Malformed):
            pass
        finally:
            if writer is not None:  # the machine ended before the core did
                writer.drop()
                shutil.rmtree(directory, ignore_errors=True)

    async def _examine(self, header: cores.Header, directory: Path) -> None:
        try:
            report = await asyncio.to_thread(examine_core, header, self._subject, directory)
        except Exception as error:  # noqa: BLE001 - the guest may send anything
            images = self._subject.images(self._subject.vmlinux, 0)
            report = Crash(
                guest=self._subject.guest,
                application=header.executable,
                kind=Kind.SIGNAL,
                reason=f"{whose(header, self._subject)}: signal {header.signal}",
                time=time.time(),
                traces=(),
                images=images,
                dump=directory / DUMP,
                missing=str(error),
            )
        if not self._dumping:
            (directory / DUMP).unlink(missing_ok=True)
            report = replace(report, dump=None, missing="not requested")
        self._keep(report, directory)


def reports(directory: Path) -> list[Crash]:
    """Return the reports of a run in order."""
    found = sorted(
        directory.glob(f"{crash.DIRECTORY}*"), key=lambda path: (len(path.name), path.name)
    )
    return [report for path in found if (report := crash.read(path)) is not None]
