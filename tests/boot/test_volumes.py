# SPDX-License-Identifier: GPL-2.0
"""Volumes and disks: what was acknowledged is there after QEMU was killed, and what is refused."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab
from ukl.base.errors import UklError
from ukl.base.model import Disk, Outcome, Volume
from ukl.host import exec as host_exec
from ukl.vm import storage

SIZE = 64 << 20


@pytest.fixture(scope="module")
def durable(lab: Lab) -> Built:
    """Return the program that writes and reads what must not be lost."""
    return lab.program("durable")


def mounted(built: Built, directory: Path) -> Built:
    """Return it with a volume on /volume and a disk on /a disk, both below `directory`."""
    (directory / "shared, too").mkdir(exist_ok=True)
    spec = replace(
        built.spec,
        volumes=(Volume(directory / "shared, too", "/volume"),),
        disks=(Disk(directory / "a, disk.img", "/a disk", SIZE),),
    )
    return replace(built, spec=spec)


def test_nothing_acknowledged_is_lost(lab: Lab, durable: Built, tmp_path: Path) -> None:
    """QEMU is killed while the program writes; then both are used again."""
    built = mounted(durable, tmp_path)
    places = ("/volume", "/a disk")

    async def killed() -> int:
        async with lab.boot(built, "write", *places) as guest:
            await guest.says("kept 25")
            os.kill(guest.session.pid, signal.SIGKILL)
            ran = await guest.end()
            assert ran.result.outcome is Outcome.LOST
        return max(int(number) for number in re.findall(rb"kept (\d+)\n", ran.output))

    kept = asyncio.run(killed())
    ran = lab.run(built, "read", *places)
    assert ran.result.status == 0, ran.text
    for place in places:
        [(count, last)] = re.findall(rf"(?m)^{place} (\d+) (\d+)$", ran.text)
        assert int(count) > kept, ran.text
        assert int(last) >= kept, ran.text
    # That run ended by itself: its disk was unmounted.
    disk = built.spec.disks[0].file
    found = host_exec.run(["/usr/sbin/dumpe2fs", "-h", disk], check=False).stdout
    assert re.search(r"(?m)^Filesystem state: +clean$", found), found
    assert "needs_recovery" not in found


@pytest.mark.parametrize("place", ["/volume", "/a disk"])
def test_what_databases_do_with_files(lab: Lab, durable: Built, tmp_path: Path, place: str) -> None:
    built = mounted(durable, tmp_path)
    assert "kinds ok" in lab.run(built, "kinds", place).lines
    if place == "/volume":
        file = tmp_path / "shared, too" / "mapped"
        assert file.read_bytes().startswith(b"not synced\0")
        assert file.stat().st_uid == os.getuid()


NOT_BY_9P = {
    "O_TMPFILE",
    "fallocate",
    "SEEK_HOLE",
    "leases",
    "nanoseconds",
    "renameat2",
    "FIFOs",
    "sockets",
    "fchmod of a deleted file",
    "ftruncate of a deleted file",
}
"""What docs/reference/volumes.md says that 9p does not do."""


@pytest.mark.parametrize(("place", "expected"), [("/volume", NOT_BY_9P), ("/a disk", set())])
def test_what_a_volume_lacks(
    lab: Lab, durable: Built, tmp_path: Path, place: str, expected: set[str]
) -> None:
    lines = lab.run(mounted(durable, tmp_path), "limits", place).lines
    assert lines[-1] == "limits end"
    assert {line.removeprefix("without ") for line in lines[:-1]} == expected


def test_a_read_only_volume(lab: Lab, durable: Built, tmp_path: Path) -> None:
    spec = replace(durable.spec, volumes=(Volume(tmp_path, "/volume", read_only=True),))
    ran = lab.run(replace(durable, spec=spec), "write", "/volume")
    assert ran.lines == ["open of /volume/log: Read-only file system"]
    assert ran.result.status == 1


def test_two_guests_on_one_volume(lab: Lab, durable: Built, tmp_path: Path) -> None:
    def on(**access: bool) -> Built:
        return replace(
            durable,
            spec=replace(durable.spec, volumes=(Volume(tmp_path, "/volume", **access),)),
        )

    async def second(built: Built, word: str, says: str) -> None:
        async with lab.boot(built, word, "/volume") as guest:
            await guest.says(says)
            await guest.end()

    async def both() -> None:
        async with lab.boot(on(), "write", "/volume") as guest:
            await guest.says("kept")
            for built in (on(), on(shared=True)):
                with pytest.raises(UklError, match="another guest may write"):
                    await second(built, "write", "kept")
            await second(on(read_only=True), "read", "/volume")
        async with lab.boot(on(shared=True), "write", "/volume") as guest:
            await guest.says("kept")
            await second(on(shared=True), "kinds", "kinds ok")

    asyncio.run(both())


def test_two_guests_on_one_disk(
    lab: Lab, durable: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = mounted(durable, tmp_path)
    built = replace(built, spec=replace(built.spec, volumes=()))

    async def second() -> None:
        async with lab.boot(built, "write", "/a disk"):
            raise AssertionError("it started")

    async def both() -> None:
        async with lab.boot(built, "write", "/a disk") as guest:
            await guest.says("kept")
            # By us before anything is built, and by QEMU should two start at once.
            for patch in (False, True):
                if patch:
                    monkeypatch.setattr(storage, "_is_locked", lambda descriptor: False)
                with pytest.raises(UklError, match=f"process {guest.session.pid}") as caught:
                    await second()
                assert "two guests would corrupt it" in caught.value.message
                assert caught.value.remedy
            assert (await guest.stop()).result.outcome is Outcome.STOPPED

    asyncio.run(both())
