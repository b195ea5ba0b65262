# SPDX-License-Identifier: GPL-2.0
"""Looks at what has crashed in a guest, and keeps it: backtraces and a dump.

A kernel that panics stops at pvpanic's call (`-action panic=pause`): its processors'
registers and stacks are read by QEMU's monitor, its memory is dumped as an ELF core, and the
machine goes on to its reset. A process that a signal kills with a core sends that (vm/cores.py).

Nothing here is an error of the run: what cannot be learned is said in the report.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.debug import crash, unwind
from ukl.debug.core import Core, described
from ukl.debug.crash import Crash, Images, Kind
from ukl.debug.placement import gate_dump, handler, idt_base, offset_of
from ukl.debug.unwind import Frame, Program, Unreadable
from ukl.elf.reader import Elf
from ukl.vm import console, cores, status
from ukl.vm.monitor import Monitor
from ukl.vm.session import Session, Stand

DIRECTORY = "crash-"
"""How the directories of reports begin, in that of the run."""

MAX_REPORTS = 5
"""Of a run: a server whose children crash one after the other does not fill the disk."""

DUMP = "dump.gz"
FIFO = "dump.fifo"
FAILURES = "postmortem.log"
"""Beside the console's log: what went wrong while a report was made."""

FINISH = 60.0
"""Seconds that the last core's report may take when the guest has ended."""

_PAGE = 1024
_CHUNK = 1 << 20

_REGISTER = re.compile(r"\b(R[A-Z0-9]{1,2}) ?=([0-9a-f]{16})\b")
_WORD = re.compile(r"0x([0-9a-f]{16})")

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR_SIZE, _VADDR_AT = 56, 16

PANIC = ("panic", "vpanic")


@dataclass(frozen=True, slots=True)
class Subject:
    """What runs in the guest: its images, and the normal executable."""

    guest: str
    application: str
    vmlinux: Path
    user: Path | None = None
    debug: Path | None = None
    sources: Path | None = None
    cpus: int = 1

    def images(self, program: Path, offset: int) -> Images:
        """Return the images of a crash."""
        return Images(program, offset, self.debug, self.sources)


# --- what QEMU's monitor says; pure -----------------------------------------------------


def registers(text: str) -> dict[str, int]:
    """Return the general registers in `info registers`, by their names in small letters."""
    return {name.lower(): int(value, 16) for name, value in _REGISTER.findall(text)}


def memory(text: str) -> bytes:
    """Return the bytes of a dump in words of 8 bytes; Unreadable if there are none."""
    words = _WORD.findall(text)
    if not words:
        raise Unreadable(text.strip())
    return b"".join(int(word, 16).to_bytes(8, "little") for word in words)


def reason_of(tail: bytes, *, init: bool) -> str | None:
    """Return why the kernel panicked; None if that is how the application ended in peace.

    `init` says that it was process 1, whose end is a panic always.
    """
    ended = console.init_exit(tail) if init else None
    if ended is None:
        return console.panic_reason(tail) or "the kernel panicked"
    _, number = ended
    return None if number is None else f"{described(number, 0, 0)}, of process 1"


def from_panic(frames: list[Frame]) -> list[Frame]:
    """Return a backtrace from panic() on: what that itself calls says nothing."""
    for number, frame in enumerate(frames):
        if frame.function in PANIC:
            return frames[number:]
    return frames


def canonical(head: bytes, table: int, count: int) -> bytes:
    """Return the begin of a dump with the addresses that its segments really have.

    `table` is where its `count` program headers are. QEMU (target/i386/arch_memory_mapping.c,
    walk_pml4e()) sets the upper 16 bits of all of them; those of the user half have none.
    """
    fixed = bytearray(head)
    for number in range(count):
        at = table + _PHDR_SIZE * number + _VADDR_AT
        if at + 8 > len(head):
            break
        address = int.from_bytes(head[at : at + 8], "little")
        if address and not address & 1 << 47:
            fixed[at : at + 8] = (address & (1 << 47) - 1).to_bytes(8, "little")
    return bytes(fixed)


# --- a machine that stands still ----------------------------------------------------------


async def entered(monitor: Monitor) -> int:
    """Return where this boot has the handler of VECTOR; UklError if that cannot be told."""
    table = idt_base(await monitor.human("info registers"))
    return handler(await monitor.human(gate_dump(table)))


async def processors(monitor: Monitor, program: Program, cpus: int) -> list[list[Frame]]:
    """Return the backtrace of each processor."""
    loop = asyncio.get_running_loop()

    def reader(cpu: int) -> Callable[[int, int], bytes]:
        def fetch(address: int, size: int) -> bytes:
            line = f"x /{size // 8}gx {address:#x}"
            told = asyncio.run_coroutine_threadsafe(monitor.human(line, cpu), loop)
            try:
                return memory(told.result())
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
    """Write the machine's memory, compressed, to `target`: whole, or not at all."""
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
            # A reader that waits for a writer that never came is let go.
            with contextlib.suppress(OSError):
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            await compressing
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
        fifo.unlink(missing_ok=True)


async def look(
    monitor: Monitor,
    subject: Subject,
    directory: Path,
    what: tuple[Kind, str],
    *,
    dumping: bool,
    vector: int | None = None,
) -> Crash:
    """Return the report of a machine that stands still; `what` is its kind and reason.

    `vector` is what entered() has told before: where page tables are destroyed it cannot any
    more.
    """
    kernel = await asyncio.to_thread(Elf.open, subject.vmlinux)
    program, missing, file = Program(kernel), "", None
    stacks: list[list[Frame]] = []
    try:
        program.offset = offset_of(kernel, vector or await entered(monitor))
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
        missing = "none was wanted"
    named = {f"processor {cpu}": frames for cpu, frames in enumerate(stacks) if frames}
    culprit = {
        title: from_panic(frames)
        for title, frames in named.items()
        if any(frame.function in PANIC for frame in frames)
    }
    images = subject.images(subject.vmlinux, program.offset)
    traces = await asyncio.to_thread(crash.located, program, images, {**culprit, **named} | culprit)
    return Crash(
        guest=subject.guest,
        application=subject.application,
        kind=what[0],
        reason=what[1],
        time=time.time(),
        traces=tuple(traces),
        images=crash.kept(images, directory),
        dump=file,
        missing=missing,
    )


# --- a core ---------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(dump_file: Path) -> Iterator[Path]:
    """Give an uncompressed copy of a dump, with holes where it is zero, for the block."""
    with tempfile.TemporaryDirectory(prefix="ukl-dump-", dir=_roomy()) as temporary:
        path = Path(temporary) / "core"
        with gzip.open(dump_file, "rb") as source, path.open("wb") as out:
            while data := source.read(_CHUNK):
                if data.count(0) == len(data):
                    out.seek(len(data), os.SEEK_CUR)
                else:
                    out.write(data)
            out.truncate()
        yield path


def _roomy() -> str | None:
    """Return where large files go: not /tmp, which may be memory, unless somebody says so."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else None)


def examined(header: cores.Header, subject: Subject, directory: Path) -> Crash:
    """Return the report of a core that lies in `directory`."""
    file = directory / DUMP
    with opened(file) as path:
        core = Core(Elf.open(path))
        threads = core.threads()
        if not threads:
            raise UklError("a core without threads")
        linked, offset = subject.vmlinux, 0
        kernel = Elf.open(subject.vmlinux)
        if subject.user is not None and header.executable == f"/user/{subject.application}":
            linked = subject.user
        elif header.text:
            offset = header.text - kernel.addresses(["_stext"]).get("_stext", header.text)
        program = Program(kernel if linked == subject.vmlinux else Elf.open(linked), offset)
        read = unwind.words(core.fetch, _PAGE)
        stacks = {
            f"thread {each.number}": unwind.backtrace(program, each.registers, read)
            for each in threads
        }
        images = subject.images(linked, offset)
        return Crash(
            guest=subject.guest,
            application=header.executable or subject.application,
            kind=Kind.SIGNAL,
            reason=core.reason(header.signal),
            time=time.time(),
            traces=tuple(crash.located(program, images, stacks)),
            images=crash.kept(images, directory),
            dump=file,
        )


# --- as long as a session runs ----------------------------------------------------------------


class PostMortem:
    """Attends to the crashes of one session. `tell` gets the directory of each report."""

    def __init__(
        self, session: Session, subject: Subject, tell: Callable[[Path], None], *, dumping: bool
    ) -> None:
        self._session = session
        self._subject = subject
        self._tell = tell
        self._dumping = dumping
        self._taking: asyncio.Task[None] | None = None
        self._learning: asyncio.Task[None] | None = None
        self._vector: int | None = None
        self._reports = 0

    def begin(self) -> None:
        """Wait for panics and cores from now on."""
        self._session.look = self._look
        self._learning = asyncio.create_task(self._learn())
        if self._session.core is not None:
            self._taking = asyncio.create_task(self._cores())

    async def finish(self) -> None:
        """Let reports that are being made be finished, and stop; the guest has ended."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        if self._taking is not None:
            await asyncio.wait([self._taking], timeout=FINISH)
            self._taking.cancel()
            await asyncio.gather(self._taking, return_exceptions=True)

    async def _learn(self) -> None:
        """Find out where the kernel is while its page tables are as they should be."""
        if self._session.settings.nonce is not None:
            with contextlib.suppress(UklError):
                await self._session.until(status.Type.HELLO)
                self._vector = await entered(self._session.monitor)

    def _directory(self) -> Path:
        self._reports += 1
        directory = self._session.settings.directory / f"{DIRECTORY}{self._reports}"
        directory.mkdir(exist_ok=True)
        return directory

    def _keep(self, report: Crash, directory: Path) -> None:
        crash.write(report, directory)
        self._tell(directory)

    async def _look(self, why: Stand) -> None:
        panicked: str | None = None
        if why is Stand.PANIC:
            panicked = reason_of(self._session.tail(), init=self._session.settings.nonce is None)
            if panicked is None:
                return
        directory = self._directory()
        reason = {
            Stand.PANIC: panicked or "",
            Stand.RESET: "the machine was reset: a fault in the handling of a fault, or asked for",
            Stand.TIMEOUT: "this is where it was",
        }[why]
        try:
            report = await look(
                self._session.monitor,
                self._subject,
                directory,
                (Kind(why.value), reason),
                dumping=self._dumping and why is not Stand.TIMEOUT,
                vector=self._vector,
            )
            self._keep(report, directory)
        except Exception:  # noqa: BLE001 - a defect of ours is no reason to lose the run's end
            shutil.rmtree(directory, ignore_errors=True)
            self._session.settings.console_log.with_name(FAILURES).write_text(
                traceback.format_exc()
            )

    async def _cores(self) -> None:
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
                        if writer is not None:  # of one that was killed while it dumped
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
            report = await asyncio.to_thread(examined, header, self._subject, directory)
        except Exception as error:  # noqa: BLE001 - what the guest sent may be anything
            images = self._subject.images(self._subject.vmlinux, 0)
            report = Crash(
                guest=self._subject.guest,
                application=header.executable,
                kind=Kind.SIGNAL,
                reason=f"signal {header.signal}",
                time=time.time(),
                traces=(),
                images=images,
                dump=directory / DUMP,
                missing=str(error),
            )
        if not self._dumping:
            (directory / DUMP).unlink(missing_ok=True)
            report = replace(report, dump=None, missing="none was wanted")
        self._keep(report, directory)


def reports(directory: Path) -> list[Crash]:
    """Return the reports of a run, in their order."""
    found = sorted(directory.glob(f"{DIRECTORY}*"), key=lambda path: (len(path.name), path.name))
    return [report for path in found if (report := crash.read(path)) is not None]
