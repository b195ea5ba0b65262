# SPDX-License-Identifier: GPL-2.0
"""A unified kernel image: kernel, initrd and arguments in one program that UEFI starts.

systemd's stub is that program; the rest are sections behind its own, put there by objcopy as
systemd-stub(7) shows. Source: https://uapi-group.org/specifications/specs/unified_kernel_image.
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
"""What UEFI gives memory in; each section begins at one."""

_SECTION = re.compile(r"^ +\d+ \S+ +([0-9a-f]+) +([0-9a-f]+) ", re.M)


def release(name: str, version: str) -> str:
    """Return the text by which boot loaders show the image: an os-release(5)."""
    return f'ID=ukl\nNAME="Unikernel Linux"\nPRETTY_NAME="{name}"\nVERSION_ID={version}\n'


def end(headers: str) -> int:
    """Return the address behind the last section, from what `objdump -h` prints. Pure."""
    ends = [int(size, 16) + int(address, 16) for size, address in _SECTION.findall(headers)]
    if not ends:
        raise UklError("this has no sections", where=STUB)
    return max(ends)


def places(sizes: Mapping[str, int], first: int) -> dict[str, int]:
    """Return the addresses of sections, in their order, from the first page at `first`. Pure."""
    found, place = {}, first
    for name, size in sizes.items():
        place = -(-place // PAGE) * PAGE
        found[name] = place
        place += size
    return found


def write(file: Path, sections: Mapping[str, bytes], scratch: Path) -> None:
    """Write the image of the stub and these sections; `scratch` is a directory for us."""
    headers = host_exec.run(["objdump", "-h", STUB]).stdout
    sizes = {name: len(data) for name, data in sections.items()}
    # The stub's own time in the header, which is 1970, and not that of today.
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
    """Return what is in an image. The kernel is the last: it may be unpacked in place. Pure."""
    return {
        ".osrel": release(name, version).encode(),
        ".uname": version.encode(),
        ".cmdline": arguments.encode(),
        ".initrd": initrd,
        ".linux": kernel,
    }
