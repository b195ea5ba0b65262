# SPDX-License-Identifier: GPL-2.0
"""Snapshots, as far as they are plans: the stream, the file, the refusals, the arguments."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.conftest import TOP
from ukl.base.errors import InputError, UklError
from ukl.base.model import Accelerator, Disk, Machine, Network, NetworkKind, PortForward, Volume
from ukl.cli import lean
from ukl.vm import qemu, registry, saving, snapshot, storage
from ukl.vm.migration import BOOT, MAGIC, Malformed, Splitter
from ukl.vm.session import Session
from ukl.vm.settings import Settings
from ukl.vm.snapshot import Host, Snapshot

PAGE = 4096


def number(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "big")


def name(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def section(kind: int, records: bytes) -> bytes:
    head = name("ram") + bytes(7) + b"\4" if kind == 1 else b""
    return bytes([kind]) + number(2, 4) + head + records + number(0x10) + b"\x7e" + number(2, 4)


def stream(pages: bytes) -> bytes:
    sizes = b"".join(
        name(block) + number(size)
        for block, size in (("pc.ram", 4 * PAGE), (f"{BOOT}x", PAGE), ("pc.bios", 2 * PAGE))
    )
    return (
        MAGIC
        + b"\7"
        + number(4, 4)
        + b"q35x"
        + section(1, number(7 * PAGE | 4) + sizes)
        + section(2, pages)
        + section(3, b"")
        + b"\4devices"
    )


def split(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    rest, memory = bytearray(), dict[int, bytes]()
    splitter = Splitter(io.BytesIO(data).read, rest.extend, memory.__setitem__)
    splitter.run()
    return bytes(rest), memory


def test_memory_is_taken_out_of_the_stream() -> None:
    bios = number(PAGE | 8) + name("pc.bios") + b"B" * PAGE
    pages = (
        number(0 | 8)
        + name("pc.ram")
        + b"1" * PAGE
        + number(2 * PAGE | 0x28)
        + b"2" * PAGE
        + number(3 * PAGE | 0x22)
        + b"\0"
        + number(PAGE | 0x22)
        + b"z"
        + bios
        + number(0 | 2)
        + name(f"{BOOT}x")
        + b"\0"
    )
    rest, memory = split(stream(pages))
    assert memory == {0: b"1" * PAGE, PAGE: b"z" * PAGE, 2 * PAGE: b"2" * PAGE}
    sizes = name("pc.ram") + number(4 * PAGE) + name("pc.bios") + number(2 * PAGE)
    head = MAGIC + b"\7" + number(4, 4) + b"q35x"
    assert rest == (
        head
        + section(1, number(6 * PAGE | 4) + sizes)
        + section(2, bios)
        + section(3, b"")
        + b"\4devices"
    )


@pytest.mark.parametrize(
    "data", [b"QEVM\0\0\0\2", MAGIC + b"\5", stream(number(PAGE | 0x40)), stream(b"")[:60]]
)
def test_another_stream_is_an_error(data: bytes) -> None:
    with pytest.raises(Malformed):
        split(data)


# --- the file ---------------------------------------------------------------------

HOST = Host("7.2.22 (Debian)", Accelerator.TCG, "Abacus")
RECORD = registry.Record("web", "hello", registry.Identity(1, 2, "boot"))
MACHINE = Machine(
    kernel=Path(),
    initrd=Path(),
    cmdline="",
    memory=2 * PAGE,
    cpus=2,
    accelerator=Accelerator.TCG,
    ports=(PortForward(8080, 80),),
    disks=(Disk(Path("/there/disk"), "/data", 512, offset=3 * PAGE),),
    network=Network(NetworkKind.SHARED, "shop", "10.77.0.2/24", "52:54:00:00:00:01"),
    stop_on_crash=True,
    firmware=Path("/qboot.rom"),
)
SNAPSHOT = Snapshot(
    HOST, RECORD, MACHINE, (2 * PAGE, 7), "nonce", False, True, True, "npp", b"\1\2", 2.0
)


def written(tmp_path: Path, found: Snapshot = SNAPSHOT) -> Path:
    file = tmp_path / "web.snapshot"
    file.write_bytes(bytes(2 * PAGE) + b"devices" + snapshot.encode(found))
    return file


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    descriptor, found = snapshot.opened(written(tmp_path))
    os.close(descriptor)
    # The network's addresses are the original's: a copy has others.
    network = Network(NetworkKind.SHARED, "shop")
    assert found == replace(SNAPSHOT, machine=replace(MACHINE, network=network))


@pytest.mark.parametrize("cut", [1, 40, 2 * PAGE])
def test_a_part_of_a_file_is_refused(tmp_path: Path, cut: int) -> None:
    file = written(tmp_path)
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(InputError, match="not a complete one"):
        snapshot.opened(file)


def test_a_missing_file_and_a_missing_root_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        snapshot.opened(tmp_path / "none")
    root = replace(MACHINE, disks=(Disk(tmp_path / "gone", "/"),))
    with pytest.raises(InputError, match="does not exist any more"):
        snapshot.opened(written(tmp_path, replace(SNAPSHOT, machine=root)))


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (replace(HOST, qemu="9.0"), r"another QEMU: 7.2.22 \(Debian\), this machine has 9.0"),
        (replace(HOST, accelerator=Accelerator.KVM), "another accelerator: tcg"),
        (replace(HOST, cpu="Slide rule"), "another processor: Abacus"),
    ],
)
def test_another_machine_is_refused_with_the_reason(here: Host, words: str) -> None:
    snapshot.check(HOST, HOST, Path("f"))
    with pytest.raises(InputError, match=words):
        snapshot.check(HOST, here, Path("f"))


def test_features_count_under_kvm_only(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Abacus\nflags\t\t: sse avx\n\nmodel name\t: Other\n")
    here = snapshot.this_host("7.2", Accelerator.KVM, cpuinfo)
    assert here == Host("7.2", Accelerator.KVM, "Abacus", "avx sse")
    assert snapshot.this_host("7.2", Accelerator.TCG, cpuinfo).features == ""
    with pytest.raises(InputError, match="differs in avx"):
        snapshot.check(here, replace(here, features="sse"), Path("f"))


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        ({"volumes": (Volume(Path("/v"), "/v"),)}, {}, "it has a volume"),
        ({"network": Network(NetworkKind.TAP, "tap0")}, {}, "tap device"),
        ({"network": Network(NetworkKind.SHARED, "n", "dhcp")}, {}, "from a server"),
        ({"icount": True}, {}, "are counted"),
        ({"disks": MACHINE.disks}, {}, "a copy with a disk"),
        ({}, {"nonce": None}, "process 1"),
        ({}, {"interactive": True}, "a shell"),
    ],
)
def test_some_guests_have_none(
    change: dict[str, object], settings: dict[str, object], words: str
) -> None:
    def guest(**more: object) -> Session:
        given = Settings(**{"directory": Path(), "nonce": "n", "output": print, **more})  # type: ignore[arg-type]
        machine = replace(replace(MACHINE, disks=()), **change)  # type: ignore[arg-type]
        return cast(Session, SimpleNamespace(machine=machine, settings=given))

    if not change:
        saving.check(guest())
    with pytest.raises(UklError, match=words):
        saving.check(guest(**settings))


def test_a_guest_goes_on_with_a_new_seed_and_the_time() -> None:
    own, copy = saving.news().decode(), saving.news(("web-2", "-", "-")).decode()
    assert [line.split()[0] for line in own.splitlines()] == ["seed", "go"]
    assert "copy web-2 - -\n" in copy
    assert own.splitlines()[0] != copy.splitlines()[0]
    # guest/status.c reads lines of at most 127 bytes.
    longest = saving.news(("n" * 64, "255.255.255.255/32", "52:54:00:00:00:01")).splitlines()
    assert max(map(len, longest)) < 127


# --- the machine --------------------------------------------------------------------


def test_a_copy_maps_the_file_and_boots_no_kernel() -> None:
    words = qemu.argv(MACHINE, qemu.Channels(console=3, qmp=4, status=5, memory=9, state=6))
    assert f"{qemu.MACHINE},memory-backend=pc.ram" in words
    backend = "memory-backend-file,id=pc.ram,mem-path=/dev/fd/9,share=off,size=8192"
    assert words[words.index("-object") + 1] == backend
    assert words[words.index("-incoming") + 1] == "fd:6"
    assert not {"-kernel", "-initrd", "-append"} & set(words)
    # QEMU opens its ports when the copy runs.
    assert not any("hostfwd" in word for word in words)


def test_a_copy_writes_over_its_disk() -> None:
    [_, drive, _, device] = storage.qemu_words((), MACHINE.disks)
    assert "driver=raw,offset=12288,size=512,snapshot=on" in drive
    assert "file.filename=/there/disk" in drive
    assert "drive=disk0,serial=ukl-disk0" in device


# --- the command line ----------------------------------------------------------------


def test_a_copy_has_few_options() -> None:
    line = lean.parse(
        ["--cache-dir", "/c", "run", "--from=f", "-p", "8080:80", "-n3", "-d", "--name", "x"]
    )
    assert line is not None
    assert line.cache == Path("/c")
    assert line.options == lean.Options(Path("f"), (PortForward(8080, 80),), "x", 3, detach=True)
    plain = lean.parse(["run", "--from", "f"])
    assert plain is not None
    assert plain.options == lean.Options(Path("f"))


@pytest.mark.parametrize(
    "words",
    [
        "run hello",
        "run --from f hello",
        "run --from",
        "run --from f -m 1G",
        "run --from f -p 0:1",
        "run --from f -n 0",
        "run --from f -n many",
        "stop --from f",
        "run --from f --help",
    ],
)
def test_the_rest_is_left_to_typer(words: str) -> None:
    assert lean.parse(words.split()) is None


@pytest.mark.process
def test_a_copy_imports_no_more_than_it_needs() -> None:
    code = "import sys, ukl.cli.lean, ukl.vm.copies, ukl.settings.values; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TOP / "src")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "ukl.vm.copies" in loaded
    heavy = {"typer", "click", "pydantic", "rich", "elftools", "ukl.elf.reader"}
    assert heavy & set(loaded) == set()
