# SPDX-License-Identifier: GPL-2.0
"""Unpacks the layers of an image into tar archives, and checks them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ukl.base.errors import InputError
from ukl.container.sources import AGAIN, Layer, check, copied
from ukl.host import exec as host_exec
from ukl.host.store import is_no_space

_ZSTD = b"\x28\xb5\x2f\xfd"

_OPENERS: Mapping[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}


def tar_of(layer: Layer, directory: Path, number: int, where: str) -> Path:
    """Return the tar archive of a layer: the stored file itself, or one in `directory`.

    Raises InputError for a layer of the image `where` that is cut off or has another digest.
    """
    where = f"{where}, {layer.name}" if layer.digest or layer.diff_id else where
    stored = layer.file
    if stored is None:
        stored = directory / f"{number}.stored"
        copied(layer.open(), stored)
    if layer.size is not None and stored.stat().st_size != layer.size:
        raise InputError(
            f"the layer is cut off: {stored.stat().st_size} bytes instead of {layer.size}",
            where=where,
            remedy=AGAIN,
        )
    if layer.digest:
        check(digest_of(stored), layer.digest, where)
    tar = _unpacked(stored, directory / f"{number}.tar", where)
    if layer.diff_id:
        check(digest_of(tar), layer.diff_id, f"{where}, unpacked")
    if tar != stored and layer.file is None:
        stored.unlink()
    return tar


def digest_of(file: Path) -> str:
    """Return the digest of a file as images write it."""
    with file.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _unpacked(stored: Path, target: Path, where: str) -> Path:
    with stored.open("rb") as stream:
        magic = stream.read(6)
    if magic.startswith(_ZSTD):
        try:
            host_exec.run(["zstd", "-q", "-d", "-f", stored, "-o", target])
        except host_exec.CommandFailed as error:
            if is_no_space(error):
                raise
            raise _damaged(error.tail, where) from error
        return target
    for begin, opener in _OPENERS.items():
        if magic.startswith(begin):
            try:
                with opener(stored) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)
            except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of a file; those about its content have no number
                raise _damaged(str(error), where) from error
            return target
    return stored


def _damaged(why: str, where: str) -> InputError:
    return InputError(f"the layer is cut off or damaged: {why}", where=where, remedy=AGAIN)
