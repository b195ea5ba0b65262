# SPDX-License-Identifier: GPL-2.0
"""Makes an OCI image of some files, in the layout that registries and engines read. Pure.

The same files give the same bytes: no times, no user names, a fixed order. Source: the OCI
image format specification 1.1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"

EPOCH = "1970-01-01T00:00:00Z"
"""The time to write where tools require one."""

LEVEL = 6
"""zlib's level. The kernel and the initrd are already compressed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a layout by their names, and the manifest's digest."""

    files: Mapping[str, bytes]
    digest: str


def layer(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of files, by their absolute names, with their directories."""
    names = {name.lstrip("/"): data for name, data in files.items()}
    above = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, 9)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(names | dict.fromkeys(above - {*names, ""})):
            member = tarfile.TarInfo(name)
            data = names.get(name)
            if data is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def layout(
    files: Mapping[str, bytes], *, tag: str, labels: Mapping[str, str], command: tuple[str, ...]
) -> Layout:
    """Return the layout of an image with these files, for x86-64.

    `labels` are annotations of the manifest, and labels of the configuration.
    """
    tar = layer(files)
    packed = gzip.compress(tar, LEVEL, mtime=0)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": list(command), "Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]},
            "created": EPOCH,
            "history": [{"created": EPOCH, "created_by": "ukl package"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, packed)],
            "annotations": dict(labels),
        }
    )
    reference = {**_descriptor(MANIFEST, manifest), "annotations": {REFERENCE: tag}}
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [reference]})
    blobs = {_place(data): data for data in (packed, config, manifest)}
    marker = _json({"imageLayoutVersion": "1.0.0"})
    return Layout({"oci-layout": marker, "index.json": index, **blobs}, _digest(manifest))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _place(data: bytes) -> str:
    return "blobs/" + _digest(data).replace(":", "/")


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(data), "size": len(data)}
