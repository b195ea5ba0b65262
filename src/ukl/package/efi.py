# SPDX-License-Identifier: GPL-2.0
"""A unified kernel image: kernel, initrd and arguments in one program that UEFI starts.

The program is systemd's stub. objcopy appends the rest as sections, as systemd-stub(7) shows.
Source: https://uapi-group.org/specifications/specs/unified_kernel_image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ukl.base.errors import UklError
from ukl.host import exec as host_exec
from ukl.host.programs import Arg
from ukl.package.formats import STUB

PAGE = 4096
"""Unit of UEFI's memory allocation; each section is aligned to it."""

_SECTION = re.compile(r"^ +\d+ \S+ +([0-9a-f]+) +([0-9a-f]+) ", re.M)


def release(name: str, version: str) -> str:
    """Return the os-release(5) text, from which boot loaders take the image's name."""
    return f'ID=ukl\nNAME="Unikernel Linux"\nPRETTY_NAME="{name}"\nVERSION_ID={version}\n'


def end(headers: str) -> int:
    """Return the end address of the last section, from the output of `objdump -h`. Pure."""
    ends = [int(size, 16) + int(address, 16) for size, address in _SECTION.findall(headers)]
    if not ends:
        raise UklError("the stub has no sections", where=STUB)
    return max(ends)


def places(sizes: Mapping[str, int], first: int) -> dict[str, int]:
    """Return the page-aligned addresses of sections, in order, from `first` on. Pure."""
    found, place = {}, first
    for name, size in sizes.items():
        place = -(-place // PAGE) * PAGE
        found[name] = place
        place += size
    return found


def write(file: Path, sections: Mapping[str, bytes], scratch: Path) -> None:
    """Write the stub with these sections; `scratch` is a directory for temporary files."""
    headers = host_exec.run(["objdump", "-h", STUB]).stdout
    sizes = {name: len(data) for name, data in sections.items()}
    # Keep the stub's own timestamp in the header, 1970: the same inputs give the same bytes.
    argv: list[Arg] = ["objcopy", "--preserve-dates"]
    for name, address in places(sizes, end(headers)).items():
        source = scratch / name.lstrip(".")
        source.write_bytes(sections[name])
        argv += ["--add-section", f"{name}={source}"]
        argv += ["--change-section-vma", f"{name}={address:#x}"]
    host_exec.run([*argv, STUB, file])


def sections(
    kernel: bytes, initrd: bytes, arguments: str, name: str, version: str
) -> dict[str, bytes]:
    """Return an image's sections. The kernel is last: it may be unpacked in place. Pure."""
    return {
        ".osrel": release(name, version).encode(),
        ".uname": version.encode(),
        ".cmdline": arguments.encode(),
        ".initrd": initrd,
        ".linux": kernel,
    }
