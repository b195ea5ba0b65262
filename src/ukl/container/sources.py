# SPDX-License-Identifier: GPL-2.0
"""Opens an image: an OCI layout, what `docker save` wrote, or a tar archive of files.

All that has a digest is checked against it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ukl.base.errors import InputError
from ukl.base.root import RootKind, RootSource
from ukl.container.config import ARCHITECTURE, SYSTEM, Config, parse
from ukl.host.store import digest

AGAIN = "copy the image again"
REFERENCE = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"

_JSON_MAX = 16 << 20
"""Bytes of an index, a manifest or a configuration."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as it is stored; `name` is for messages.

    `file` is where it is, if it is a file of its own; `open` opens it in any case. `digest` and
    `diff_id` are those of the stored and of the unpacked bytes, empty if unknown; so is `size`.
    """

    name: str
    open: Callable[[], IO[bytes]]
    file: Path | None = None
    digest: str = ""
    size: int | None = None
    diff_id: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """An image: its configuration and layers. `key` changes when any of them does."""

    where: str
    config: Config
    layers: tuple[Layer, ...]
    key: str


@contextlib.contextmanager
def opened(source: RootSource) -> Iterator[Contents]:
    """Open an image that is on this machine; raises InputError."""
    path, where = Path(source.name), source.text
    if not path.exists():
        raise InputError("there is no such file or directory", where=path, remedy="check the path")
    try:
        match source.kind:
            case RootKind.OCI:
                yield _layout(path, source.reference, where)
            case RootKind.DOCKER_ARCHIVE:
                with _tar(path) as archive:
                    yield _saved(archive, source.reference, where)
            case _:
                yield _plain(path)
    except PermissionError as error:
        raise InputError(
            f"cannot read it: {error.strerror}",
            where=error.filename or path,
            remedy="change its owner or mode",
        ) from error


# --- an OCI layout -------------------------------------------------------------------


def _layout(directory: Path, reference: str, where: str) -> Contents:
    index = directory / "index.json"
    if not index.is_file():
        raise InputError(
            "not a directory with an OCI image: it has no index.json",
            where=directory,
            remedy="make one with `skopeo copy docker://NAME oci:DIR:TAG`, or use --rootfs for a "
            "directory of files",
        )
    chosen = _chosen(_json(index.read_bytes(), str(index)), reference, str(index))
    manifest = _json(_blob(directory, chosen), where)
    if "manifests" in manifest:  # an index of platforms
        chosen = _platform(manifest, where)
        manifest = _json(_blob(directory, chosen), where)
    described = _object(manifest.get("config"), where)
    config = parse(_json(_blob(directory, described), where), where)
    layers = tuple(
        _stored(directory, _object(each, where), diff_id)
        for each, diff_id in _paired(manifest.get("layers"), config, where)
    )
    return Contents(where, config, layers, digest(str(chosen.get("digest"))))


def _chosen(index: dict[str, Any], reference: str, where: str) -> dict[str, Any]:
    """Return the descriptor of the image with this reference, or of the only one."""
    found = [_object(each, where) for each in index.get("manifests") or []]
    names = [_names(each) for each in found]
    if reference:
        fits = [each for each, known in zip(found, names, strict=True) if reference in known]
        if fits:
            return fits[0]
    elif len(found) == 1:
        return found[0]
    known = ", ".join(sorted({name for each in names for name in each[:1]}))
    raise InputError(
        f"there is no image `{reference}`" if reference else f"there are {len(found)} images",
        where=where,
        remedy=f"name one of these after a colon: {known}" if known else "name another directory",
    )


def _names(descriptor: dict[str, Any]) -> list[str]:
    notes = descriptor.get("annotations") or {}
    names = [str(notes[key]) for key in (REFERENCE, _FULL_NAME) if key in notes]
    return [*names, *(name.rpartition(":")[2] for name in names if ":" in name)]


def _platform(index: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the descriptor of the image for this architecture."""
    platforms = []
    for each in index.get("manifests") or []:
        platform = _object(each, where).get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == (SYSTEM, ARCHITECTURE):
            return _object(each, where)
        platforms.append(f"{platform.get('os')}/{platform.get('architecture')}")
    raise InputError(
        f"the image is for {', '.join(platforms) or 'nothing'}, not for {SYSTEM}/{ARCHITECTURE}",
        where=where,
        remedy=f"copy it with `skopeo --override-arch {ARCHITECTURE} copy …`",
    )


def _blob_path(directory: Path, descriptor: dict[str, Any]) -> Path:
    name = str(descriptor.get("digest", ""))
    kind, _, value = name.partition(":")
    if kind != "sha256" or len(value) != 64 or not value.isalnum():
        raise InputError(
            f"not a digest that can be checked: {name!r}", where=directory, remedy=AGAIN
        )
    path = directory / "blobs" / kind / value
    if not path.is_file():
        raise InputError("a part of the image is missing", where=path, remedy=AGAIN)
    return path


def _blob(directory: Path, descriptor: dict[str, Any]) -> bytes:
    path = _blob_path(directory, descriptor)
    with path.open("rb") as stream:
        data = stream.read(_JSON_MAX)
    check(f"sha256:{hashlib.sha256(data).hexdigest()}", str(descriptor["digest"]), str(path))
    return data


def _stored(directory: Path, descriptor: dict[str, Any], diff_id: str) -> Layer:
    path = _blob_path(directory, descriptor)
    size = descriptor.get("size")
    return Layer(
        f"layer {str(descriptor['digest'])[:19]}",
        lambda: path.open("rb"),
        path,
        str(descriptor["digest"]),
        size if isinstance(size, int) else None,
        diff_id,
    )


# --- docker save ---------------------------------------------------------------------


def _tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"not a tar archive: {error}", where=path, remedy=AGAIN) from error


def _saved(archive: tarfile.TarFile, reference: str, where: str) -> Contents:
    listed = _parse(_member(archive, "manifest.json", where), where)
    if not isinstance(listed, list):
        raise InputError("manifest.json is not a list", where=where, remedy=AGAIN)
    images = [_object(each, where) for each in listed]
    fits = [
        each
        for each in images
        if not reference or any(_matches(tag, reference) for tag in each.get("RepoTags") or [])
    ]
    if len(fits) != 1:
        known = ", ".join(str(tag) for each in images for tag in each.get("RepoTags") or [])
        raise InputError(
            f"there are {len(fits)} images" + (f" `{reference}`" if reference else ""),
            where=where,
            remedy=f"name one of these after a colon: {known}" if known else "save it again",
        )
    image = fits[0]
    data = _member(archive, str(image.get("Config")), where)
    config = parse(_json(data, where), where)

    def layer(name: str, diff_id: str) -> Layer:
        def reopened() -> IO[bytes]:
            return _extract(archive, name, where)

        return Layer(f"layer {name[:19]}", reopened, diff_id=diff_id)

    layers = tuple(
        layer(str(name), diff_id) for name, diff_id in _paired(image.get("Layers"), config, where)
    )
    return Contents(where, config, layers, digest(data))


def _matches(tag: object, reference: str) -> bool:
    return str(tag) in {reference, f"{reference}:latest"} or str(tag).endswith(f"/{reference}")


def _extract(archive: tarfile.TarFile, name: str, where: str) -> IO[bytes]:
    try:
        found = archive.extractfile(name)
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise InputError(
            f"{name} is not in the archive, which `docker save` has not written, or which is cut "
            "off",
            where=where,
            remedy="save the image again, or use --rootfs for an archive of files",
        ) from error
    if found is None:
        raise InputError(f"{name} is not a file", where=where, remedy=AGAIN)
    return found


def _member(archive: tarfile.TarFile, name: str, where: str) -> bytes:
    with _extract(archive, name, where) as stream:
        return stream.read(_JSON_MAX)


# --- files -------------------------------------------------------------------------------


def _plain(path: Path) -> Contents:
    """Return a tar archive of files, without a configuration."""
    status = path.stat()
    key = digest(str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino)
    layer = Layer(path.name, lambda: path.open("rb"), path)
    return Contents(str(path), Config(), (layer,), key)


# --- unpacking ---------------------------------------------------------------------------


def check(found: str, expected: str, where: str) -> None:
    """Raise InputError unless a digest is the one that is expected."""
    if found != expected:
        raise InputError(
            f"the digest is wrong: {found[:19]}… instead of {expected[:19]}…",
            where=where,
            remedy=AGAIN,
        )


def copied(stream: IO[bytes], to: Path) -> None:
    """Copy a layer out of an archive."""
    with stream, to.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)


def _json(data: bytes, where: str) -> dict[str, Any]:
    return _object(_parse(data, where), where)


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=where, remedy=AGAIN) from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            "a description of the image is not a JSON object", where=where, remedy=AGAIN
        )
    return value


def _paired(layers: Any, config: Config, where: str) -> list[tuple[Any, str]]:
    """Return the layers with their digests when unpacked."""
    if not isinstance(layers, list) or len(layers) != len(config.diff_ids):
        raise InputError(
            "the manifest and the configuration do not have the same layers",
            where=where,
            remedy=AGAIN,
        )
    return list(zip(layers, config.diff_ids, strict=True))
