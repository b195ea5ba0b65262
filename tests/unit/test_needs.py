# SPDX-License-Identifier: GPL-2.0
"""What the guest's kernel lacks is said before anything is built."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError, UklError
from ukl.base.model import AppSpec, Disk, PortForward, Tune, Volume
from ukl.flow import needs
from ukl.flow.kernel import wanted_by
from ukl.vm import ext4, storage

SPEC = AppSpec("app", Path("/src/ukl.toml"), Path("/src"))
VOLUME = Volume(Path("/v"), "/v")


def check(spec: AppSpec) -> None:
    needs.check((spec,), wanted_by((spec,)))


def disk(file: Path, incompatible: int = 0x2, read_only: int = 0x1) -> Disk:
    """Return a disk whose file has a superblock with these features, and nothing else."""
    superblock = bytearray(1024)
    superblock[0x38:0x3A] = b"\x53\xef"
    struct.pack_into("<II", superblock, 0x60, incompatible, read_only)
    file.write_bytes(bytes(1024) + superblock)
    return Disk(file, "/data")


@pytest.mark.parametrize(
    ("spec", "what", "option"),
    [
        (replace(SPEC, volumes=(VOLUME,)), "a volume", "CONFIG_9P_FS"),
        (replace(SPEC, disks=(Disk(Path("/absent"), "/d"),)), "a disk", "CONFIG_EXT4_FS"),
        (replace(SPEC, cpus=2), "2 processors", "CONFIG_SMP"),
        (replace(SPEC, page_size=65536), "a page size", "CONFIG_TRANSPARENT_HUGEPAGE"),
    ],
)
def test_what_a_profile_lacks_is_named_with_it(spec: AppSpec, what: str, option: str) -> None:
    check(spec)
    with pytest.raises(InputError, match=option) as caught:
        check(replace(spec, profile="tiny"))
    assert what in caught.value.message
    assert "the profile tiny" in caught.value.message
    assert "without that profile" in str(caught.value.remedy)


def test_options_of_the_manifest_count() -> None:
    check(replace(SPEC, profile="tiny", ports=(PortForward(1, 1),)))
    options = {"9P_FS": "y", "NET_9P": "y", "CONFIG_NET_9P_VIRTIO": "y"}
    check(replace(SPEC, profile="tiny", volumes=(VOLUME,), kernel_options=options))
    with pytest.raises(InputError, match="CONFIG_9P_FS"):
        check(replace(SPEC, volumes=(VOLUME,), kernel_options={"9P_FS": "n"}))
    check(replace(SPEC, tune=Tune.SERVER))
    with pytest.raises(InputError, match="CONFIG_UKL_HELD_KICKS"):
        check(replace(SPEC, tune=Tune.SERVER, kernel_options={"UKL_HELD_KICKS": "n"}))
    other = replace(SPEC, name="other", cpus=2)
    with pytest.raises(InputError, match="other asks for 2 processors"):
        needs.check((SPEC, other), wanted_by((replace(SPEC, profile="tiny"), other)))


def test_features_of_a_disk(tmp_path: Path) -> None:
    plain = replace(SPEC, disks=(disk(tmp_path / "plain"),))
    storage.check(plain)
    check(plain)
    quota = replace(SPEC, disks=(disk(tmp_path / "quota.img", read_only=0x101),))
    storage.check(quota)
    with pytest.raises(InputError, match=r"the ext4 feature quota of quota\.img") as caught:
        check(quota)
    assert 'QUOTA = "y"' in str(caught.value.remedy)
    check(replace(quota, kernel_options={"QUOTA": "y", "QFMT_V2": "y"}))
    for numbers, name in (((0x1, 0), "compression"), ((0x2, 0x20000), "with number 0x20000")):
        unknown = replace(SPEC, disks=(disk(tmp_path / "unknown", *numbers),))
        with pytest.raises(UklError, match=name) as refused:
            storage.check(unknown)
        assert refused.value.remedy


def test_names_of_features() -> None:
    superblock = bytearray(1024)
    struct.pack_into("<II", superblock, 0x60, 0x20000, 0x2100)
    assert ext4.optional(bytes(superblock)) == ["casefold", "quota", "project"]
    assert ext4.unsupported(bytes(superblock)) == []
