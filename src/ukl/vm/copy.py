# SPDX-License-Identifier: GPL-2.0
"""Copies files between this machine and a running guest: tar through `ukl exec`.

The guest is not trusted with this machine's files: what comes out of it is unpacked here
member by member, into a new directory, and gets its name when it is whole.
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
class Inside:
    """A path in a guest."""

    guest: str
    path: str


def parse(text: str) -> Inside | Path:
    """Return a place as people write it: `NAME:/path` in a guest, else of this machine.

    A local path with a colon is written with `./`. UsageError for a relative one in a guest.
    """
    found = None if text.startswith((".", "/")) else _INSIDE.fullmatch(text)
    if found is None:
        return Path(text)
    name, path = found.groups()
    if not path.startswith("/"):
        raise UsageError(
            f"a path in a guest is absolute: {name}:/{path}",
            remedy=f"if you mean a file of this machine: ./{text}",
        )
    return Inside(name, path)


def copy(guests: Registry, source: Inside | Path, target: Inside | Path) -> None:
    """Copy a file or directory, from a guest or to one. Onto a directory means into it."""
    if isinstance(source, Path) and isinstance(target, Inside):
        _to_guest(guests, source, target)
    elif isinstance(source, Inside) and isinstance(target, Path):
        _from_guest(guests, source, target)
    else:
        raise UsageError(
            "one of the two is in a guest, and only one",
            remedy="write it NAME:/path, as in: ukl cp ./file NAME:/tmp/",
        )


def guest_command(
    guests: Registry, name: str, *command: str, given: int | None = None, result: int | None = None
) -> tuple[int, str]:
    """Execute a command; return its exit code and what it said on standard error."""
    with tempfile.TemporaryFile() as said, Path(os.devnull).open("r+b") as nothing:
        output = nothing.fileno() if result is None else result
        streams = Streams(given, output, said.fileno())
        code = in_guest(guests, name, command, streams=streams)
        said.seek(0)
        return code, said.read(4096).decode("utf-8", "replace").strip()


# --- into the guest -----------------------------------------------------------------


def _to_guest(guests: Registry, source: Path, target: Inside) -> None:
    if not source.exists():
        raise InputError("there is no such file", where=source)
    code, _ = guest_command(guests, target.guest, "test", "-d", target.path)
    if code == 0:
        directory, name = target.path, source.resolve().name
    elif target.path.endswith("/"):
        raise InputError(f"there is no directory {target.path} in {target.guest}")
    else:
        directory, name = posixpath.split(target.path)
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(source.resolve(), name, filter=as_root)
        code, said = guest_command(
            guests, target.guest, "tar", "-x", "-C", directory, given=descriptor(packed)
        )
    if code != 0:
        raise UklError(f"{target.guest}: {said or f'tar ended with status {code}'}")


def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Return a member as the guest shall have it: nobody of this machine is anybody there."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


# --- out of the guest ---------------------------------------------------------------


def _from_guest(guests: Registry, source: Inside, target: Path) -> None:
    path = posixpath.normpath(source.path)
    directory, name = posixpath.split(path)
    if not name:
        raise InputError("not the whole guest", remedy="name a file or directory in it")
    final = target / name if target.is_dir() else target
    if not final.parent.is_dir():
        raise InputError("there is no such directory", where=final.parent)
    with tempfile.TemporaryFile() as packed:
        code, said = guest_command(
            guests,
            source.guest,
            *("tar", "-c", "-C", directory, "--", name),
            result=packed.fileno(),
        )
        if code != 0:
            raise UklError(f"{source.guest}: {said or f'tar ended with status {code}'}")
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
    """Unpack what is called `name`, and what is below it, into an empty directory.

    Anything else, a way through a symbolic link among it, is an error; device nodes and
    the like are left out. Owner is the caller; of the mode the permissions are kept.
    """
    modes: list[tuple[Path, int]] = []
    with tarfile.open(fileobj=packed, mode="r:") as archive:
        for member in archive:
            parts = member.name.rstrip("/").split("/")
            if parts[0] != name or any(part in {"", ".", ".."} for part in parts):
                raise UklError(f"the guest sent a file that nobody asked for: {member.name!r}")
            place = directory
            for part in parts[:-1]:
                place /= part
                if place.is_symlink() or not place.is_dir():
                    raise UklError(f"the guest sent a file in no directory: {member.name!r}")
            place /= parts[-1]
            if member.isdir():
                if place.is_symlink() or not place.is_dir():
                    place.mkdir()
                modes.append((place, member.mode & 0o777 | 0o700))
            elif member.issym():
                place.symlink_to(member.linkname)
            elif member.isreg() or member.islnk():
                _file(archive, member, place)
    for place, mode in reversed(modes):  # a directory's last: it may forbid what is below
        place.chmod(mode)


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    try:
        content = archive.extractfile(member)  # of a hard link, the other name's content
    except KeyError:
        content = None
    if content is None:
        raise UklError(f"the guest sent a link to nothing: {member.name!r}")
    with content, place.open("xb") as stream:
        shutil.copyfileobj(content, stream)
    place.chmod(member.mode & 0o777)
    with contextlib.suppress(OSError, OverflowError):
        os.utime(place, (member.mtime, member.mtime))


def _put(made: Path, final: Path) -> None:
    if not made.is_symlink() and not made.exists():
        raise UklError("the guest has only a device or a socket of that name")
    if final.is_dir() and not final.is_symlink():
        raise InputError("there is such a directory already", where=final, remedy="remove it")
    if made.is_dir() and not made.is_symlink() and (final.exists() or final.is_symlink()):
        raise InputError("there is such a file already", where=final, remedy="remove it")
    made.replace(final)
