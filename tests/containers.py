# SPDX-License-Identifier: GPL-2.0
"""Makes container images for tests: layers, OCI layouts, archives as `docker save` writes them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ukl.container import layers, programs
from ukl.container.tree import Tree

SHELL = "#!/bin/sh\n"


def elf(interpreter: str = "", machine: int = 62, size: int = 200) -> bytes:
    """Return an ELF executable with an interpreter, which says nothing else."""
    path = interpreter.encode() + b"\0"
    head = struct.pack("<4s5B7x", b"\x7fELF", 2, 1, 1, 0, 0)
    count = 1 if interpreter else 0
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(path), len(path), 1)
    return (head + segment * count + path).ljust(size, b"\0")


Member = tuple[str, bytes | None, Mapping[str, Any]]


def file(name: str, data: bytes | str = b"", mode: int = 0o644, **more: Any) -> Member:
    content = data.encode() if isinstance(data, str) else data
    return name, content, {"mode": mode, **more}


def program(name: str, interpreter: str = "", **more: Any) -> Member:
    return file(name, elf(interpreter), **{"mode": 0o755, **more})


def directory(name: str, mode: int = 0o755, **more: Any) -> Member:
    return name, None, {"type": tarfile.DIRTYPE, "mode": mode, **more}


def symlink(name: str, target: str) -> Member:
    return name, None, {"type": tarfile.SYMTYPE, "linkname": target, "mode": 0o777}


def hard(name: str, target: str) -> Member:
    return name, None, {"type": tarfile.LNKTYPE, "linkname": target}


def whiteout(name: str) -> Member:
    above, slash, last = name.rpartition("/")
    return file(f"{above}{slash}.wh.{last}")


def opaque(name: str) -> Member:
    return file(f"{name}/.wh..wh..opq")


def tar(members: Iterable[Member]) -> bytes:
    """Return a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data, more in members:
            member = tarfile.TarInfo(name)
            for key, value in more.items():
                setattr(member, key, value)
            member.size = len(data or b"")
            archive.addfile(member, io.BytesIO(data or b""))
    return out.getvalue()


def merged(*contents: Iterable[Member]) -> Tree:
    """Return the tree of some layers."""
    tree = Tree()
    for number, members in enumerate(contents):
        archive = tarfile.open(fileobj=io.BytesIO(tar(members)))  # noqa: SIM115
        layers.apply(tree, archive, f"layer {number}")
    layers.note_programs(tree)
    return tree


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def configuration(tars: Sequence[bytes], **config: Any) -> bytes:
    system = {"os": config.pop("os", "linux"), "architecture": config.pop("architecture", "amd64")}
    rootfs = {"type": "layers", "diff_ids": [digest(each) for each in tars]}
    return json.dumps({**system, "config": config, "rootfs": rootfs}).encode()


def layout(
    top: Path,
    *contents: Iterable[Member] | bytes,
    packed: bool = True,
    tag: str = "latest",
    **config: Any,
) -> Path:
    """Write an OCI layout with one image, of members or of whole archives."""
    tars = [each if isinstance(each, bytes) else tar(each) for each in contents]
    blobs = [gzip.compress(each, 1) if packed else each for each in tars]
    settings = configuration(tars, **config)
    manifest = {
        "schemaVersion": 2,
        "config": described(settings),
        "layers": [described(each) for each in blobs],
    }
    data = json.dumps(manifest).encode()
    place = top / "blobs/sha256"
    place.mkdir(parents=True)
    for each in (*blobs, settings, data):
        (place / digest(each).partition(":")[2]).write_bytes(each)
    name = {"annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "manifests": [{**described(data), **name}]}
    (top / "index.json").write_text(json.dumps(index))
    (top / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return top


def described(data: bytes) -> dict[str, Any]:
    return {"digest": digest(data), "size": len(data)}


def saved(path: Path, *contents: Iterable[Member], tag: str = "app:1", **config: Any) -> Path:
    """Write an archive like that of `docker save`."""
    tars = [tar(members) for members in contents]
    names = [f"{number}/layer.tar" for number in range(len(tars))]
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": names}]
    files = {
        **dict(zip(names, tars, strict=True)),
        "config.json": configuration(tars, **config),
        "manifest.json": json.dumps(manifest).encode(),
    }
    path.write_bytes(tar(file(name, data) for name, data in files.items()))
    return path


def head(data: bytes) -> str:
    return programs.head(io.BytesIO(data))
