# SPDX-License-Identifier: GPL-2.0
"""Disks are made whole or not at all, and never over something that is there."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ukl.base.errors import UklError
from ukl.base.model import AppSpec, Disk
from ukl.host import exec as host_exec
from ukl.host.process import PIPE, spawn
from ukl.vm import ext4, storage


def spec(file: Path, size: int = 32 << 20) -> AppSpec:
    return AppSpec("app", file, file.parent, (), disks=(Disk(file, "/data", size),))


@pytest.fixture(autouse=True)
def _tools(need: Callable[..., None]) -> None:
    os.environ["PATH"] += ":/usr/sbin"
    need("mke2fs")


def test_a_disk_is_made_once(tmp_path: Path) -> None:
    wanted = spec(tmp_path / "a disk.img")
    storage.check(wanted)
    assert list(tmp_path.iterdir()) == []
    storage.prepare(wanted)
    file = wanted.disks[0].file
    assert file.stat().st_size == 32 << 20
    assert file.stat().st_blocks * 512 < 8 << 20
    assert [path.name for path in tmp_path.iterdir()] == ["a disk.img"]
    before = file.stat()
    storage.check(wanted)
    storage.prepare(wanted)
    assert file.stat().st_ino == before.st_ino
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_a_disk_of_somebody_faster_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = spec(tmp_path / "disk.img")
    run = host_exec.run

    def slow(*words: object, **options: object) -> host_exec.Completed:
        wanted.disks[0].file.write_text("another's")
        return run(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(host_exec, "run", slow)
    storage.prepare(wanted)
    assert wanted.disks[0].file.read_text() == "another's"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("number", "text"), [(errno.ENOSPC, "no space left"), (errno.EFBIG, "cannot make the disk")]
)
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def fail(*words: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(host_exec, "run", fail)
    with pytest.raises(UklError, match=text) as caught:
        storage.prepare(spec(tmp_path / "disk.img"))
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*words: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(host_exec, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.prepare(spec(tmp_path / "disk.img"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_in_use_names_who_has_it(tmp_path: Path) -> None:
    wanted = spec(tmp_path / "disk.img")
    storage.prepare(wanted)
    drive = f"file,filename={wanted.disks[0].file},node-name=d,locking=on"
    qemu = spawn(
        [
            *("qemu-system-x86_64", "-S", "-nodefaults", "-display", "none"),
            *("-blockdev", drive, "-device", "virtio-blk-pci,drive=d"),
            *("-chardev", "stdio,id=m", "-mon", "chardev=m,mode=control"),
        ],
        stdin=PIPE,
        stdout=PIPE,
    )
    with qemu:
        assert qemu.stdout is not None
        assert qemu.stdin is not None
        assert b"QMP" in qemu.stdout.readline()
        qemu.stdin.write(b'{"execute": "qmp_capabilities"}\n')  # answered once all is set up
        qemu.stdin.flush()
        assert b"return" in qemu.stdout.readline()
        with pytest.raises(UklError, match=f"in use by qemu.*process {qemu.pid}") as caught:
            storage.check(wanted)
        assert caught.value.remedy
    storage.check(wanted)


@pytest.mark.parametrize("feature", ["", "quota", "casefold", "bigalloc,inline_data"])
def test_features_that_mke2fs_makes(tmp_path: Path, feature: str) -> None:
    file = tmp_path / "disk.img"
    words = ["-O", feature] if feature else []
    host_exec.run(["mke2fs", "-q", "-F", "-t", "ext4", *words, file, "64M"])
    wanted = spec(file)
    storage.check(wanted)
    needed = feature if feature in ext4.OPTIONS else ""
    assert storage.optional_features(wanted.disks[0]) == [needed] * bool(needed)
