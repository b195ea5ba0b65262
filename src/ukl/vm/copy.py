# SPDX-License-Identifier: GPL-2.0
"""Copies files between the host and a running guest: tar through `ukl exec`.

The guest is not trusted with the host's files: an archive from it is unpacked member by
member into a new directory, and the result is renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ukl.base.errors import InputError, UklError, UsageError
from ukl.guest.rundesc import NAME
from ukl.vm.execute import Streams, descriptor, in_guest
from ukl.vm.registry import Registry

_INSIDE = re.compile(rf"({NAME.pattern}):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GuestPath:
    """A path in a guest."""

    guest: str
    path: str


def parse(text: str) -> GuestPath | Path:
    """Parse `NAME:/path` as a path in a guest, anything else as a path on the host.

    A path on the host that has a colon needs `./`. Raises UsageError for a relative path in
    a guest.
    """
    found = None if text.startswith((".", "/")) else _INSIDE.fullmatch(text)
    if found is None:
        return Path(text)
    name, path = found.groups()
    if not path.startswith("/"):
        raise UsageError(
            f"a path in a guest must be absolute: {name}:/{path}",
            remedy=f"for a file of the host, write ./{text}",
        )
    return GuestPath(name, path)


def copy(guests: Registry, source: GuestPath | Path, target: GuestPath | Path) -> None:
    """Copy a file or directory from a guest or to one; into the target if it is a directory."""
    if isinstance(source, Path) and isinstance(target, GuestPath):
        _to_guest(guests, source, target)
    elif isinstance(source, GuestPath) and isinstance(target, Path):
        _from_guest(guests, source, target)
    else:
        raise UsageError(
            "exactly one of the two paths must be in a guest",
            remedy="write that path as NAME:/path, as in: ukl cp ./file NAME:/tmp/",
        )


def guest_command(
    guests: Registry, name: str, *command: str, given: int | None = None, result: int | None = None
) -> tuple[int, str]:
    """Execute a command in a guest; return its exit code and standard error.

    `given` and `result` are descriptors for its standard input and output; None for empty
    input, and output that is discarded.
    """
    with tempfile.TemporaryFile() as errors, Path(os.devnull).open("r+b") as nothing:
        output = nothing.fileno() if result is None else result
        streams = Streams(given, output, errors.fileno())
        code = in_guest(guests, name, command, streams=streams)
        errors.seek(0)
        return code, errors.read(4096).decode("utf-8", "replace").strip()


# --- into the guest -----------------------------------------------------------------


def _to_guest(guests: Registry, source: Path, target: GuestPath) -> None:
    if not source.exists():
        raise InputError("no such file", where=source)
    code, _ = guest_command(guests, target.guest, "test", "-d", target.path)
    if code == 0:
        directory, name = target.path, source.resolve().name
    elif target.path.endswith("/"):
        raise InputError(f"{target.guest} has no directory {target.path}")
    else:
        directory, name = posixpath.split(target.path)
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(source.resolve(), name, filter=as_root)
        code, errors = guest_command(
            guests, target.guest, "tar", "-x", "-C", directory, given=descriptor(packed)
        )
    if code != 0:
        raise UklError(f"{target.guest}: {errors or f'tar exited with status {code}'}")


def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Return a member with owner root: the host's users do not exist in the guest."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


# --- out of the guest ---------------------------------------------------------------


def _from_guest(guests: Registry, source: GuestPath, target: Path) -> None:
    path = posixpath.normpath(source.path)
    directory, name = posixpath.split(path)
    if not name:
        raise InputError(
            "cannot copy a guest's root directory", remedy="name a file or directory in it"
        )
    final = target / name if target.is_dir() else target
    if not final.parent.is_dir():
        raise InputError("no such directory", where=final.parent)
    with tempfile.TemporaryFile() as packed:
        code, errors = guest_command(
            guests,
            source.guest,
            *("tar", "-c", "-C", directory, "--", name),
            result=packed.fileno(),
        )
        if code != 0:
            raise UklError(f"{source.guest}: {errors or f'tar exited with status {code}'}")
        descriptor(packed)
        beside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        try:
            unpack(packed, beside, name)
            _put(beside / name, final)
        except (tarfile.TarError, EOFError) as error:
            raise UklError(f"the guest did not send an archive: {error}") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def unpack(packed: IO[bytes], directory: Path, name: str) -> None:
    """Unpack the file or directory tree `name` into an empty directory.

    Raises UklError for any other member, and for a path through a symbolic link. Skips device
    nodes, FIFOs and sockets. Keeps permissions, but neither owners nor set-id bits.
    """
    modes: list[tuple[Path, int]] = []
    with tarfile.open(fileobj=packed, mode="r:") as archive:
        for member in archive:
            parts = member.name.rstrip("/").split("/")
            if parts[0] != name or any(part in {"", ".", ".."} for part in parts):
                raise UklError(f"the guest sent a file that was not requested: {member.name!r}")
            place = directory
            for part in parts[:-1]:
                place /= part
                if place.is_symlink() or not place.is_dir():
                    raise UklError(f"the guest sent a file without its directory: {member.name!r}")
            place /= parts[-1]
            if member.isdir():
                if place.is_symlink() or not place.is_dir():
                    place.mkdir()
                modes.append((place, member.mode & 0o777 | 0o700))
            elif member.issym():
                place.symlink_to(member.linkname)
            elif member.isreg() or member.islnk():
                _file(archive, member, place)
    for place, mode in reversed(modes):  # last: a directory's mode may forbid access below it
        place.chmod(mode)


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    try:
        content = archive.extractfile(member)  # of a hard link, the other name's content
    except KeyError:
        content = None
    if content is None:
        raise UklError(f"the guest sent a dangling hard link: {member.name!r}")
    with content, place.open("xb") as stream:
        shutil.copyfileobj(content, stream)
    place.chmod(member.mode & 0o777)
    with contextlib.suppress(OSError, OverflowError):
        os.utime(place, (member.mtime, member.mtime))


def _put(made: Path, final: Path) -> None:
    if not made.is_symlink() and not made.exists():
        raise UklError("this is a device or a socket in the guest")
    if final.is_dir() and not final.is_symlink():
        raise InputError("this directory exists already", where=final, remedy="remove it")
    if made.is_dir() and not made.is_symlink() and (final.exists() or final.is_symlink()):
        raise InputError("this file exists already", where=final, remedy="remove it")
    made.replace(final)
