# SPDX-License-Identifier: GPL-2.0
"""Get a kernel source tree: a package of Debian, a tarball, or the user's directory.

The integrity of a source is verified before it is built: apt verifies a package, a recorded
(or given) SHA-256 verifies a tarball; the user vouches for a directory. A directory is only
read, never written; tarballs are unpacked into the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ukl import __version__
from ukl.base.errors import InputError, MissingError, UklError
from ukl.base.model import KernelSource
from ukl.base.progress import Progress, Stage
from ukl.host import packages
from ukl.host.exec import CommandFailed, run
from ukl.host.store import Store, digest
from ukl.kernel import suites, versions
from ukl.kernel.suites import DownloadFailed, Index
from ukl.kernel.versions import Base, base_for, bases, is_version, named, tree_version

PACKAGED = Path("/usr/src")
"""Where the distribution's source packages put their tarballs."""

KERNEL_ORG = "https://cdn.kernel.org/pub/linux/kernel"

_CHUNK = 1 << 20
_RECORD = 10240
"""Bytes of a tar record, the unit of its checkpoints."""

_DAMAGED = ("not look like", "format not", "Unexpected", "EOF", "corrupt")
"""What tar, xz and gzip print about a file that is not a complete archive."""

_UNPACK_FORMAT = 1
"""Part of the keys of unpacked sources; incremented when `_unpack` gives another result."""

SHA256 = "#sha256="
"""Separates a tarball or version from its expected sum, as in pip's URLs."""


ENVIRONMENT = "UKL_KERNEL_SOURCE"
"""The environment variable with the default of --kernel-source."""

SERIES = "UKL_KERNEL"
"""The environment variable with the default of --kernel."""


def fetch(
    want: str | Path | None,
    store: Store,
    progress: Progress,
    *,
    series: str = "",
    known: tuple[Base, ...] | None = None,
) -> KernelSource:
    """Return an unpacked, unpatched kernel tree that a known series applies to.

    `want` is a directory, a tarball (.tar.xz or .tar.gz), a version such as 6.12.30 (from
    kernel.org), or None. `series` names the series that must be for it, such as 7.3. Without both
    they are the values of UKL_KERNEL_SOURCE and UKL_KERNEL. If both are empty: the newest that the
    distribution packages, else the download that base.toml names.

    Tarball and version may end in `#sha256=...`, the expected sum of the tarball; otherwise
    base.toml must record it. Raises InputError for a wrong version or a bad tarball,
    DownloadFailed if the network failed, MovedOn if Debian has only other kernels by now,
    MissingError if no source is available.
    """
    known = known or bases()
    context = _Context(known, store, progress)
    if not want:
        want = os.environ.get(ENVIRONMENT)
        series = series or os.environ.get(SERIES, "")
    chosen = named(series, known) if series else None
    if not want:
        return package(chosen, store, progress) if chosen else _newest(context)
    if chosen and is_version(text := os.fspath(want).partition(SHA256)[0]):
        _agree(chosen, text, text)  # before a download
    found = _given(want, context)
    if chosen:
        _agree(chosen, found.version, want)
    return found


def package(base: Base, store: Store, progress: Progress) -> KernelSource:
    """Return the tree of the package that `base` names, whichever suite of Debian has it.

    An installed or cached one is preferred. Raises the errors of fetch().
    """
    return _newest(_Context((base,), store, progress, elsewhere=True))


def newest(base: Base, store: Store, progress: Progress) -> KernelSource:
    """Return the tree of the newest package in the suites that `base` names, in or out of range.

    Raises the errors of fetch().
    """
    return _elsewhere(None, base.suites, _Context((versions.every(base),), store, progress))


def _agree(chosen: Base, version: str, where: str | Path) -> None:
    if not chosen.covers(version):
        raise InputError(
            f"this is Linux {version}, but Linux {chosen.name} is asked for ({chosen.range()})",
            where=where,
            remedy=f"leave out one of the two: --kernel-source (or {ENVIRONMENT}), or --kernel "
            f"(or `version` in [kernel], or {SERIES})",
        )


def _given(want: str | Path, context: _Context) -> KernelSource:
    """Return the tree that the user named."""
    known = context.known
    text, _, suffix = os.fspath(want).partition(SHA256)
    sha256 = suffix or None
    path = Path(text).expanduser()
    if is_version(text) and not path.exists():
        return _version(text, context, sha256)
    if path.is_dir():
        version = tree_version(path)
        base_for(version, known, path)
        _refuse_built(path)
        return KernelSource(path.resolve(), version, str(path.resolve()))
    if path.is_file():
        return _tarball(path.resolve(), context, sha256)
    raise InputError(
        f"neither a directory, nor a tarball, nor a kernel version: {text}",
        where=path,
        remedy="give the top of a kernel tree, a linux-*.tar.xz, or a version such as 6.12.30",
    )


@dataclass(frozen=True, slots=True)
class _Context:
    """What all functions here need: the supported versions, the cache, the progress lines.

    `elsewhere` is whether the package may come from another suite than the machine's.
    """

    known: tuple[Base, ...]
    store: Store
    progress: Progress
    elsewhere: bool = False


# --- finding a source ------------------------------------------------------


def _newest(context: _Context) -> KernelSource:
    reasons: list[DownloadFailed | MissingError] = []
    first: DownloadFailed | MissingError | None = None
    packages = [base.package for base in context.known if base.package]
    for name in packages:
        if (found := _local(name, context)) is not None:
            return found
    for name in packages:
        try:
            return _package(name, context)
        except (DownloadFailed, MissingError) as error:
            reasons.append(error)
    for base in context.known:
        if context.elsewhere and base.package and base.suites:
            try:
                return _elsewhere(base.package, base.suites, context)
            except (DownloadFailed, MissingError) as error:
                first = error  # has a remedy of its own
    for base in context.known:
        if base.download is not None:
            try:
                return _version(base.download, context, None)
            except (DownloadFailed, MissingError) as error:
                reasons.append(error)
    if first is not None:
        raise first
    wanted = " or ".join(packages)
    offline = any(isinstance(error, DownloadFailed) for error in reasons)
    raise (DownloadFailed if offline else MissingError)(
        "no kernel source is available: " + "; ".join(error.message for error in reasons),
        remedy=("check that this machine reaches its mirrors and kernel.org; " if offline else "")
        + f"enable a Debian suite that has {wanted} and run `apt-get update`, name a series with "
        "--kernel, or download a tarball of "
        + " or ".join(base.range() for base in context.known)
        + " from kernel.org and name it with --kernel-source",
    )


def _version(version: str, context: _Context, sha256: str | None) -> KernelSource:
    base = base_for(version, context.known)
    # kernel.org has no ".0": the first release of a series is linux-6.12.tar.xz
    version = version.removesuffix(".0") if version.count(".") == 2 else version
    expected = _expected(f"linux-{version}.tar.xz", base.sha256.get(version), sha256)
    major = version.partition(".")[0]
    url = f"{KERNEL_ORG}/v{major}.x/linux-{version}.tar.xz"
    key = digest("tarball", expected)

    def get(directory: Path) -> None:
        with context.progress.stage(f"download linux-{version}") as stage:
            found = _download(url, directory / "linux.tar.xz", stage)
        _compare(found, expected, url)

    tarball = (
        context.store.make("download", key, {"url": url, "sha256": expected}, get) / "linux.tar.xz"
    )
    return _unpacked(tarball, expected, f"kernel.org {version}", context)


def _tarball(path: Path, context: _Context, sha256: str | None) -> KernelSource:
    if not path.name.endswith((".tar.xz", ".tar.gz", ".tgz", ".tar")):
        raise InputError("not a tarball: its name ends neither in .tar.xz nor .tar.gz", where=path)
    recorded = {
        f"linux-{version}.tar.xz": value
        for base in context.known
        for version, value in base.sha256.items()
    }
    if path.parent == PACKAGED and path.name in {
        f"{base.package}.tar.xz" for base in context.known
    }:
        # dpkg put it there, and only root may write there.
        return _unpacked(path, _file_identity(path), path.name, context)
    expected = _expected(path, recorded.get(path.name), sha256)
    if context.store.get("source", _source_key(expected)) is None:
        with context.progress.stage(f"verify {path.name}") as stage:
            _compare(_sha256(path, stage), expected, path)
    return _unpacked(path, expected, path.name, context)


def _expected(where: str | Path, recorded: str | None, given: str | None) -> str:
    expected = (given or recorded or "").lower()
    if not expected:
        raise InputError(
            "the SHA-256 of this tarball is not recorded, so it cannot be verified",
            where=where,
            remedy="look it up in https://cdn.kernel.org/pub/linux/kernel/v6.x/sha256sums.asc "
            f"and append it: {where}{SHA256}...",
        )
    if len(expected) != 64 or set(expected) - set("0123456789abcdef"):
        raise InputError(f"not a SHA-256 (64 hexadecimal digits): {given or recorded}", where=where)
    return expected


def _compare(found: str, expected: str, where: str | Path) -> None:
    if found != expected:
        raise InputError(
            f"the SHA-256 of this tarball is {found}, but should be {expected}",
            where=where,
            remedy="download it again; if you gave the sum, compare it with kernel.org's",
        )


# --- downloading -------------------------------------------------------------


def _local(package: str, context: _Context) -> KernelSource | None:
    """Return the source of a package that is installed or in the cache, else None.

    What came from another suite is not what the distribution ships, and only counts on request.
    It does not ask apt for a newer one, which would take half a second per package;
    `ukl cache clean` removes the package, so that the next call gets a newer one.
    """
    tarball = PACKAGED / f"{package}.tar.xz"
    if tarball.is_file():
        return _unpacked(tarball, _file_identity(tarball), tarball.name, context)
    found = []
    for manifest in (context.store.root / "download").glob("*/manifest.json"):
        inputs = json.loads(manifest.read_text())["inputs"]
        if inputs.get("package") == package and (context.elsewhere or not inputs.get("suites")):
            age = -manifest.stat().st_mtime_ns
            found.append((bool(inputs.get("suites")), age, manifest.parent, inputs))
    for *_, entry, inputs in sorted(found, key=lambda each: each[:2]):
        if context.store.get("download", entry.name):
            return _from_package(entry, inputs, context)
    return None


def _elsewhere(package: str | None, names: tuple[str, ...], context: _Context) -> KernelSource:
    """Download a source package (None: the newest kernel's) of other suites of Debian."""
    title = package or f"the newest {suites.PREFIX}*"
    if context.store.dry:  # an index is fetched for a download only
        context.store.make("download", digest("package", title), {}, lambda directory: None)
    log = context.store.root / "logs/apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with context.progress.stage(f"look for {title} in {', '.join(names)}") as stage:
            index = stack.enter_context(suites.index(names, log))
            found = index.require(package)
            stage.outcome = f"{found} {index.packages[found]}"
        return _package(found, context, index)


def _package(package: str, context: _Context, index: Index | None = None) -> KernelSource:
    """Download a source package without root; apt verifies what it downloads.

    It comes from the suites of `index`, else from those of the machine.
    """
    apt = ["apt-get", *(index.options if index else ())]
    try:
        uris = run([*apt, "--print-uris", "download", package], timeout=60)
    except (CommandFailed, MissingError):
        raise MissingError(f"the distribution has no package {package}") from None
    words = uris.stdout.split()
    quoted = next((i for i, word in enumerate(words) if word.startswith("'")), None)
    if quoted is None or len(words) < quoted + 3:
        raise MissingError(f"the distribution has no package {package}")
    name, size = words[quoted + 1], int(words[quoted + 2])

    def get(directory: Path) -> None:
        log = directory / "apt.log"
        with context.progress.stage(f"download {package}") as stage, _watch(directory, size, stage):
            try:
                run([*apt, "download", package], cwd=directory, log=log)
            except CommandFailed as error:
                if packages.is_gone(error.output):
                    raise UklError(
                        f"the mirror no longer has {name}: this machine's package lists are old",
                        remedy="sudo apt-get update",
                        log=error.log,
                    ) from error
                raise DownloadFailed(
                    f"{package} could not be downloaded",
                    remedy=f"check that `apt-get update` and `apt-get download {package}` work",
                    log=error.log,
                ) from error
        for deb in directory.glob("*.deb"):
            with context.progress.stage(f"unpack {deb.name.partition('_')[0]}"):
                run(["dpkg-deb", "-x", deb, directory], log=log)
            deb.unlink()

    inputs: dict[str, object] = {"package": package, "file": name, "size": size}
    if index:
        inputs["suites"] = index.suites
    key = digest("package", name, size, *(("elsewhere",) if index else ()))
    entry = context.store.make("download", key, inputs, get)
    return _from_package(entry, inputs, context)


def _from_package(entry: Path, inputs: Mapping[str, Any], context: _Context) -> KernelSource:
    tarball = entry / "usr/src" / f"{inputs['package']}.tar.xz"
    identity = f"package {inputs['file']} {inputs['size']}"
    return _unpacked(tarball, identity, inputs["file"], context)


@contextlib.contextmanager
def _watch(directory: Path, size: int, stage: Stage) -> Iterator[None]:
    """Show how the files below `directory` grow to `size` bytes while the block runs."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.25):
            got = 0
            for file in directory.rglob("*"):
                try:
                    found = file.lstat()
                except OSError:
                    continue
                got += found.st_size if stat.S_ISREG(found.st_mode) else 0
            stage.update(min(got, size), size, f"{got >> 20} of {size >> 20} MiB")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _download(url: str, target: Path, stage: Stage) -> str:
    """Download to a file and return its SHA-256."""
    request = urllib.request.Request(url, headers={"User-Agent": f"ukl/{__version__}"})
    state = hashlib.sha256()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer, target.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0) or None
            got = 0
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                state.update(chunk)
                got += len(chunk)
                stage.update(got, total, f"{got >> 20} MiB")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise InputError("kernel.org has no such file", where=url) from None
        raise DownloadFailed(f"{url} could not be downloaded: {error}") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        raise DownloadFailed(
            f"{url} could not be downloaded: {getattr(error, 'reason', error)}",
            remedy="check that this machine reaches kernel.org, or copy the tarball "
            "to it and name it with --kernel-source",
        ) from None
    if total is not None and got != total:
        raise DownloadFailed(f"{url}: the download broke off after {got} of {total} bytes")
    return state.hexdigest()


def _sha256(path: Path, stage: Stage) -> str:
    state = hashlib.sha256()
    total, got = path.stat().st_size, 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
            got += len(chunk)
            stage.update(got, total)
    return state.hexdigest()


def _file_identity(path: Path) -> str:
    """Return a string that changes when dpkg installs another version of the file.

    It is made from size and time, which come from the package: reading 150 MB would be slow.
    """
    found = path.stat()
    return f"{path.name} {found.st_size} {found.st_mtime_ns}"


# --- unpacking -----------------------------------------------------------------


def _source_key(identity: str) -> str:
    return digest("source", _UNPACK_FORMAT, identity)


def _unpacked(
    tarball: Path,
    identity: str,
    origin: str,
    context: _Context,
) -> KernelSource:
    key = _source_key(identity)

    def build(directory: Path) -> None:
        tree = directory / "linux"
        tree.mkdir()
        with context.progress.stage(f"unpack {tarball.name}") as stage:
            _unpack(tarball, tree, stage, directory / "unpack.log")
        base_for(tree_version(tree), context.known, tarball)

    entry = context.store.make("source", key, {"origin": origin, "identity": identity}, build)
    tree = entry / "linux"
    return KernelSource(tree, tree_version(tree), origin, key)


def _unpack(tarball: Path, tree: Path, stage: Stage, log: Path) -> None:
    """Unpack the whole tarball: even for x86, Kconfig reads files of other architectures."""
    total, decompress = _decompression(tarball)
    argv = ["tar", "--extract", "--file", str(tarball), *decompress, "--directory", str(tree)]
    argv += ["--strip-components=1", "--no-same-owner", "--no-same-permissions"]
    argv += ["--checkpoint=2000", "--checkpoint-action=echo=%u"]

    def line(text: str) -> None:
        number = text.rpartition(" ")[2]
        if number.isdecimal():
            stage.update(min(int(number) * _RECORD, total or 0), total)

    try:
        run(argv, log=log, on_line=line)
    except CommandFailed as error:
        if not any(sign in error.output for sign in _DAMAGED):
            raise
        raise InputError(
            "this tarball is damaged or not a tarball",
            where=tarball,
            remedy="download it again",
            log=error.log,
        ) from error


def _decompression(tarball: Path) -> tuple[int | None, list[str]]:
    """Return the unpacked size if it is cheap to get, and the options for tar."""
    if tarball.name.endswith(".tar.xz"):
        # Debian's tarballs have many blocks, which xz decompresses in parallel.
        found = run(["xz", "--robot", "--list", tarball], check=False)
        totals = [row.split("\t") for row in found.stdout.splitlines() if row.startswith("totals")]
        return (int(totals[0][4]) if totals else None), ["--use-compress-program=xz -T0"]
    if tarball.name.endswith(".tar"):
        return tarball.stat().st_size, []
    return None, ["--gzip"]


# --- the user's trees ------------------------------------------------------------


def _refuse_built(tree: Path) -> None:
    signs = (".config", "include/config", "arch/x86/include/generated")
    for sign in signs:
        if (tree / sign).exists():
            raise InputError(
                f"this kernel tree has been configured or built in place: it has {sign}",
                where=tree,
                remedy=f"run `make -C {tree} mrproper`, or give a fresh tree",
            )


def walk(tree: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all entries of a kernel tree but git's data, with their paths below the top.

    Sorted, each directory before its content.
    """

    def below(directory: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        with os.scandir(directory) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            if prefix == "" and entry.name == ".git":
                continue
            yield prefix + entry.name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from below(entry.path, f"{prefix}{entry.name}/")

    yield from below(os.fspath(tree), "")


def fingerprint(tree: Path, note: Callable[[int], None] = lambda count: None) -> str:
    """Return a digest of the names, sizes, times and modes of all files in the tree."""
    state = hashlib.sha256()
    for count, (name, entry) in enumerate(walk(tree)):
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise UklError(f"cannot read this file: {error.strerror}", where=entry.path) from error
        if not stat.S_ISDIR(found.st_mode):
            state.update(f"{name}\0{found.st_size} {found.st_mtime_ns} {found.st_mode}\n".encode())
        note(count)
    return state.hexdigest()[:32]
