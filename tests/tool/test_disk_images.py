# SPDX-License-Identifier: GPL-2.0
"""Disks and EFI images hold what was put into them, and are the same each time."""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ukl.base.errors import MissingError
from ukl.package import build, disk, efi
from ukl.package.formats import NEEDS, SBIN, Format

KERNEL = random.Random(1).randbytes(3_000_001)
INITRD = random.Random(2).randbytes(1_000_003)
ARGUMENTS = "console=ttyS0 panic=-1"


def needs(kind: Format) -> None:
    try:
        build._require(NEEDS[kind])
    except MissingError as error:
        pytest.skip(f"optional: {error.message}")


def said(*argv: str | Path) -> str:
    path = f"/usr/bin:/bin:{SBIN}"
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, env={"PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(directory: Path, initrd: bytes = INITRD) -> Path:
    scratch = directory / "scratch"
    scratch.mkdir(parents=True)
    file = directory / "disk.raw"
    disk.write(file, KERNEL, initrd, ARGUMENTS, scratch)
    return file


def test_a_disk(tmp_path: Path) -> None:
    needs(Format.RAW)
    file = made(tmp_path / "one")
    said("sfdisk", "--verify", "--no-reread", "--no-tell-kernel", file)
    assert "EFI System" in said("sfdisk", "--list", file)
    # Only the last part of the disk is behind the file system.
    system = tmp_path / "esp"
    with file.open("rb") as stream:
        assert stream.read(2) != b"\0\0"  # somebody's boot code
        stream.seek(disk.ESP_START)
        system.write_bytes(stream.read(disk.plan(KERNEL, INITRD, ARGUMENTS).esp_size))
    said("fsck.fat", "-n", system)
    assert b"FAT32" in system.read_bytes()[:512]
    for name, content in ((disk.KERNEL, KERNEL), (disk.INITRD, INITRD)):
        out = tmp_path / "out"
        said("mcopy", "-n", "-o", "-i", f"{file}@@{disk.ESP_START}", f"::{name}", out)
        assert out.read_bytes() == content
    found = file.stat()
    assert found.st_size > 40 << 20
    assert found.st_blocks * 512 < 16 << 20  # the rest are holes


def test_the_same_disk_each_time(tmp_path: Path) -> None:
    needs(Format.RAW)
    one = made(tmp_path / "one")
    time.sleep(2.1)  # a FAT's times are of two seconds
    two = made(tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()
    other = made(tmp_path / "other", INITRD + b"!")
    assert said("sfdisk", "--disk-id", one) != said("sfdisk", "--disk-id", other)


def test_a_disk_of_qemu(tmp_path: Path) -> None:
    needs(Format.QCOW2)
    raw = made(tmp_path / "raw")
    files = [tmp_path / "one.qcow2", tmp_path / "two.qcow2"]
    for file in files:
        disk.qcow2(raw, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "identical" in said("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, files[0])


def test_an_efi_image(tmp_path: Path) -> None:
    needs(Format.EFI)
    sections = efi.sections(KERNEL, INITRD, ARGUMENTS, "web", "6.12")
    digests = []
    for name in ("one", "two"):
        scratch = tmp_path / name
        scratch.mkdir()
        file = scratch / "web.efi"
        efi.write(file, sections, scratch)
        digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
        time.sleep(1.1)  # times in headers are whole seconds
    assert digests[0] == digests[1]
    for name, content in sections.items():
        out = tmp_path / "section"
        said("objcopy", "--dump-section", f"{name}={out}", file, tmp_path / "copy.efi")
        # objcopy fills the file's alignment.
        assert out.read_bytes()[: len(content)] == content
        assert not out.read_bytes()[len(content) :].strip(b"\0")
    spans = [
        (int(address, 16), int(size, 16))
        for size, address in efi._SECTION.findall(said("objdump", "-h", file))
    ]
    assert len(spans) > len(sections)
    spans.sort()
    for (place, size), (following, _) in itertools.pairwise(spans):
        assert place + size <= following


def test_other_tools_know_the_efi_image(tmp_path: Path) -> None:
    needs(Format.EFI)
    if shutil.which("bootctl") is None:
        pytest.skip("optional: no bootctl on this machine")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = tmp_path / "web.efi"
    efi.write(file, efi.sections(KERNEL, INITRD, ARGUMENTS, "web", "6.12"), scratch)
    done = subprocess.run(
        ["bootctl", "kernel-identify", file], capture_output=True, text=True, check=False
    )
    if "Unknown command verb" in done.stderr:
        pytest.skip("optional: this bootctl (before systemd 253) identifies no kernels")
    assert done.stdout.strip() == "uki", done.stderr
