# SPDX-License-Identifier: GPL-2.0
"""Volumes and disks: how they are written, and what keeps them from being had."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, InputError, MissingError, UklError
from ukl.base.model import DISK_SIZE, AppSpec, Disk, Volume
from ukl.guest.mounts import mounts
from ukl.guest.rundesc import Mount
from ukl.host.process import PIPE, spawn
from ukl.settings import volumes
from ukl.vm import storage, volume_locks

HERE = Path("/here")
SPEC = AppSpec("app", Path("/src/ukl.toml"), Path("/src"), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:/data", Volume(HERE / "data", "/data")),
        ("/a/b/:/data/", Volume(Path("/a/b"), "/data")),
        ("../x:/srv/y:ro", Volume(Path("/x"), "/srv/y", read_only=True)),
        ("x:/y:rw", Volume(HERE / "x", "/y")),
        ("x:/y:shared", Volume(HERE / "x", "/y", shared=True)),
        ("a:b:/y", Volume(HERE / "a:b", "/y")),
        (".:/two words", Volume(HERE, "/two words")),
    ],
)
def test_volumes_are_read(text: str, expected: Volume) -> None:
    assert volumes.parse_volume(text, HERE) == expected
    assert volumes.parse_volume(volumes.write_volume(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.img", Disk(HERE / "a.img", "/data", DISK_SIZE)),
        ("a.img:/db", Disk(HERE / "a.img", "/db", DISK_SIZE)),
        ("a.img,size=64M", Disk(HERE / "a.img", "/data", 64 << 20)),
        ("/d/a,b.img:/db,size=2GiB", Disk(Path("/d/a,b.img"), "/db", 2 << 30)),
    ],
)
def test_disks_are_read(text: str, expected: Disk) -> None:
    assert volumes.parse_disk(text, HERE) == expected


@pytest.mark.parametrize(
    "text",
    ["", "data", ":/data", "a:data", "a:", "a:/", "a:/x/../..", "a:/proc/x", "a:/dev", "a:/ukl/b"],
)
def test_what_is_no_volume(text: str) -> None:
    with pytest.raises(ValueError, match="/data"):
        volumes.parse_volume(text)


@pytest.mark.parametrize(
    "text",
    ["", ":/data", "a:data", "a,size=", "a,size=1", "a,size=1M", "a,size=99T", "a:/sys", "a:/"],
)
def test_what_is_no_disk(text: str) -> None:
    with pytest.raises(ValueError, match=r"/data|size|16M"):
        volumes.parse_disk(text)


def test_the_command_line_wins_for_its_targets() -> None:
    before = (Volume(HERE / "a", "/a"), Volume(HERE / "b", "/b"))
    added = (Volume(HERE / "c", "/a"),)
    assert volumes.merged(before, added) == (before[1], added[0])


def test_outer_mounts_come_first_and_names_fit() -> None:
    spec = replace(
        SPEC,
        volumes=(Volume(HERE, "/data/in/ner"), Volume(HERE, "/conf", read_only=True)),
        disks=(Disk(HERE / "d", "/data"),),
    )
    assert mounts(spec) == (
        Mount("9p", "ukl-volume1", "/conf", read_only=True),
        Mount("ext4", "ukl-disk0", "/data"),
        Mount("9p", "ukl-volume0", "/data/in/ner"),
    )
    words = " ".join(storage.qemu_words(spec.volumes, spec.disks))
    for mount in mounts(spec):
        assert f"={mount.source}" in words


def test_words_for_qemu_keep_odd_names() -> None:
    odd = Path('/a,b "c"')
    words = storage.qemu_words((Volume(odd, "/v", read_only=True),), (Disk(odd, "/d"),))
    assert 'path=/a,,b "c",security_model=none' in words[1]
    assert words[1].endswith("readonly=on")
    drive = json.loads(words[words.index("-blockdev") + 1])
    assert drive["file"]["filename"] == str(odd)
    assert "werror=report" in words[-1]


def refused(spec: AppSpec) -> UklError:
    with pytest.raises(UklError) as caught:
        storage.check(spec)
    assert caught.value.remedy
    return caught.value


def test_targets_and_files_must_not_hide_each_other(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "/data")
    twice = refused(replace(SPEC, volumes=(volume,), disks=(Disk(tmp_path / "d", "/data"),)))
    assert "/data" in twice.message
    hidden = refused(replace(SPEC, volumes=(volume,), files={"/data/x.conf": tmp_path / "x"}))
    assert "/data/x.conf" in hidden.message
    disks = (Disk(tmp_path / "d", "/a"), Disk(tmp_path / "d", "/b"))
    assert refused(replace(SPEC, disks=disks)).where == str(tmp_path / "d")


def test_volumes_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = refused(replace(SPEC, volumes=(Volume(tmp_path / "no thing", "/d"),)))
    assert absent.code is ExitCode.BAD_INPUT
    assert absent.remedy == f"mkdir -p '{tmp_path}/no thing'"
    (tmp_path / "file").touch()
    assert "directory" in refused(replace(SPEC, volumes=(Volume(tmp_path / "file", "/d"),))).message
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert ":ro" in str(refused(replace(SPEC, volumes=(Volume(tmp_path, "/d"),))).remedy)
    storage.check(replace(SPEC, volumes=(Volume(tmp_path, "/d", read_only=True),)))


def test_a_volume_has_one_writer(tmp_path: Path) -> None:
    mine = Volume(tmp_path, "/data")
    shared = replace(mine, shared=True)
    reader = replace(mine, read_only=True)
    with volume_locks.held([mine]):
        for other in (mine, shared):
            assert ":shared" in str(refused(replace(SPEC, volumes=(other,))).remedy)
        storage.check(replace(SPEC, volumes=(reader,)))
    with volume_locks.held([shared]):
        storage.check(replace(SPEC, volumes=(shared, replace(reader, target="/seen"))))
        refused(replace(SPEC, volumes=(mine,)))
    storage.check(replace(SPEC, volumes=(mine,)))


def test_volumes_of_a_guest_do_not_overlap(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pair = (Volume(tmp_path, "/a"), Volume(tmp_path / "in", "/b"))
    assert "/a and /b" in refused(replace(SPEC, volumes=pair)).message
    storage.check(replace(SPEC, volumes=(pair[0], replace(pair[1], read_only=True))))
    storage.check(replace(SPEC, volumes=tuple(replace(each, shared=True) for each in pair)))


@pytest.mark.process
@pytest.mark.parametrize("shared", [False, True])
def test_writers_above_and_below_a_volume(tmp_path: Path, *, shared: bool) -> None:
    below = tmp_path / "a" / "b"
    (below / "c").mkdir(parents=True)
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), "
        f"fcntl.{'LOCK_SH' if shared else 'LOCK_EX'}); print('ukl', flush=True); sys.stdin.read()"
    )
    other = spawn([sys.executable, "-c", code, below], stdin=PIPE, stdout=PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ukl\n"
        for place in (tmp_path / "a", below / "c"):
            found = refused(replace(SPEC, volumes=(Volume(place, "/d"),)))
            assert f"process {other.pid}" in found.message
            assert str(below) in found.message
            beside = replace(SPEC, volumes=(Volume(place, "/d", shared=True),))
            if shared:
                storage.check(beside)
            else:
                refused(beside)
        refused(replace(SPEC, volumes=(Volume(below, "/d"),)))


def test_disks_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(path: Path) -> AppSpec:
        return replace(SPEC, disks=(Disk(path, "/d"),))

    (tmp_path / "text").write_bytes(bytes(4096))
    assert "ext4" in refused(disk(tmp_path / "text")).message
    assert "-v DIR" in str(refused(disk(tmp_path)).remedy)
    assert "mkdir" in str(refused(disk(tmp_path / "no" / "disk")).remedy)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)
        assert "permission" in refused(disk(tmp_path / "new")).message
    monkeypatch.setattr(storage, "MKE2FS", "mke2fs-of-nobody")
    missing = refused(disk(tmp_path / "new"))
    assert isinstance(missing, MissingError)
    assert "e2fsprogs" in str(missing.remedy)


def test_a_file_whose_name_ends_early(tmp_path: Path) -> None:
    """InputError, not a traceback, for a file shorter than a superblock."""
    (tmp_path / "empty").touch()
    with pytest.raises(InputError):
        storage.check(replace(SPEC, disks=(Disk(tmp_path / "empty", "/d"),)))
