# SPDX-License-Identifier: GPL-2.0
"""The agent's frames, and the unpacking of what a guest sends."""

from __future__ import annotations

import errno
import io
import socket
import tarfile
import threading
import time
from pathlib import Path

import pytest

from ukl.base.errors import InputError, UklError, UsageError, VmLost
from ukl.guest.rundesc import GuestRun
from ukl.vm import agent, copy, execute
from ukl.vm.agent import Decoder, Frame, Type
from ukl.vm.copy import GuestPath

FRAMES = [
    Frame(Type.EXEC, 1, b"text", agent.TERMINAL),
    Frame(Type.OUTPUT, 0xFFFFFFFF, bytes(agent.MAX_PAYLOAD)),
    Frame(Type.INPUT, 7),
    agent.number(Type.EXITED, 3, 0x700),
]


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_is_encoded_is_decoded(step: int) -> None:
    data = b"".join(map(agent.encode, FRAMES))
    decoder = Decoder()
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    assert [frame for part in parts for frame in decoder.feed(part)] == FRAMES


def test_the_layout_is_what_the_guest_reads() -> None:
    frame = Frame(Type.SIGNAL, 0x01020304, b"\x0f", 0)
    assert agent.encode(frame) == b"\x03\x00\x01\x00\x04\x03\x02\x01\x0f"


def test_all_before_the_hello_counts_for_nothing() -> None:
    decoder = Decoder(agent.hello("abc"))
    stale = agent.encode(FRAMES[0])[:-2] + b"ukl-agent 1 other\n"
    data = stale + agent.hello("abc") + agent.encode(FRAMES[2])
    found = [frame for byte in data for frame in decoder.feed(bytes([byte]))]
    assert found == [FRAMES[2]]
    assert decoder.greeted


def test_an_unknown_type_is_no_frame() -> None:
    with pytest.raises(agent.Malformed, match="99"):
        Decoder().feed(agent.HEADER.pack(99, 0, 0, 1))


def test_a_connection_that_breaks_is_a_guest_that_is_gone() -> None:
    ours, its = socket.socketpair()

    run = GuestRun(name="exec", start=False, companion=("/bin/true",))

    def close() -> None:  # with the frames of the client unread
        time.sleep(0.2)
        its.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(VmLost):
        execute.execute(ours, run, execute.Streams())
    closing.join()


def test_an_answer_comes_before_all_is_sent() -> None:
    """The agent closes the connection behind it."""
    ours, its = socket.socketpair()
    with its:
        its.sendall(agent.encode(agent.number(Type.FAILED, 0, errno.EACCES)))
    run = GuestRun(name="exec", start=False, companion=("/etc/passwd",))
    with pytest.raises(execute.NotStarted) as caught:
        execute.execute(ours, run, execute.Streams())
    assert caught.value.exit_code == execute.NOT_EXECUTABLE


def test_what_is_too_long_to_execute() -> None:
    with pytest.raises(InputError, match="too long"):
        agent.exec_frame(1, GuestRun(name="exec", start=False, companion=("x" * 70000,)))


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7 << 8, 7), (9, 137), (0x8B, 139)])
def test_exit_codes(status: int, code: int) -> None:
    assert agent.exit_code(status) == code


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("web:/etc/x", GuestPath("web", "/etc/x")),
        ("web:/a:b", GuestPath("web", "/a:b")),
        ("./web:/x", Path("web:/x")),
        ("/web:/x", Path("/web:/x")),
        ("file", Path("file")),
    ],
)
def test_places(text: str, place: object) -> None:
    assert copy.parse(text) == place


def test_a_relative_place_in_a_guest() -> None:
    with pytest.raises(UsageError, match="absolute"):
        copy.parse("web:etc")


def archive(*members: tuple[str, bytes, bytes | str]) -> io.BytesIO:
    """Return an archive of (name, type, content or target of the link)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as made:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.mode = 0o6755
            if isinstance(content, bytes):
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                made.addfile(member)
    packed.seek(0)
    return packed


def test_a_tree_is_unpacked(tmp_path: Path) -> None:
    packed = archive(
        ("t", tarfile.DIRTYPE, b""),
        ("t/file", tarfile.REGTYPE, b"x"),
        ("t/hard", tarfile.LNKTYPE, "t/file"),
        ("t/soft", tarfile.SYMTYPE, "/etc"),
        ("t/null", tarfile.CHRTYPE, b""),
    )
    copy.unpack(packed, tmp_path, "t")
    assert (tmp_path / "t/hard").read_bytes() == b"x"
    assert (tmp_path / "t/file").stat().st_mode & 0o7777 == 0o755
    assert sorted(file.name for file in (tmp_path / "t").iterdir()) == ["file", "hard", "soft"]


@pytest.mark.parametrize(
    "members",
    [
        [("other", tarfile.REGTYPE, b"x")],
        [("t/../../x", tarfile.REGTYPE, b"x")],
        [("/t", tarfile.REGTYPE, b"x")],
        [("t", tarfile.SYMTYPE, "/tmp"), ("t/x", tarfile.REGTYPE, b"x")],
        [
            ("t", tarfile.DIRTYPE, b""),
            ("t/l", tarfile.SYMTYPE, ".."),
            ("t/l/x", tarfile.REGTYPE, b"x"),
        ],
        [("t/x", tarfile.REGTYPE, b"x")],
        [("t", tarfile.LNKTYPE, "/etc/passwd")],
    ],
)
def test_no_file_gets_elsewhere(tmp_path: Path, members: list[tuple[str, bytes, bytes]]) -> None:
    with pytest.raises(UklError, match="the guest sent a"):
        copy.unpack(archive(*members), tmp_path, "t")
    assert not (tmp_path.parent / "x").exists()
