# SPDX-License-Identifier: GPL-2.0
"""The environment in which build systems find the compiler wrapper."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ukl.app import compile as plan
from ukl.wrap import driver

HERE = Path(__file__).resolve().parent
BIN = HERE / "bin"
SHARE = HERE / "share"


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables to set for a build, given its environment `base`.

    Without `base` it is this process' environment. PATH gets the wrapper's directories in
    front: `ukl-cc`, and wrappers named cc, gcc, g++, c++ (and clang, if installed) for
    Makefiles that call the compiler by name.
    """
    given = os.environ if base is None else base
    path = driver.without_wrappers(given.get("PATH") or os.defpath)
    wrappers = [BIN, HERE / "as-gcc"]
    if shutil.which("clang", path=path):
        wrappers.append(HERE / "as-clang")
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
