# SPDX-License-Identifier: GPL-2.0
"""A client of QEMU's gdb stub: stop a guest at an instruction, look, let it go on.

gdb itself would do; but thousands of stops need a round trip of microseconds each, and
nothing between the stop and what QEMU's monitor is told meanwhile. The protocol is
described in gdb's manual, "Remote Serial Protocol".
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ukl.vm.session import Session

PATIENCE = 60.0
"""Seconds until the guest must have come where it is waited for."""

RAX, RCX, RSP, R11, RIP, EFLAGS, SS, CR2 = 0, 16, 56, 88, 128, 136, 144, 196
"""Offsets in what the stub tells of the registers: QEMU's gdb-xml/i386-64bit.xml."""

FLAGS_NUMBER, CR8_NUMBER = 17, 31
"""The numbers of eflags and cr8 there."""

TF, IF, DF, RF, AC = 1 << 8, 1 << 9, 1 << 10, 1 << 16, 1 << 18


@dataclass(frozen=True, slots=True)
class Frame:
    """What the processor pushes when it takes an exception, from the lowest address on."""

    ip: int
    cs: int
    flags: int
    sp: int
    ss: int


@dataclass(frozen=True, slots=True)
class State:
    """All registers that the stub knows: general, segments, control, FPU, SSE."""

    data: bytes

    def _word(self, offset: int) -> int:
        word: int = struct.unpack_from("<Q", self.data, offset)[0]
        return word

    @property
    def ip(self) -> int:
        """The instruction pointer."""
        return self._word(RIP)

    @property
    def sp(self) -> int:
        """The stack pointer."""
        return self._word(RSP)

    @property
    def cx(self) -> int:
        """RCX, which has the return address behind SYSCALL."""
        return self._word(RCX)

    @property
    def r11(self) -> int:
        """R11, where the entry of a fast call keeps the stack pointer."""
        return self._word(R11)

    @property
    def flags(self) -> int:
        """The flags."""
        return self._word(EFLAGS) & 0xFFFFFFFF

    def having(self, frame: Frame) -> State:
        """Return the state with what the frame has in the place of its own."""
        data = bytearray(self.data)
        struct.pack_into("<Q", data, RSP, frame.sp)
        struct.pack_into("<QII", data, RIP, frame.ip, frame.flags, frame.cs)
        struct.pack_into("<I", data, SS, frame.ss)
        return State(bytes(data))

    def having_flags(self, flags: int) -> State:
        """Return the state with these flags."""
        data = bytearray(self.data)
        struct.pack_into("<I", data, EFLAGS, flags)
        return State(bytes(data))

    def moved(self, *, ip: int, sp: int | None = None, ax: int | None = None) -> State:
        """Return the state with these registers."""
        data = bytearray(self.data)
        for offset, value in ((RIP, ip), (RSP, sp), (RAX, ax)):
            if value is not None:
                struct.pack_into("<Q", data, offset, value)
        return State(bytes(data))

    def without_ss(self) -> State:
        """Return the state with the null selector in SS."""
        return State(self.data[:SS] + bytes(4) + self.data[SS + 4 :])

    def without_cr2(self) -> State:
        """Return the state with a zero in CR2."""
        return State(self.data[:CR2] + bytes(8) + self.data[CR2 + 8 :])

    def differences(self, other: State) -> str:
        """Return which bytes of the description differ, for a message."""
        words = [
            f"{at:#x}: {self.data[at : at + 8].hex()} became {other.data[at : at + 8].hex()}"
            for at in range(0, len(self.data), 8)
            if self.data[at : at + 8] != other.data[at : at + 8]
        ]
        return ", ".join(words)


class Stub:
    """A connection to the stub; the guest stands still but for `go` and `step`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def _send(self, payload: str) -> None:
        total = sum(payload.encode()) & 0xFF
        self._writer.write(f"${payload}#{total:02x}".encode())
        await self._writer.drain()

    async def receive(self) -> str:
        """Return what the next packet says."""
        packet = await self._reader.readuntil(b"#")
        await self._reader.readexactly(2)
        self._writer.write(b"+")
        return packet[packet.index(b"$") + 1 : -1].decode()

    async def ask(self, payload: str, patience: float = PATIENCE) -> str:
        """Send a packet and return the answer."""
        await self._send(payload)
        return await asyncio.wait_for(self.receive(), patience)

    async def _do(self, payload: str) -> None:
        said = await self.ask(payload)
        assert said == "OK", f"{payload}: {said}"

    async def state(self) -> State:
        """Return the registers."""
        return State(bytes.fromhex(await self.ask("g")))

    async def set_flags(self, flags: int) -> None:
        """Set the flags."""
        await self._do(f"P{FLAGS_NUMBER:x}={struct.pack('<I', flags).hex()}")

    async def mask(self, priority: int) -> None:
        """Keep interrupts of at most this priority (0 to 15) away: CR8 (SDM volume 3, 11.8.6)."""
        await self._do(f"P{CR8_NUMBER:x}={struct.pack('<Q', priority).hex()}")

    async def read(self, address: int, size: int) -> bytes:
        """Return what is in memory."""
        return bytes.fromhex(await self.ask(f"m{address:x},{size:x}"))

    async def words(self, address: int, count: int) -> tuple[int, ...]:
        """Return words of memory."""
        return struct.unpack(f"<{count}Q", await self.read(address, 8 * count))

    async def frame(self, address: int) -> Frame:
        """Return the frame of an exception that has no error code."""
        return Frame(*await self.words(address, 5))

    async def write(self, address: int, data: bytes) -> None:
        """Write to memory."""
        await self._do(f"M{address:x},{len(data):x}:{data.hex()}")

    async def step(self) -> State:
        """Execute one instruction, without interrupts, and return the registers then."""
        said = await self.ask("s")
        assert said.startswith("T05"), said
        return await self.state()

    async def go(self, *addresses: int, patience: float = PATIENCE) -> State:
        """Let the guest run until it is to execute one of `addresses`; return the registers.

        AssertionError if it does not come there in `patience` seconds.
        """
        for address in addresses:
            await self._do(f"Z1,{address:x},1")
        try:
            said = await self.ask("c", patience)
        except TimeoutError:
            places = ", ".join(f"{address:#x}" for address in addresses)
            raise AssertionError(f"the guest did not come to {places}") from None
        assert said.startswith("T05"), said
        for address in addresses:
            await self._do(f"z1,{address:x},1")
        return await self.state()

    async def leave(self) -> None:
        """Let the guest run on, without the stub."""
        await self._do("D")


@asynccontextmanager
async def attach(session: Session, path: Path) -> AsyncIterator[Stub]:
    """Stop the guest, and give what moves it; `path` is where the socket shall be."""
    said = await session.monitor.human(f"gdbserver unix:{path},server=on,wait=off")
    assert path.exists(), said
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        stub = Stub(reader, writer)
        writer.write(b"+")
        # QEMU tells of the stop by itself, or it does not: read up to an answer.
        said = await stub.ask("qAttached")
        while said != "1":
            said = await stub.receive()
        # Single registers can be written only after somebody has asked for this.
        assert await stub.ask("qXfer:features:read:target.xml:0,100")
        yield stub
    finally:
        writer.close()
