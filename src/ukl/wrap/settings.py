# SPDX-License-Identifier: GPL-2.0
"""The environment in which build systems find the compiler wrapper."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from ukl.app import compile as plan
from ukl.host.store import Store, digest
from ukl.wrap import driver

HERE = Path(__file__).resolve().parent
BIN = HERE / "bin"
SHARE = HERE / "share"

_DRIVER = re.compile(
    r"(x86_64-(?:\w+-)?linux(?:-gnu|-musl)?-)?(cc|c\+\+|c89|c99|gcc|g\+\+|gfortran|g77|f77|f95|gdc|gccgo|gm2|gnat(?:gcc|make|link|bind)|"
    r"clang|clang\+\+|musl-gcc|musl-clang)(-\d[\d.]*)?"
)
"""Names of compilers of gcc's and clang's families: with a prefix, a version, or both.

The prefix is of this processor and of Linux: other compilers make programs that are not for it.
"""


def drivers(path: str) -> list[str]:
    """Return the names of such compilers in the directories of `path`."""
    found = set()
    for directory in path.split(":"):
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        found |= {name for name in names if _DRIVER.fullmatch(name)}
    return sorted(found)


def _linked(names: list[str], store: Store) -> Path:
    """Return a directory in which the wrapper has these names.

    It stays: build trees keep the paths of their compilers.
    """
    target = BIN / "ukl-cc"
    directory = store.own("drivers") / digest(names, str(target)) / driver.DRIVERS
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            (directory / name).symlink_to(target)
        except FileExistsError:
            continue
    return directory


def environment(
    base: Mapping[str, str] | None = None, store: Store | None = None
) -> dict[str, str]:
    """Return the variables to set for a build, given its environment `base`.

    Without `base` it is this process' environment. PATH gets the wrapper's directories in
    front: `ukl-cc`, and wrappers named like the installed compilers (gcc, g++-12, gfortran,
    clang, ...) for builds that call a compiler by its name.
    """
    given = os.environ if base is None else base
    path = driver.without_wrappers(given.get("PATH") or os.defpath)
    names = drivers(path)
    linked = _linked(names, store or Store.default())
    wrappers = [BIN, HERE / "as-gcc", linked]
    fortran = [str(linked / name) for name in ("gfortran", "f77") if name in names]
    cc, cxx = str(BIN / "ukl-cc"), str(BIN / "ukl-c++")
    # For ukl.h: gcc and clang search these after all -I and -isystem.
    headers = {
        name: ":".join(filter(None, [given.get(name), str(plan.INCLUDE)]))
        for name in ("C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH")
    }
    data = given.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return {
        "PATH": ":".join([*map(str, wrappers), path]),
        "UKL_WRAP_PYTHON": sys.executable,
        **headers,
        "CC": cc,
        "CXX": cxx,
        **dict.fromkeys(("FC", "F77") if fortran else (), fortran[0] if fortran else ""),
        "LD": str(BIN / "ukl-ld"),
        # CMake 3.21 and later reads it where -DCMAKE_TOOLCHAIN_FILE is not given.
        "CMAKE_TOOLCHAIN_FILE": str(SHARE / "ukl.cmake"),
        # meson setup --native-file ukl
        "XDG_DATA_DIRS": ":".join(dict.fromkeys([str(SHARE), *data.split(":")])),
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER": cc,
        "CGO_ENABLED": "1",
        "GOFLAGS": _go_flags(given.get("GOFLAGS", "")),
    }


def _go_flags(given: str) -> str:
    """Return GOFLAGS that make Go link with the C compiler."""
    # Without `all=`, a program that imports no C has no runtime/cgo, which it needs when
    # the C library starts it (seen with Go 1.19). The same holds for -tags=netgo.
    return f"-ldflags=all=-linkmode=external {given}".strip()


def shell_text(variables: Mapping[str, str]) -> str:
    """Return lines for a shell to evaluate. Pure."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
