# SPDX-License-Identifier: GPL-2.0
"""The program's streams: which kinds they get, and how their bytes are moved."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ukl.vm import agent, streams, terminal
from ukl.vm.agent import Decoder, Frame, Type
from ukl.vm.streams import Pump, Streams


@pytest.mark.parametrize(
    ("terminals", "readable", "wanted", "expected"),
    [
        ("---", True, None, "ppp"),
        ("---", False, None, "npp"),
        ("ttt", True, None, "ttt"),
        ("ttt", False, None, "ntt"),  # in the background
        ("t-t", True, None, "ppt"),  # ukl run … | less
        ("-tt", True, None, "ptt"),
        ("tt-", True, None, "ttp"),
        ("---", True, True, "ttt"),
        ("---", False, True, "ttt"),
        ("ttt", True, False, "ppp"),
        ("ttt", False, False, "npp"),
    ],
)
def test_kinds(terminals: str, expected: str, *, readable: bool, wanted: bool | None) -> None:
    first, second, third = (each == "t" for each in terminals)
    assert streams.kinds((first, second, third), readable=readable, wanted=wanted) == expected


class Guest:
    """The other end of the port."""

    def __init__(self, ours: socket.socket) -> None:
        self.socket = ours
        self.decoder = Decoder()
        self.frames: list[Frame] = []

    async def greet(self, pump: Pump) -> None:
        pump.take(b"stale" + agent.hello("n"))
        await self.gets(Type.GRANT)

    async def gets(self, kind: Type) -> Frame:
        """Wait for a frame of that type, and forget those before it."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if frame.type is kind:
                    return frame
            self.frames += self.decoder.feed(
                await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
            )


def with_pump(given: Streams, check: Callable[[Pump, Guest, list[str]], Awaitable[None]]) -> bytes:
    """Run a check with a pump and return what it logged."""
    log = bytearray()
    ended: list[str] = []

    async def whole() -> None:
        ours, its = socket.socketpair()
        with ours, its:
            ours.setblocking(False)
            its.setblocking(False)
            pump = Pump(ours, given, "n", log.extend, lambda: ended.append("quit"))
            try:
                await asyncio.wait_for(check(pump, Guest(its), ended), 30)
            finally:
                await pump.close()

    asyncio.run(whole())
    return bytes(log)


def frame(kind: Type, data: bytes) -> bytes:
    return agent.encode(Frame(kind, 0, data))


def test_output_is_delivered_logged_and_granted_again() -> None:
    out, errors = bytearray(), bytearray()

    async def check(pump: Pump, guest: Guest, _: list[str]) -> None:
        await guest.greet(pump)
        pump.take(frame(Type.OUTPUT, b"out") + frame(Type.ERRORS, b"error"))
        assert (await guest.gets(Type.GRANT)).number == 3
        assert (await guest.gets(Type.GRANT)).number == 5
        pump.take(frame(Type.EXITED, bytes(4)))
        await guest.gets(Type.CLOSE)

    assert with_pump(Streams("npp", out.extend, errors.extend), check) == b"outerror"
    assert bytes(out + errors) == b"outerror"


def test_the_program_learns_that_its_reader_is_gone() -> None:
    errors = bytearray()

    def gone(_: bytes) -> None:
        raise BrokenPipeError

    async def check(pump: Pump, guest: Guest, _: list[str]) -> None:
        await guest.greet(pump)
        pump.take(frame(Type.OUTPUT, b"out"))
        assert (await guest.gets(Type.SHUT)).data == b"\x01"
        pump.take(frame(Type.OUTPUT, b"more") + frame(Type.ERRORS, b"error"))
        assert (await guest.gets(Type.GRANT)).number == 3
        assert (await guest.gets(Type.GRANT)).number == 4

    assert with_pump(Streams("npp", gone, errors.extend), check) == b"outmoreerror"
    assert errors == b"error"


def test_a_file_is_read_only_as_far_as_the_program_reads(tmp_path: Path) -> None:
    data = os.urandom(3 * agent.WINDOW)
    file = tmp_path / "in"
    file.write_bytes(data)

    async def check(pump: Pump, guest: Guest, _: list[str]) -> None:
        await guest.greet(pump)
        got = b""
        while part := (await guest.gets(Type.INPUT)).data:
            got += part
            if len(got) == agent.WINDOW:
                assert os.lseek(descriptor, 0, os.SEEK_CUR) == agent.WINDOW
            if len(got) % agent.WINDOW == 0:
                pump.take(frame(Type.TAKEN, agent.WINDOW.to_bytes(4, "little")))
        assert got == data

    descriptor = os.open(file, os.O_RDONLY)
    try:
        with_pump(Streams("ppp", len, len, input=descriptor), check)  # type: ignore[arg-type]
    finally:
        os.close(descriptor)


def test_keys_wait_for_the_program_and_an_interrupt_does_not() -> None:
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    given = Streams("ttt", print, print, input=follower, window=follower)

    async def check(pump: Pump, guest: Guest, ended: list[str]) -> None:
        os.write(leader, b"early\n")
        await asyncio.sleep(0.1)
        await guest.greet(pump)
        size = (await guest.gets(Type.RESIZE)).data
        assert size == bytes([24, 0, 80, 0])
        assert (await guest.gets(Type.INPUT)).data == b"early\n"
        os.write(leader, b"\x03")
        assert (await guest.gets(Type.INPUT)).data == b"\x03"
        assert not ended

    async def booting(pump: Pump, guest: Guest, ended: list[str]) -> None:
        os.write(leader, b"\x03")
        while not ended:
            await asyncio.sleep(0.01)

    try:
        with terminal.raw(follower):
            with_pump(given, check)
            with_pump(given, booting)
    finally:
        os.close(leader)
        os.close(follower)
