# SPDX-License-Identifier: GPL-2.0
"""Images made of Debian's binary packages: nothing of them is compiled or linked."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.boot.harness import Built, Lab, mode_of
from tests.boot.test_containers import SOURCE
from tests.conftest import OPTIONAL
from tests.containers import Member, file, layout
from tests.resp import Client
from ukl.base.model import AppSpec, Code, Guest, Outcome
from ukl.base.root import RootKind, RootSource
from ukl.flow.bootable import bootable
from ukl.host.store import digest
from ukl.vm.launch import Options

PACKAGES = "redis-server,python3"
RELEASE = "bookworm"
PORT = 6379

ENTRY = """\
#!/bin/bash -e
# As the entry points of many images: preparations by root, and the program as another user.
level
chown redis: /var/lib/redis
exec setpriv --reuid=redis --regid=redis --init-groups "$@"
"""

PYTHON = """\
import ctypes, hashlib, json, sqlite3, subprocess, threading
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 5)(5, 3, 1, 4, 2)
ctypes.CDLL("libc.so.6").qsort(numbers, 5, 4, compare(lambda a, b: a[0] - b[0]))
db = sqlite3.connect(":memory:")
print("sorted", list(numbers), db.execute("select 6 * 7").fetchone()[0])
print("child", subprocess.run(["level"], capture_output=True, text=True).stdout)
"""


@pytest.fixture(scope="module")
def debian(lab: Lab) -> bytes:
    """Return a tar archive of a minimal Debian with some packages, made once."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip(f"{OPTIONAL} needs root and debootstrap")

    def work(out: Path) -> None:
        options = ("--variant=minbase", f"--include={PACKAGES}", RELEASE)
        subprocess.run(["debootstrap", *options, str(out / "root")], check=True)
        words = ["tar", "-C", str(out / "root"), "--numeric-owner", "--xattrs", "-cf"]
        subprocess.run([*words, str(out / "root.tar"), "."], check=True)
        shutil.rmtree(out / "root")

    made = lab.store.make("probe", digest("debian", RELEASE, PACKAGES), {}, work)
    return (made / "root.tar").read_bytes()


@pytest.fixture
def level(tmp_path: Path) -> Member:
    """The program that says where it runs."""
    (tmp_path / "level.c").write_text(SOURCE)
    argv = ["gcc", "-w", "-static", str(tmp_path / "level.c"), "-o", str(tmp_path / "level")]
    subprocess.run(argv, check=True)
    return file("usr/local/bin/level", (tmp_path / "level").read_bytes(), 0o755)


def built(lab: Lab, top: Path, layers: tuple[Any, ...], user: bool, **config: Any) -> Built:
    path = layout(top / "image", *layers, packed=False, **config)
    source = RootSource(RootKind.OCI, str(path))
    spec = AppSpec("debian", path, top, root=source, code=Code.JIT, memory=512 << 20)
    made = bootable(spec, lab.context, Guest(mode=mode_of(user)))
    return Built(made.spec, made.image, made.initrd)


def test_redis(lab: Lab, debian: bytes, level: Member, tmp_path: Path, user: bool) -> None:
    upper = (level, file("entry.sh", ENTRY, 0o755))
    server = ("redis-server", "--protected-mode", "no", "--dir", "/var/lib/redis")
    guest = built(lab, tmp_path, (debian, upper), user, Entrypoint=["/entry.sh"], Cmd=list(server))

    async def go() -> None:
        options = Options(Guest(mode=mode_of(user)))
        async with lab.boot(guest, guest_port=PORT, options=options) as booted:
            await booted.says("Ready to accept connections")
            assert f"level at CPL {3 * user} ".encode() in booted.output
            client = await Client.connect(booted.port)
            for number in range(500):
                assert await client.do("SET", f"key{number}", f"value{number}") == b"OK"
            assert (
                await client.do("EVAL", "return redis.call('GET', KEYS[1])", "1", "key7")
                == b"value7"
            )
            assert await client.do("BGSAVE") == b"Background saving started"
            async with asyncio.timeout(60):
                while (await client.info("persistence"))["rdb_bgsave_in_progress"] != "0":
                    await asyncio.sleep(0.1)
            assert (await client.info("persistence"))["rdb_last_bgsave_status"] == "ok"
            ran = await booted.stop()
            assert "User requested shutdown" in ran.text or "SIGTERM" in ran.text

    asyncio.run(go())


def test_python(lab: Lab, debian: bytes, level: Member, tmp_path: Path, user: bool) -> None:
    guest = built(lab, tmp_path, (debian, (level,)), user, Cmd=["python3", "-c", PYTHON])
    ran = lab.run(guest, options=Options(Guest(mode=mode_of(user))))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "sorted [1, 2, 3, 4, 5] 42" in ran.lines
    # What the first program executes is a normal process.
    assert "child level at CPL 3 uid 0 exe /usr/local/bin/level" in ran.lines, ran.text
