# SPDX-License-Identifier: GPL-2.0
"""The cache: directories keyed by their inputs.

    ROOT/<kind>/<key>/            complete entries, each with a manifest.json
    ROOT/<kind>/.<key>.XXXX.tmp/  under construction by the holder of the entry's lock
    ROOT/failed/<kind>-<key>/     log and manifest of the last failure
    ROOT/locks/                   flock files; a `.use` lock is shared by readers
    ROOT/users/<uid>/             guests and runs of users who do not own ROOT

An entry is built beside its final path and renamed, so every entry is complete. An incomplete
one whose lock is free was left by a process that died, and is deleted.

A cache that others may write to (mode 1777, or 2770 with a group) is shared: what is made in
it gets the directory's own mode. Whoever may write to it decides what all its users run.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, is_dataclass, replace
from enum import Enum
from pathlib import Path

from ukl.base.errors import UklError
from ukl.host import exec as host_exec

MANIFEST = "manifest.json"
RESERVED = frozenset({"bench", "drivers", "failed", "guests", "locks", "logs", "runs", "users"})
"""Names in ROOT that are not kinds of entries."""

VERSIONED = frozenset({"gcc", "cc", "clang", "ld", "objcopy", "make", "bison", "flex"})
"""Programs whose versions a manifest records."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

FIRST_BUILD = 4 << 30
"""Bytes that an unpacked kernel, its objects, some images and temporary files take."""

LOW_SPACE = 1 << 20
"""Free bytes below which a failure is attributed to a full disk."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that makes an entry or a part of it, to print."""

    argv: tuple[str, ...]
    directory: Path | None = None


Plan = Callable[[Path], Sequence[Command]]
"""Returns the commands that fill an entry's directory. Pure."""


class NoSpace(UklError):
    """The file system is full."""

    def __init__(self, path: Path) -> None:
        usage = shutil.disk_usage(_existing(path))
        super().__init__(
            f"no space left on the file system of {path}, which has {human_size(usage.total)} "
            f"({human_size(usage.free)} free after the removal of incomplete files)",
            where=mount_point(path),
            remedy=f"a first build takes up to {human_size(FIRST_BUILD)}: free some space "
            "(`ukl cache clean`), or set another directory with --cache-dir or UKL_CACHE_DIR",
        )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def mount_point(path: Path) -> Path:
    """Return the mount point of the file system that holds `path`, which need not exist."""
    path = _existing(path).resolve()
    while not path.is_mount():
        path = path.parent
    return path


def human_size(number: int) -> str:
    """Return a number of bytes with a unit: `512 B`, `3.4 MiB`."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def is_no_space(error: BaseException) -> bool:
    """Tell whether `error` means that a disk or quota is full."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    if isinstance(error, host_exec.CommandFailed):
        return os.strerror(errno.ENOSPC) in error.output
    return False


# --- keys ----------------------------------------------------------------


def digest(*parts: object) -> str:
    """Return a digest of `parts`: 32 hexadecimal digits, the same on every machine.

    A Path counts with the content of its file, or of all files below a directory with their
    relative names; every other part counts with its value. Values of different types or
    structures never give the same bytes. Raises TypeError for unsupported types.
    """
    state = hashlib.sha256()
    for chunk in _canonical(tuple(parts)):
        state.update(chunk)
    return state.hexdigest()[:32]


def _canonical(value: object) -> Iterator[bytes]:
    if isinstance(value, Enum):
        value = value.value
    if is_dataclass(value) and not isinstance(value, type):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    match value:
        case None | bool() | int() | float():
            yield f"{type(value).__name__}:{value!r};".encode()
        case str():
            data = value.encode("utf-8", "surrogateescape")
            yield b"str:%d:%s;" % (len(data), data)
        case bytes():
            yield b"bytes:%d:%s;" % (len(value), value)
        case Path():
            yield from _path_content(value)
        case Mapping():
            yield b"map:%d{" % len(value)
            for name in sorted(value, key=str):
                yield from _canonical(name)
                yield from _canonical(value[name])
            yield b"}"
        case AbstractSet():
            yield from _canonical(sorted(value, key=str))
        case Sequence():
            yield b"seq:%d[" % len(value)
            for item in value:
                yield from _canonical(item)
            yield b"]"
        case _:
            raise TypeError(f"cannot digest a {type(value).__name__}")


def _path_content(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield b"dir{"
        for file in sorted(item for item in path.rglob("*") if not item.is_dir()):
            yield from _canonical(file.relative_to(path).as_posix())
            yield from _path_content(file)
        yield b"}"
        return
    with path.open("rb") as stream:
        yield b"file:" + hashlib.file_digest(stream, "sha256").digest() + b";"


# --- the store -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A complete entry, for `ukl cache info`: size in bytes, age in seconds."""

    kind: str
    key: str
    path: Path
    size: int
    age: float
    manifest: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Construction:
    """The manifest's data of an entry being built. `begin` is seconds since the epoch."""

    kind: str
    key: str
    inputs: Mapping[str, object]
    begin: float
    record: host_exec.Record

    def write_manifest(self, directory: Path, outcome: str) -> None:
        manifest = {
            "kind": self.kind,
            "key": self.key,
            "outcome": outcome,
            "inputs": jsonable(self.inputs),
            "tools": _tools(self.record) if outcome == "ok" else {},
            "commands": self.record.commands,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.begin)),
            "seconds": round(time.time() - self.begin, 3),
        }
        with (directory / MANIFEST).open("w") as stream:
            json.dump(manifest, stream, indent=1)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class Store:
    """A cache directory, made when first needed. `notify` gets the lines about waiting."""

    dry = False
    """Whether this is a dry run, which makes and changes nothing."""

    def __init__(self, root: Path, *, notify: Callable[[str], None] = _print) -> None:
        self.root = root.expanduser().absolute()
        self.notify = notify
        self._uses: dict[tuple[str, str], int] = {}

    @classmethod
    def default(
        cls, cache_dir: Path | None = None, *, notify: Callable[[str], None] = _print
    ) -> Store:
        """Return the store in `--cache-dir`, else UKL_CACHE_DIR, else XDG_CACHE_HOME."""
        if cache_dir is None and (named := os.environ.get("UKL_CACHE_DIR")):
            cache_dir = Path(named)
        if cache_dir is None:
            from platformdirs import user_cache_path  # noqa: PLC0415 - needed only here

            cache_dir = user_cache_path("ukl")
        return cls(cache_dir, notify=notify)

    def place(self, kind: str, key: str) -> Path:
        """Return the path of an entry, which need not exist."""
        for word in (kind, key):
            if not word or word.startswith(".") or "/" in word or kind in RESERVED:
                raise ValueError(f"not a valid name for a cache entry: {kind!r}, {key!r}")
        return self.root / kind / key

    def own(self, name: str) -> Path:
        """Return the path of what is each user's own, such as `guests`; it need not exist."""
        user = os.geteuid()
        if not self.root.exists() or self.root.stat().st_uid == user:
            return self.root / name
        users = self.root / "users"
        with self._permitted():
            self._directory(users)
        return users / str(user) / name

    def get(self, kind: str, key: str) -> Path | None:
        """Return the directory of a complete entry, or None.

        As long as this process lives, `clean` in another process does not delete it.
        """
        place = self.place(kind, key)
        if not (place / MANIFEST).is_file():
            return None
        self._use(kind, key)
        return place if (place / MANIFEST).is_file() else None

    def make(
        self,
        kind: str,
        key: str,
        inputs: Mapping[str, object],
        build: Callable[[Path], None],
        plan: Plan | None = None,
    ) -> Path:
        """Return the entry's directory; if it does not exist, call `build` to fill it.

        `build` gets an empty directory, which is then renamed to the entry's path. If `build`
        raises, only the directory's `*.log` files and a manifest are kept, in `failed/`. Waits
        for another process that makes the same entry. `plan` returns the commands that `build`
        would run, for `--dry-run` (flow/dry.py).
        """
        if (found := self.get(kind, key)) is not None:
            return found
        place = self.place(kind, key)
        with self._full_disk(), self.lock(f"{kind}-{key}", f"makes {kind} {key[:12]}"):
            if (found := self.get(kind, key)) is not None:
                return found
            self._sweep(kind, key)
            self._directory(place.parent)
            temporary = Path(tempfile.mkdtemp(".tmp", f".{key}.", place.parent))
            temporary.chmod(0o755)
            with host_exec.recording() as record:
                made = _Construction(kind, key, inputs, time.time(), record)
                try:
                    build(temporary)
                    made.write_manifest(temporary, "ok")
                    self._drop(place)  # an incomplete entry, changed by hand
                    temporary.rename(place)
                except BaseException as error:
                    full = self._is_full(error)  # the incomplete files may be what fills it
                    self._fail(temporary, made, error)
                    if full:
                        raise NoSpace(self.root) from error
                    raise
            self._drop(self._failed(kind, key))
        self._use(kind, key)
        return place

    @contextlib.contextmanager
    def lock(self, name: str, what: str = "") -> Iterator[None]:
        """Hold the lock `name` against other processes and threads.

        If it must wait, it reports the holder, which has described its work as `what`.
        """
        path = self._lock_path(name)
        handle = self._open_lock(path)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.notify(f"waiting for another ukl: {_holder(path)}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            since = time.strftime("%H:%M:%S")
            holder = {"pid": os.getpid(), "what": what or name, "since": since}
            with contextlib.suppress(OSError):  # only for the message; the lock is held
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(holder).encode(), 0)
            yield
        finally:
            os.close(handle)

    def info(self) -> list[Entry]:
        """Return all complete entries, the newest first."""
        entries = [replace(entry, size=tree_size(entry.path)) for entry in self._entries()]
        return sorted(entries, key=lambda entry: entry.age)

    def count(self) -> int:
        """Return the number of complete entries; fast, unlike `info`."""
        return sum(1 for _ in self._entries())

    def of_kind(self, kind: str) -> list[Entry]:
        """Return the complete entries of one kind, without their sizes."""
        return [entry for entry in self._entries() if entry.kind == kind]

    def clean(self, kind: str | None = None, older: float | None = None) -> list[Entry]:
        """Delete entries (of one kind, made more than `older` seconds ago) and return them.

        Entries that a living process uses or makes stay. Without `kind` and `older`, this
        deletes everything failed or incomplete as well.
        """
        gone = []
        chosen = [
            replace(entry, size=tree_size(entry.path))
            for entry in self._entries()
            if kind in {None, entry.kind} and (older is None or entry.age >= older)
        ]
        for entry in chosen:
            name = f"{entry.kind}-{entry.key}"
            with self._try_lock(name) as mine, self._try_lock(f"{name}.use") as unused:
                if mine and unused and self._drop(entry.path):
                    gone.append(entry)
        if kind is None and older is None:
            self._drop(self.root / "failed")
            self._drop(self.root / "logs")
            if not self._places():  # no entry is in use, so no guest runs
                self._drop(self.own("runs"))
        self.sweep()
        return gone

    def discard(self, kind: str, key: str) -> None:
        """Delete an entry that this process made and no other process can use."""
        self._drop(self.place(kind, key))

    def sweep(self) -> None:
        """Delete incomplete entries of processes that died."""
        for path in self._kinds():
            for temporary in path.glob(".*.tmp"):
                key = temporary.name[1:].rsplit(".", 2)[0]
                with self._try_lock(f"{path.name}-{key}") as mine:
                    if mine:
                        self._drop(temporary)

    # --- inside ----------------------------------------------------------

    def _kinds(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return [
            path
            for path in sorted(self.root.iterdir())
            if path.is_dir() and path.name not in RESERVED and not path.name.startswith(".")
        ]

    def _entries(self) -> Iterator[Entry]:
        """Yield the complete entries without their sizes, which are slow to compute."""
        for place in self._places():
            try:
                manifest = json.loads((place / MANIFEST).read_text())
                made = (place / MANIFEST).stat().st_mtime
            except (OSError, ValueError):
                continue
            yield Entry(place.parent.name, place.name, place, 0, time.time() - made, manifest)

    def _places(self) -> list[Path]:
        return [
            place
            for kind in self._kinds()
            for place in sorted(kind.iterdir())
            if not place.name.startswith(".")
        ]

    def _failed(self, kind: str, key: str) -> Path:
        return self.root / "failed" / f"{kind}-{key}"

    def _lock_path(self, name: str) -> Path:
        return self.root / "locks" / f"{name.replace('/', '_')}.lock"

    def _use(self, kind: str, key: str) -> None:
        if (kind, key) in self._uses:
            return
        handle = self._open_lock(self._lock_path(f"{kind}-{key}.use"))
        fcntl.flock(handle, fcntl.LOCK_SH)
        self._uses[kind, key] = handle  # held until the process ends

    @contextlib.contextmanager
    def _try_lock(self, name: str) -> Iterator[bool]:
        handle = self._open_lock(self._lock_path(name))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            yield False
            return
        try:
            yield True
        finally:
            os.close(handle)

    def _directory(self, path: Path) -> None:
        """Make a directory of the cache; others may write to it if they may to the cache."""
        path.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(self.root.stat().st_mode)
        if mode & _OTHERS_WRITE and path.stat().st_uid == os.geteuid():
            path.chmod(mode)

    @contextlib.contextmanager
    def _permitted(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise UklError(
                "this user may not write to the cache",
                where=error.filename or self.root,
                remedy="set another directory with --cache-dir or UKL_CACHE_DIR; or let its "
                f"owner share this one before it is filled: chmod 1777 {self.root}",
            ) from error

    def _open_lock(self, path: Path) -> int:
        with self._permitted():
            self._directory(path.parent)
            with contextlib.suppress(FileNotFoundError):
                # Without O_CREAT: see protected_regular in the kernel's sysctl/fs.rst.
                return os.open(path, os.O_RDWR | os.O_CLOEXEC)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            mode = stat.S_IMODE(self.root.stat().st_mode)
            if mode & _OTHERS_WRITE and os.fstat(handle).st_uid == os.geteuid():
                os.fchmod(handle, mode & 0o666)
        return handle

    def _is_full(self, error: BaseException) -> bool:
        if is_no_space(error):
            return True
        # A program may have met a full disk without the known message.
        return (
            isinstance(error, UklError)
            and not isinstance(error, NoSpace)
            and shutil.disk_usage(_existing(self.root)).free < LOW_SPACE
        )

    @contextlib.contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._is_full(error):
                raise NoSpace(self.root) from error
            raise

    def _sweep(self, kind: str, key: str) -> None:
        for temporary in (self.root / kind).glob(f".{key}.*.tmp"):
            self._drop(temporary)  # this process holds the lock: no other uses it
        self.sweep()

    def _drop(self, path: Path) -> bool:
        """Delete a tree atomically: rename it first, so that no part of it stays at its path.

        Return False, and leave it, if it is another user's.
        """
        if not path.exists():
            return True
        trash = path.with_name(f".{path.name.strip('.')}.{os.getpid()}.tmp")
        try:
            if trash != path:
                path.rename(trash)
        except PermissionError:
            return False
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def _fail(self, temporary: Path, made: _Construction, error: BaseException) -> None:
        """Keep only the logs and a manifest of a failed construction."""
        failed = self._failed(made.kind, made.key)
        beside = failed.with_name(f".{failed.name}.{os.getpid()}")
        try:
            self._directory(beside.parent)
            beside.mkdir(exist_ok=True)
            for log in temporary.glob("*.log"):
                shutil.copy(log, beside / log.name)
            outcome = "interrupted" if not isinstance(error, Exception) else f"failed: {error}"
            made.write_manifest(beside, outcome)
            self._drop(failed)
            beside.rename(failed)
        except OSError:  # the disk is full: the first error is more important
            shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, UklError) and error.log is not None:
            with contextlib.suppress(ValueError):
                error.log = failed / error.log.relative_to(temporary)
                if not error.log.is_file():
                    error.log = None
        shutil.rmtree(temporary, ignore_errors=True)


def tree_size(path: Path) -> int:
    """Return the bytes that a tree takes on the disk.

    A file with N hard links counts with 1/N of its size: patched trees share most files.
    """
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{directory}/{name}")
                total += status.st_blocks * 512 // status.st_nlink
    return total


def jsonable(value: object) -> object:
    """Return `value` in types that JSON supports: paths and enumerations as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return jsonable(asdict(value))
    match value:
        case Enum():
            return jsonable(value.value)
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
        case Mapping():
            return {str(name): jsonable(item) for name, item in value.items()}
        case Sequence() | AbstractSet():
            return [jsonable(item) for item in value]
        case _:
            return str(value)


def _tools(record: host_exec.Record) -> dict[str, str]:
    tools = {}
    for command in record.commands:
        argv = command["argv"]
        if isinstance(argv, list) and Path(argv[0]).name in VERSIONED:
            with contextlib.suppress(UklError):
                tools[argv[0]] = host_exec.version(argv[0])
    return tools


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} {holder['what']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"
