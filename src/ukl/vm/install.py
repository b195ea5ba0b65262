# SPDX-License-Identifier: GPL-2.0
"""Installs a program of the host in a running guest, with the libraries it needs.

The guest has busybox and no dynamic linker. Host and guest both run Linux on x86-64, so the
program runs there with the host's dynamic linker and libraries.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
from pathlib import Path

from ukl.base.errors import UklError
from ukl.host import exec as host_exec
from ukl.host.programs import find
from ukl.host.store import digest
from ukl.vm.copy import as_root, guest_command
from ukl.vm.execute import descriptor
from ukl.vm.registry import Registry

DIRECTORY = "/run/ukl/tools"
"""The programs' directory in the guest: in memory, so it is lost with the guest."""

LOADER = Path("/lib64/ld-linux-x86-64.so.2")
"""The program interpreter: System V ABI, AMD64 supplement, 5.2.1."""

_LIBRARY = re.compile(r"^\t(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)


def libraries(listing: str) -> list[Path]:
    """Return the files that `ld.so --list` prints; none for a static program. Pure."""
    return [Path(path) for path in _LIBRARY.findall(listing)]


def install(guests: Registry, guest: str, program: str) -> tuple[str, ...]:
    """Install `program`, a name in the host's PATH, in a guest; return the words that execute it.

    Raises MissingError with its package if the host lacks it, UklError if the guest has not
    enough memory.
    """
    path = Path(find(program))
    listed = host_exec.run([LOADER, "--list", path], check=False)
    needed = libraries(listed.stdout) if listed.returncode == 0 else []
    files = {path.name: path, **({"ld.so": LOADER} if needed else {})}
    files |= {file.name: file for file in needed if file.name != LOADER.name}
    place = f"{DIRECTORY}/{path.name}-{digest(list(files), list(files.values()))[:12]}"
    if guest_command(guests, guest, "test", "-d", place)[0] != 0:
        _unpack(guests, guest, files, place)
    if not needed:
        return (f"{place}/{path.name}",)
    return (f"{place}/ld.so", "--library-path", place, f"{place}/{path.name}")


def _unpack(guests: Registry, guest: str, files: dict[str, Path], place: str) -> None:
    """Fill a temporary directory beside `place`, and rename it when it is complete."""
    beside = f"{place}.part"
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, file in files.items():
                archive.add(file.resolve(), name, filter=as_root)
        script = (
            f"rm -rf {beside} && mkdir -p {beside} && tar -x -C {beside} && mv {beside} {place}"
        )
        code, errors = guest_command(guests, guest, "sh", "-c", script, given=descriptor(packed))
    if code != 0:
        raise UklError(
            f"cannot install {next(iter(files))} in {guest}: "
            f"{errors or f'tar exited with status {code}'}",
            remedy="it takes some MB of the guest's memory: give the guest more with -m",
        )


def install_file(guests: Registry, guest: str, file: Path, place: str) -> None:
    """Put an executable file at a path in a guest, unless an executable is there already."""
    if guest_command(guests, guest, "test", "-x", place)[0] == 0:
        return
    script = f"mkdir -p {DIRECTORY} && cat > {place}.part && chmod 755 {place}.part"
    with file.open("rb") as stream:
        code, errors = guest_command(
            guests,
            guest,
            *("sh", "-c", f"{script} && mv {place}.part {place}"),
            given=stream.fileno(),
        )
    if code != 0:
        raise UklError(f"cannot install {file.name} in {guest}: {errors or code}")
