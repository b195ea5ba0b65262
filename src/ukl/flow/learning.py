# SPDX-License-Identifier: GPL-2.0
"""`ukl run --learn`: what a program opens, from a run of it on this machine, as a ukl.toml.

The files that a program needs are found without executing anything, but for those that it opens by
itself: plug-ins, modules of name services, data. This run executes it, on this machine as a normal
process, since the files are here. strace writes what it looks up.

A file is the guest's if it was there before the run and has not changed since; what has is what
the program wrote. A file that is only looked up (stat) counts as well: loaders of byte code
look up the source, but open the byte code alone.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ukl.app import as_is
from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.container import programs as heads
from ukl.guest.rundesc import DEFAULT_ENV
from ukl.host import programs
from ukl.host.process import in_foreground
from ukl.image import initrd
from ukl.settings import table
from ukl.settings.table import Overrides

MANIFEST = "ukl.toml"

STRACE = ("strace", "-ff", "--seccomp-bpf", "-q", "-y", "-xx", "-s", "4096", "-e", "trace=%file")

OWN = ("/dev", "/proc", "/sys", "/ukl", "/user")
"""Directories that the guest has of its own."""

HIDDEN = ("/run", "/tmp")
"""Directories where the guest mounts a file system of its own: files of the initrd are hidden."""

_OF_THE_GUEST = ("/etc/hosts", "/etc/localtime")

LEFT_OUT = "The guest has a /tmp and a /run of its own; a name must be printable."

_CALL = re.compile(rb'(\w+)\((?:[\w]+<([^>]*)>, )?"([^"]*)"(.*)\) = (\d+)')
"""A call that succeeded: name, directory of its descriptor, path, the other arguments."""

_BYTE = re.compile(rb"\\x([0-9a-f]{2})")
_SCRIPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Learned:
    """What a run looked up: `files` for the guest; `written`, directories that it wrote to.

    `left_out` are files that the guest cannot have. `status` is the program's.
    """

    files: tuple[str, ...]
    written: tuple[str, ...]
    left_out: tuple[str, ...]
    status: int = 0


def check(spec: AppSpec, directory: Path) -> None:
    """Raise InputError if the run of `spec` would be no use, or its result has no place."""
    if spec.program is None or spec.build is not None or spec.root is not None:
        raise InputError(
            "--learn runs a program of this machine as it is",
            where=spec.origin,
            remedy="name an executable, or leave --learn out",
        )
    if (directory / MANIFEST).exists() or (directory.exists() and not directory.is_dir()):
        raise InputError(
            f"there already is a {MANIFEST}" if directory.is_dir() else "this is not a directory",
            where=directory,
            remedy="name a new directory with --learn",
        )


def run(spec: AppSpec, timeout: float | None = None) -> Learned:
    """Run the program on this machine, with the guest's environment; return what it looked up."""
    assert spec.program is not None
    own = (str(spec.program), str(spec.program.resolve()))
    known = {*as_is.prepared(spec).files, *initrd.TEXTS, *_OF_THE_GUEST, *own}
    start = spec.workdir or str(Path.cwd())
    limit = () if timeout is None else ("timeout", "-k", "5", f"{timeout:g}")
    # Without what this user's environment has: the guest has none of it either.
    given = [f"{key}={value}" for key, value in {**DEFAULT_ENV, **spec.env}.items()]
    strace = programs.find(STRACE[0])
    with tempfile.TemporaryDirectory(prefix="ukl-learn-") as scratch:
        begun = time.time_ns()
        words = [*limit, "env", "-i", "-C", start, *given, strace, *STRACE[1:]]
        words += ["-o", f"{scratch}/trace", str(spec.program), *spec.command, *spec.args]
        status = in_foreground(words)
        traces = [file.read_bytes() for file in sorted(Path(scratch).iterdir())]
    paths = {path for trace in traces for path in looked_up(trace.splitlines(), start)}
    return sorted_out(paths, known, begun, status)


def looked_up(lines: Iterable[bytes], start: str) -> Iterator[str]:
    """Yield the absolute paths that one process has looked up; it began in `start`. Pure."""
    here = start
    for line in lines:
        if (match := _CALL.match(line)) is None:
            continue
        call, base, path = match[1], _text(match[2] or b""), _text(match[3])
        if match[2] is not None and b"AT_FDCWD" in line[: match.start(2)]:
            here = base
        whole = posixpath.join(base or here, path)
        if call == b"chdir":
            here = whole
        if path and whole.startswith("/"):  # without a path it is about the descriptor
            yield whole


def sorted_out(
    paths: Collection[str], known: Collection[str], begun: int, status: int = 0
) -> Learned:
    """Return which of the paths the guest needs, of a run that began at `begun` [ns]."""
    files: set[str] = set()
    written: set[str] = set()
    left_out: set[str] = set()
    for path in (*paths, *_interpreters(paths)):
        # By names alone, `..` behind a symbolic link leads elsewhere.
        name = (
            os.path.realpath(path)
            if ".." in path.split("/")
            else f"/{posixpath.relpath(path, '/')}"
        )
        if name in known or _is_in(name, OWN):
            continue
        found, above = _status(name), _status(posixpath.dirname(name))
        is_file = found is not None and stat.S_ISREG(found.st_mode)
        if is_file and _is_older(found, begun):
            fits = name.isprintable() and not _is_in(name, HIDDEN)
            (files if fits else left_out).add(name)
        elif is_file or (above is not None and not _is_older(above, begun)):
            written.add(posixpath.dirname(name))
    written = {path for path in written - initrd.DIRECTORIES.keys() if not _is_in(path, HIDDEN)}
    return Learned(tuple(sorted(files)), tuple(sorted(written)), tuple(sorted(left_out)), status)


def _is_in(path: str, directories: Iterable[str]) -> bool:
    return any(path.startswith(f"{each}/") for each in directories)


def _is_older(found: os.stat_result | None, begun: int) -> bool:
    return found is not None and found.st_ctime_ns < begun


def _status(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except (OSError, ValueError):
        return None


def _interpreters(paths: Iterable[str]) -> Iterator[str]:
    """Yield the interpreters of scripts among the paths: the kernel opens them, not the program."""
    for path in paths:
        for _ in range(_SCRIPTS_MAX):
            found = _status(path)
            if found is None or not stat.S_ISREG(found.st_mode):  # opening a FIFO would wait
                break
            try:
                with Path(path).open("rb") as stream:
                    line = heads.script(heads.head(stream))
                if not line or not os.access(path, os.X_OK):
                    break
            except (OSError, ValueError):
                break
            path = line[0]  # noqa: PLW2901 - which may be a script in turn
            yield path


def _text(data: bytes) -> str:
    return os.fsdecode(_BYTE.sub(lambda match: bytes([int(match[1], 16)]), data))


def manifest(spec: AppSpec, learned: Learned, overrides: Overrides) -> str:
    """Return the text of a ukl.toml; `overrides` are the settings of the command line. Pure."""
    comments = [
        f"Written by `ukl run --learn`: {spec.program} with the files that it looked up in a run.",
        "Another run may need others. See that none is secret before you give them away.",
        *(f"It wrote to {path}: a volume or a disk there keeps that." for path in learned.written),
        *(f"Left out: {path!r}. {LEFT_OUT}" for path in learned.left_out),
    ]
    workdir = spec.workdir or str(Path.cwd())
    whole = {
        **overrides,
        "name": spec.name,
        "program": str(spec.program),
        "args": (*spec.command, *spec.args),
        "workdir": "" if _is_in(workdir, HIDDEN) else workdir,
        "files": {**{path: path for path in learned.files}, **spec.files},
    }
    return "".join(f"# {line}\n" for line in comments) + table.toml(whole)


def summary(learned: Learned) -> str:
    """Say how the run has ended, and what came of it. Pure."""
    ended = f"ended with status {learned.status}"
    if learned.status < 0:
        ended = f"was killed by signal {-learned.status}"
    return f"{len(learned.files)} files; the program {ended}"


def write(spec: AppSpec, learned: Learned, overrides: Overrides, directory: Path) -> Path:
    """Write the ukl.toml into the directory, which is made if it is missing; return the file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / MANIFEST
    file.write_text(manifest(spec, learned, overrides))
    return file
