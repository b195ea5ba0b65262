# SPDX-License-Identifier: GPL-2.0
"""Takes a snapshot of a running guest: part of its keeper, which is connected to QEMU.

The guest's init holds all processors (guest/snapshot.c), the machine is paused, and QEMU
writes its state. Then the guest goes on as one of the copies would. The file is written
beside its name without one of its own, flushed, and gets the name last.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import struct
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from ukl.base.errors import UklError
from ukl.base.model import DHCP, Disk, Machine, NetworkKind
from ukl.host.store import is_no_space
from ukl.vm import snapshot, status
from ukl.vm.migration import Splitter
from ukl.vm.registry import Record
from ukl.vm.session import Session
from ukl.vm.snapshot import BLOCK, Snapshot

HOLD_TIMEOUT = 20.0
"""Seconds that init may take to hold the processors, or to report that the guest goes on."""

QUIET_TIMEOUT = 5.0
"""Seconds in which the guest must have read what was sent to it."""

FAST = 1 << 40
"""Bytes per second that QEMU may write; its default is made for networks."""

POLL = 0.005

SEED = 32

CHUNK = 1 << 20


def check(session: Session) -> None:
    """Raise UklError for a guest that cannot have a snapshot."""
    machine, settings = session.machine, session.settings
    what = remedy = ""
    if settings.nonce is None:
        what = "its program is process 1 (--init app), and nothing could make the copies differ"
        remedy = "run it without --init app"
    elif settings.interactive:
        what = "it has a shell on its console"
        remedy = "run it without --shell; ukl shell NAME starts one"
    elif machine.volumes:
        what = "it has a volume, whose open files are QEMU's and not the guest's"
        remedy = "use a disk (--disk), which a snapshot includes"
    elif any(disk.offset is not None for disk in machine.disks):
        what = "it is a copy with a disk, and what it has written there is only QEMU's"
        remedy = "take it of the original"
    elif machine.network.kind in {NetworkKind.TAP, NetworkKind.BRIDGE}:
        what = "it is on a tap device or bridge of this machine"
        remedy = "use --network, or only forwarded ports (-p)"
    elif machine.network.address == DHCP:
        what = "it has its address from a server, and would keep it"
        remedy = "leave --ip dhcp out"
    elif machine.icount or machine.trace is not None:
        what = "its instructions are counted"
    if what:
        raise UklError(f"this guest cannot have a snapshot: {what}", remedy=remedy or None)


def news(copy: tuple[str, str, str] | None = None) -> bytes:
    """Return the lines with which a guest goes on after its snapshot.

    `copy` has the name of a copy, its address on the network (`-`: none) and its MAC address.
    """
    lines = [f"seed {secrets.token_hex(SEED)}"]
    if copy is not None:
        lines.append(f"copy {' '.join(copy)}")
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    lines.append(f"go {seconds} {nanoseconds}")
    return "".join(f"{line}\n" for line in lines).encode()


async def take(session: Session, record: Record, file: Path) -> None:
    """Write a snapshot of a guest into `file`. The guest goes on, whatever happens."""
    check(session)
    try:
        with _beside(file) as stream:
            found = await _save(session, record, stream)
            tail = snapshot.encode(found)
            await _in_thread(_finish, stream, tail, file)
    except OSError as error:
        why = "no space left" if is_no_space(error) else error.strerror or str(error)
        raise UklError(f"cannot write the snapshot: {why}", where=file) from error


P = ParamSpec("P")
T = TypeVar("T")


async def _in_thread(call: Callable[P, T], *values: P.args, **more: P.kwargs) -> T:
    """Call a function in a thread. Who is cancelled waits for its end: it uses the file."""
    task = asyncio.ensure_future(asyncio.to_thread(call, *values, **more))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise


# --- the file -----------------------------------------------------------------------


@contextlib.contextmanager
def _beside(file: Path) -> Iterator[BinaryIO]:
    """Yield a new file without a name, where `file` will be; nothing is left of it."""
    try:
        descriptor = os.open(file.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without such files
        with tempfile.NamedTemporaryFile(prefix=f".{file.name}.", dir=file.parent) as named:
            yield named.file  # type: ignore[misc]
        return
    with os.fdopen(descriptor, "r+b") as stream:
        yield stream


def _finish(stream: BinaryIO, tail: bytes, file: Path) -> None:
    """Write the end, flush all, and give the file its name."""
    stream.seek(0, os.SEEK_END)
    stream.write(tail)
    stream.flush()
    os.fsync(stream.fileno())
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}.new")
    try:
        # A name can be replaced only by another name. Without a directory os.link() would link
        # the symbolic link.
        os.link(f"/proc/self/fd/{stream.fileno()}", new.name, dst_dir_fd=directory)
        try:
            new.replace(file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)


# --- the machine ---------------------------------------------------------------------


async def _save(session: Session, record: Record, stream: BinaryIO) -> Snapshot:
    machine, monitor = session.machine, session.monitor
    host = snapshot.this_host(monitor.version, machine.accelerator)
    before, stopped = len(session.messages), False
    session.send(status.HOLD)
    try:
        async with asyncio.timeout(HOLD_TIMEOUT):
            await session.until(status.Type.HELD, before)
        stopped = True
        await monitor.stop()
        await _quiet(session)
        offset = await _migrate(session, stream)
        devices = (machine.memory, offset - machine.memory)
        disks, offset = await _in_thread(_copy_disks, machine, stream, offset)
        rest = session.streams_rest
    except TimeoutError:
        raise UklError(
            "the guest does not answer",
            remedy="it may be stuck: ukl logs shows its output, ukl gdb where it is",
        ) from None
    finally:
        session.send(news())
        if stopped:  # by us, and not by a debugger
            await monitor.resume()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HOLD_TIMEOUT):
            await session.until(status.Type.RESUMED, before)
    settings = session.settings
    assert settings.nonce is not None
    return Snapshot(
        host=host,
        record=record,
        machine=replace(
            machine, kernel=Path(), initrd=Path(), cmdline="", disks=disks, paused=False
        ),
        devices=devices,
        nonce=settings.nonce,
        companion=settings.companion,
        agent=settings.agent,
        cores=settings.cores,
        streams="" if settings.streams is None else settings.streams.kinds,
        rest=rest,
        stop_grace=settings.stop_grace,
    )


async def _quiet(session: Session) -> None:
    """Wait until we have read what QEMU has sent, and QEMU what we have sent.

    What is on the way would be missing in a copy: a part of a frame, after which no frame
    could be found.
    """
    end = time.monotonic() + QUIET_TIMEOUT
    while any(_waiting(each) for each in session.channels):
        if time.monotonic() > end:
            raise UklError(
                "the guest does not read its input", remedy="take the snapshot when it waits for it"
            )
        await asyncio.sleep(POLL)
    await asyncio.sleep(0)  # what was read last is also taken


def _waiting(channel: socket.socket) -> int:
    """Return how many bytes of a channel are on the way, in both directions."""
    total = 0
    for request in (termios.FIONREAD, termios.TIOCOUTQ):  # SIOCOUTQ is the same number
        answer = fcntl.ioctl(channel, request, bytes(4))
        total += struct.unpack("i", answer)[0]
    return total


async def _migrate(session: Session, stream: BinaryIO) -> int:
    """Let QEMU write memory and devices into `stream`; return where they end."""
    monitor, size = session.monitor, session.machine.memory
    with tempfile.TemporaryDirectory(prefix="ukl-") as directory:
        listener = socket.socket(socket.AF_UNIX)
        with listener:
            listener.bind(f"{directory}/state")
            listener.listen(1)
            listener.setblocking(False)
            await monitor.execute("migrate-set-parameters", {"max-bandwidth": FAST})
            await monitor.execute("migrate", {"uri": f"unix:{directory}/state"})
            async with asyncio.timeout(HOLD_TIMEOUT):
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    with connection:
        connection.setblocking(True)
        try:
            end = await _in_thread(_receive, connection, stream, size)
        except BaseException:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(UklError):
                await monitor.execute("migrate_cancel")
                await _migrated(session)
            raise
    if (how := await _migrated(session)) != "completed":
        raise UklError(f"QEMU did not save the machine: {how}", log=session.settings.qemu_log)
    return end


async def _migrated(session: Session) -> str:
    """Wait for the end of a migration, and return how it ended."""
    while True:
        answer = await session.monitor.execute("query-migrate")
        how = str(answer.get("status")) if isinstance(answer, dict) else ""
        if how in {"completed", "failed", "cancelled"}:
            reason = answer.get("error-desc") if isinstance(answer, dict) else None
            return f"{how}: {reason}" if reason else how
        await asyncio.sleep(POLL)


def _receive(connection: socket.socket, stream: BinaryIO, memory: int) -> int:
    """Write memory at the beginning of `stream`, devices behind it; return where they end."""
    output = stream.fileno()
    os.ftruncate(output, memory)
    end = memory

    def write(data: bytes) -> None:
        nonlocal end
        _put(output, end, data)
        end += len(data)

    with connection.makefile("rb", buffering=CHUNK) as source:
        Splitter(source.read, write, lambda at, page: _put(output, at, page)).run()
    return end


def _put(target: int, offset: int, data: bytes) -> None:
    """Write all of `data`; a file system that is full takes a part first."""
    done = os.pwrite(target, data, offset)
    while done < len(data):
        done += os.pwrite(target, data[done:], offset + done)


def _copy_disks(machine: Machine, stream: BinaryIO, offset: int) -> tuple[tuple[Disk, ...], int]:
    """Append the disks that can be written to; return the copies and where they end."""
    disks = []
    for disk in machine.disks:
        if disk.is_root:
            disks.append(disk)
            continue
        offset = -(-offset // BLOCK) * BLOCK
        with disk.file.open("rb") as source:
            size = _copy_data(source.fileno(), stream.fileno(), offset)
        disks.append(replace(disk, size=size, offset=offset))
        offset += size
    os.ftruncate(stream.fileno(), offset)
    return tuple(disks), offset


def _copy_data(source: int, target: int, offset: int) -> int:
    """Copy a file to `offset` of another one, without its holes; return its size."""
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            begin = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # only a hole is left
            break
        at = os.lseek(source, begin, os.SEEK_HOLE)
        while begin < at:
            data = os.pread(source, min(CHUNK, at - begin), begin)
            if not data:
                return size
            _put(target, offset + begin, data)
            begin += len(data)
    return size
