# SPDX-License-Identifier: GPL-2.0
"""Fetches a recipe's source, identifies its content, and unpacks it.

Nothing is built from an unverified source: apt verifies a package, the recipe's SHA-256
a tarball; a directory is the user's own.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl import __version__
from ukl.base.errors import InputError, UklError
from ukl.base.model import Source
from ukl.base.progress import Progress, Stage
from ukl.host.store import Store, digest
from ukl.recipe import debian

ALWAYS_LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__"})
"""Names that are never part of a program's source."""

_CHUNK = 1 << 20
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched source. `identity` identifies its content; `origin` describes it to users."""

    source: Source
    identity: str
    origin: dict[str, str]
    place: Path
    """The directory itself, or the cache entry with the tarball or package."""


def fetch(source: Source, where: Path, store: Store, progress: Progress) -> Fetched:
    """Return the source, downloaded into the cache unless present. `where` is the recipe."""
    if source.directory is not None:
        return _directory(source, source.directory, where)
    if source.debian is not None:
        return _package(source, source.debian, store, progress)
    return _tarball(source, store, progress)


def unpack(fetched: Fetched, tree: Path, log: Path) -> None:
    """Create `tree`, a copy of the source that a build may write to."""
    if fetched.source.directory is not None:
        for name in files(fetched.place, fetched.source.inputs):
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(fetched.place / name, target, follow_symlinks=False)
        if not tree.is_dir():
            raise InputError(
                "the source directory has no file that matches `inputs`", where=fetched.place
            )
    elif fetched.source.debian is not None:
        debian.unpack(fetched.place, tree, log)
    else:
        _extract(fetched.place / "source.tar", tree, str(fetched.source.url))


# --- a directory ----------------------------------------------------------------


def files(directory: Path, inputs: Sequence[str]) -> Iterator[str]:
    """Yield the relative names of files and links that belong to a source, sorted."""
    chosen = [path for pattern in inputs for path in directory.glob(pattern)] or [directory]
    found = set()
    for path in chosen if inputs else [directory]:
        if path.is_symlink() or not path.is_dir():
            found.add(path.relative_to(directory).as_posix())
            continue
        for parent, directories, names in os.walk(path):
            directories[:] = [
                name
                for name in directories
                if name not in ALWAYS_LEFT_OUT and not Path(parent, name).is_symlink()
            ]
            below = Path(parent).relative_to(directory)
            links = (entry.name for entry in Path(parent).iterdir() if entry.is_symlink())
            found.update((below / name).as_posix() for name in {*names, *links})
    yield from sorted(name for name in found if not ALWAYS_LEFT_OUT & {*Path(name).parts})


def _directory(source: Source, directory: Path, where: Path) -> Fetched:
    if not directory.is_dir():
        raise InputError(
            "no such directory: `source` of [build]",
            where=directory,
            remedy=f"correct `source` in {where}",
        )
    rows: list[list[object]] = []
    for name in files(directory, source.inputs):
        path = directory / name
        if path.is_symlink():
            rows.append([name, "link", str(path.readlink())])
        else:
            rows.append([name, os.access(path, os.X_OK), digest(path)])
    identity = digest("directory", rows)
    return Fetched(source, identity, {"directory": str(directory)}, directory)


# --- a Debian source package --------------------------------------------------------


def _package(source: Source, package: str, store: Store, progress: Progress) -> Fetched:
    """Return the package, downloaded once; after `ukl cache clean` the newest one is fetched."""
    key = digest("debian-source", package, source.versions, debian.release())
    if store.get("recipe-source", key) is None:
        with progress.stage(f"download source of {package}") as stage:

            def get(directory: Path) -> None:
                found = debian.download(
                    package, source.versions, directory, lambda text: stage.update(0, None, text)
                )
                sums = {
                    file.name: _sha256(file)
                    for file in sorted(directory.iterdir())
                    if file.suffix != ".log"
                }
                stage.outcome = found
                record = {"package": package, "version": found, "sha256": sums}
                (directory / "source.json").write_text(json.dumps(record, indent=1) + "\n")

            inputs = {"package": package, "versions": source.versions, "from": debian.release()}
            store.make("recipe-source", key, inputs, get)
    place = store.place("recipe-source", key)
    store.get("recipe-source", key)  # mark it as used
    record = json.loads((place / "source.json").read_text())
    dsc = next(name for name in record["sha256"] if name.endswith(".dsc"))
    origin = {
        "debian": package,
        "version": record["version"],
        "dsc": dsc,
        "dsc_sha256": record["sha256"][dsc],
    }
    return Fetched(source, digest("debian", record), origin, place)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- a tarball ------------------------------------------------------------------------


def _tarball(source: Source, store: Store, progress: Progress) -> Fetched:
    url, expected = str(source.url), str(source.sha256)

    def get(directory: Path) -> None:
        with progress.stage(f"download {url.rpartition('/')[2]}") as stage:
            found = _download(url, directory / "source.tar", stage)
        if found != expected:
            raise InputError(
                f"the tarball's SHA-256 is {found}, not that of the recipe",
                where=url,
                remedy="correct `sha256` if you trust the file that is there now",
            )

    key = digest("tarball", expected)
    place = store.make("recipe-source", key, {"url": url, "sha256": expected}, get)
    return Fetched(source, key, {"url": url, "sha256": expected}, place)


def _download(url: str, target: Path, stage: Stage) -> str:
    """Download to a file and return its SHA-256."""
    request = urllib.request.Request(url, headers={"User-Agent": f"ukl/{__version__}"})
    state = hashlib.sha256()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer, target.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0) or None
            got = 0
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                state.update(chunk)
                got += len(chunk)
                stage.update(got, total, f"{got >> 20} MiB")
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        gone = isinstance(error, urllib.error.HTTPError) and error.code in {404, 410}
        raise (InputError if gone else UklError)(
            f"could not be downloaded: {getattr(error, 'reason', error)}",
            where=url,
            remedy="correct `url` in the recipe"
            if gone
            else "check that this machine reaches the server, and run the command again",
        ) from None
    return state.hexdigest()


def _extract(tarball: Path, tree: Path, url: str) -> None:
    """Unpack it as `tree`, without the single top directory of most tarballs."""
    beside = tree.with_name(f".{tree.name}.tar")
    beside.mkdir()
    try:
        with tarfile.open(tarball) as archive:
            # Debian 12's Python 3.11.2 has no filters yet. The recipe vouches for the content.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(beside)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(
            f"not a tarball that can be unpacked: {error}",
            where=url,
            remedy="give the URL of a .tar.gz, .tar.xz or .tar.bz2",
        ) from error
    tops = list(beside.iterdir())
    if len(tops) == 1 and tops[0].is_dir():
        tops[0].rename(tree)
        beside.rmdir()
    else:
        beside.rename(tree)
