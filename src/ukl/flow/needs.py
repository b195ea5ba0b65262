# SPDX-License-Identifier: GPL-2.0
"""What an application's guest needs of its kernel: known before anything is built or booted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Tune
from ukl.flow.kernel import Wanted
from ukl.kernel import fragments, kconfig
from ukl.vm import ext4, storage

_VOLUMES = ("9P_FS", "NET_9P_VIRTIO")
_DISKS = ("EXT4_FS", "VIRTIO_BLK")
_PORTS = ("INET", "VIRTIO_NET")


def check(specs: Sequence[AppSpec], wanted: Wanted) -> None:
    """Raise InputError for the first thing that the kernel cannot have by its configuration."""
    asked = [
        request
        for file in fragments(wanted.profile)
        for request in kconfig.parse_fragment(file.read_text(), str(file))
    ]
    asked += kconfig.parse_options(wanted.options, "the options asked for")
    values = {name: request.value for name, request in kconfig.merge(asked).items()}
    for spec in specs:
        for what, option in needed(spec):
            if values.get(f"CONFIG_{option}", "n") == "n":
                raise _lacking(spec, what, option, wanted, values)


def needed(spec: AppSpec) -> Iterator[tuple[str, str]]:
    """Yield what an application asks for, and an option of the kernel that it needs. Pure, but
    for the superblocks of disks."""
    for what, wanted, options in (
        ("a volume", bool(spec.volumes), _VOLUMES),
        ("a disk", bool(spec.disks), _DISKS),
        ("a forwarded port", bool(spec.ports), _PORTS),
        (f"{spec.cpus} processors", spec.cpus > 1, ("SMP",)),
        ("a page size", bool(spec.page_size), ("TRANSPARENT_HUGEPAGE",)),
        ("tune = server", spec.tune is Tune.SERVER, ("UKL_HELD_KICKS", "VIRTIO_NET")),
    ):
        if wanted:
            yield from ((what, option) for option in options)
    for disk in spec.disks:
        for feature in storage.optional_features(disk):
            for option in ext4.OPTIONS[feature]:
                yield f"the ext4 feature {feature} of {disk.file.name}", option


def _lacking(
    spec: AppSpec, what: str, option: str, wanted: Wanted, values: Mapping[str, str]
) -> InputError:
    profile = f" of the profile {wanted.profile}" if wanted.profile else ""
    how = "leave it out"
    if wanted.profile and f"CONFIG_{option}" in values:
        how += ", or use the kernel without that profile"
    else:
        how += f', or set {option} = "y" in [kernel] options'
    return InputError(
        f"{spec.name} asks for {what}, and the kernel{profile} lacks CONFIG_{option}, which that "
        "needs",
        where=spec.origin,
        remedy=how,
    )
