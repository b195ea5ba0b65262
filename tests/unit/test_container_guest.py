# SPDX-License-Identifier: GPL-2.0
"""A guest with a root file system: its disk, what init mounts and starts, and the marker file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError, UsageError
from ukl.base.model import SMALL, AppSpec, Disk, Guest, Image, Mode, Network, NetworkKind, Volume
from ukl.base.root import RootKind, RootSource, Start
from ukl.guest.mounts import mounts
from ukl.guest.rundesc import Mount, Owner
from ukl.image import initrd
from ukl.kernel import symbols
from ukl.vm import launch, storage
from ukl.vm.launch import Options

IMAGE = Image("a", Path(), Path("v"), Path("b"), Path("s"), Path("marker"), b"", "key")
START = Start(
    path="/entry.sh",
    argv=("entry.sh", "server"),
    env={"A": "1"},
    directory="/srv",
    uid=33,
    gid=34,
    groups=(4,),
    stop_signal=3,
    program="/bin/sh",
    interpreter=("/bin/sh", "-e", "/entry.sh"),
)
SPEC = AppSpec(
    "a",
    Path("/i"),
    Path("/"),
    root=RootSource(RootKind.OCI, "/i"),
    start=START,
    disks=(Disk(Path("/cache/root"), "/"), Disk(Path("/d"), "/data")),
    volumes=(Volume(Path("/v"), "/var/log"), Volume(Path("/w"), "/w")),
)


def test_the_root_is_mounted_first_and_single_files_last() -> None:
    root = Mount("squashfs", "ukl-disk0", "/", read_only=True)
    others = (
        Mount("9p", "ukl-volume1", "/w"),
        Mount("ext4", "ukl-disk1", "/data"),
        Mount("9p", "ukl-volume0", "/var/log"),
    )
    assert mounts(SPEC) == (root, *others)
    packaged = replace(SPEC, disks=(), volumes=())
    assert mounts(packaged) == (Mount("initrd", "/root.image", "/"),)
    placed = replace(START, program="/usr/bin/x", interpreter=(), aside="/usr/bin/.x.ring0")
    assert mounts(replace(SPEC, start=placed)) == (
        root,
        *others,
        Mount("bind", "/usr/bin/x", "/usr/bin/.x.ring0"),
        Mount("bind", "/ukl/a", "/usr/bin/x"),
    )


def run_of(start: Start, mode: Mode = Mode.UNIKERNEL) -> tuple[str, tuple[str, ...]]:
    spec = replace(SPEC, start=start)
    run = launch.guest_run(IMAGE, spec, Options(Guest(mode=mode)), "n")
    assert (run.env, run.cwd, run.owner) == ({"A": "1"}, "/srv", Owner(33, 34, (4,)))
    assert (run.stop.signal, run.stop.grace_ms) == (3, 10000)
    return run.path, run.argv


def test_what_init_starts() -> None:
    # A script's interpreter is started by the marker file, with the words that Linux would add.
    assert run_of(START) == ("/ukl/a", ("/bin/sh", "-e", "/entry.sh", "server"))
    assert run_of(replace(START, interpreter=())) == ("/ukl/a", ("entry.sh", "server"))
    placed = replace(START, program="/usr/bin/x", interpreter=(), aside="/usr/bin/.x.ring0")
    assert run_of(placed) == ("/entry.sh", ("entry.sh", "server"))
    process = replace(START, program="", interpreter=())
    assert run_of(process, Mode.PROCESS) == ("/entry.sh", ("entry.sh", "server"))
    assert initrd.default_run(SPEC, IMAGE).argv == ("/bin/sh", "-e", "/entry.sh", "server")


def test_the_marker_of_a_script_is_for_all_that_it_executes(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.write_bytes(symbols.program_marker("/bin/sh"))

    def flags(spec: AppSpec) -> int:
        return int.from_bytes(initrd._marker(marker, spec).data[8:12], "little")

    assert flags(SPEC) == 0x12  # UKL_MARKER_EXEC, UKL_MARKER_TREE
    assert flags(replace(SPEC, start=replace(START, interpreter=()))) == 0x2


def test_the_disk_is_read_only() -> None:
    words = storage.qemu_words((), SPEC.disks)
    first, second = (json.loads(words[number]) for number in (1, 5))
    assert first["read-only"] is first["file"]["read-only"] is True
    assert "read-only" not in second
    assert "serial=ukl-disk0" in words[3]


def test_it_is_not_checked_as_a_disk(tmp_path: Path) -> None:
    root = Disk(tmp_path / "root.squashfs", "/")
    root.file.write_bytes(b"hsqs")
    root.file.chmod(0o444)
    storage.check(replace(SPEC, disks=(root,), volumes=()))
    with pytest.raises(InputError, match="2 volumes or disks have the mount point /data"):
        storage.check(replace(SPEC, disks=(root, *[SPEC.disks[1]] * 2), volumes=()))


def test_what_it_excludes() -> None:
    with pytest.raises(UsageError, match="no process mounts the root file system"):
        launch.check(Options(Guest(init="app")), replace(SPEC, disks=()))
    with pytest.raises(UsageError, match="the profile tiny has no disks"):
        launch.check(Options(), replace(SPEC, profile=SMALL))


def test_the_programs_of_the_image_are_enough() -> None:
    assert not initrd.needs_userspace(SPEC, Guest(mode=Mode.PROCESS, shell=True))
    assert initrd.needs_userspace(SPEC, Guest(network=Network(NetworkKind.TAP, address="dhcp")))
