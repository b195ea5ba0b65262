# SPDX-License-Identifier: GPL-2.0
"""Plans the links of an application, and explains ld's messages about a failure.

Pure: values in, argument lists out. One partial link gives two results:

    ld -r (app.lds) -> localise, rename -> the object for the kernel
                                        -> ld (user.lds) -> a normal executable
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import InputError
from ukl.elf.audit import Narrow
from ukl.elf.names import IMPORT, PLAIN, SYSCALL

ENTRY = "ukl_app_start"
"""The only global symbol of the object."""

BOUNDARIES = (
    "_text",
    "_stext",
    "_etext",
    "etext",
    "__etext",
    "_edata",
    "edata",
    "__bss_start",
    "__bss_stop",
    "_end",
    "end",
    "__executable_start",
)
"""Names that the kernel's scripts (kallsyms, voffset.h) look up in vmlinux. They would
find even a local symbol of the application in place of the kernel's."""

CXX_LIBRARIES = ("stdc++", "m")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Absolute paths of the programs and of the compiler's start files and libraries.

    `identity` is the text that names the versions.
    """

    cc: str
    cxx: str
    ld: str
    objcopy: str
    identity: str
    crt_before: tuple[Path, ...]
    crt_after: tuple[Path, ...]
    runtime: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a partial link of compiled sources, in order."""

    objects: tuple[Path, ...]
    libraries: tuple[Path, ...]
    crt: Path


def ld_inputs(tools: Toolchain, inputs: Inputs) -> list[str]:
    """Return the inputs as ld's arguments: start files, program, libraries."""
    return [
        *map(str, tools.crt_before),
        str(inputs.crt),
        *map(str, inputs.objects),
        # Libraries may refer to each other in a cycle.
        "--start-group",
        *map(str, inputs.libraries),
        *map(str, tools.runtime),
        "--end-group",
        *map(str, tools.crt_after),
    ]


def partial_argv(
    ld: str,
    inputs: Sequence[str],
    *,
    script: Path,
    parts: Path,
    output: Path,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return the partial link; `parts` is the directory of the generated script parts.

    `inputs` are arguments of ld: files, libraries, groups. `extra` comes first.
    """
    return [
        ld,
        "-r",
        # Allocate common symbols now: the kernel's link must not merge them.
        "-d",
        "-X",
        # The kernel's link would discard a duplicate group and leave dangling references.
        "--force-group-allocation",
        "--build-id=none",
        "-nostdlib",
        *extra,
        "-L",
        str(parts),
        "-T",
        str(script),
        "-o",
        str(output),
        *inputs,
    ]


def wrap_words(name: str) -> list[str]:
    """Return the options that make ld call `__wrap_NAME` where the program calls `name`.

    The object that defines `name` is linked though nothing refers to it by that name.
    """
    return [f"--wrap={name}", "-u", name]


def trace_words(names: Sequence[str]) -> list[str]:
    """Return the options that make ld print the definitions and references of `names`."""
    return [f"--trace-symbol={name}" for name in names]


def weaken_argv(objcopy: str, names: Path, path: Path) -> list[str]:
    """Return the command that makes the symbols listed in the file `names` weak, in place.

    objcopy can make global and weak symbols local, but not C++'s third kind,
    STB_GNU_UNIQUE.
    """
    return [objcopy, f"--weaken-symbols={names}", str(path)]


def localise_argv(objcopy: str, source: Path, output: Path) -> list[str]:
    """Return the command that makes all symbols but the entry point local."""
    renamed = [f"{name}=ukl_app_{name}" for name in BOUNDARIES]
    return [
        objcopy,
        f"--redefine-sym=_start={ENTRY}",
        "--redefine-sym=__ehdr_start=ukl_ehdr_start",
        f"--keep-global-symbol={ENTRY}",
        *(f"--redefine-sym={pair}" for pair in renamed),
        str(source),
        str(output),
    ]


def strip_argv(
    objcopy: str, source: Path, output: Path, functions: Sequence[str] = ()
) -> list[str]:
    """Return the command that drops debug information and keeps the symbols.

    It renames the imported kernel `functions` to their names in the kernel.
    """
    renamed = [f"--redefine-sym={IMPORT}{name}={name}" for name in functions]
    return [objcopy, "--strip-debug", *renamed, str(source), str(output)]


def user_argv(
    ld: str,
    application: Path,
    syscall: Path,
    script: Path,
    output: Path,
    *,
    debug: bool = True,
) -> list[str]:
    """Return the command that links the same object as a normal static executable.

    With `debug` it has the debug information of the object.
    """
    return [
        ld,
        "-static",
        "-nostdlib",
        "--build-id=sha1",
        "-z",
        "noexecstack",
        "--compress-debug-sections=zlib" if debug else "--strip-debug",
        f"--defsym={PLAIN}={SYSCALL}",
        "-z",
        "relro",
        "-T",
        str(script),
        "-o",
        str(output),
        str(application),
        str(syscall),
    ]


# --- libraries ------------------------------------------------------------

PACKAGES: Mapping[str, str] = {
    "atomic": "gcc",
    "bz2": "libbz2-dev",
    "crypto": "libssl-dev",
    "curl": "libcurl4-openssl-dev",
    "ev": "libev-dev",
    "event": "libevent-dev",
    "expat": "libexpat1-dev",
    "ffi": "libffi-dev",
    "gmp": "libgmp-dev",
    "jemalloc": "libjemalloc-dev",
    "lz4": "liblz4-dev",
    "lzma": "liblzma-dev",
    "m": "libc6-dev",
    "ncurses": "libncurses-dev",
    "nghttp2": "libnghttp2-dev",
    "pcre": "libpcre3-dev",
    "pcre2-8": "libpcre2-dev",
    "readline": "libreadline-dev",
    "sqlite3": "libsqlite3-dev",
    "ssl": "libssl-dev",
    "stdc++": "g++",
    "uv": "libuv1-dev",
    "xxhash": "libxxhash-dev",
    "yaml": "libyaml-dev",
    "z": "zlib1g-dev",
    "zstd": "libzstd-dev",
}
"""Library name -> Debian package with its static archive."""


def missing_library(name: str, shared: Path | None, where: Path) -> InputError:
    """Return the error about a library without a static archive."""
    package = PACKAGES.get(name)
    if shared is not None:
        text = (
            f"library `{name}` is installed as a shared object only ({shared}), not as lib{name}.a"
        )
    else:
        text = f"library `{name}` is not installed: lib{name}.a was not found"
    if package is not None:
        remedy = f"sudo apt-get install --no-install-recommends {package}"
    elif shared is not None:
        remedy = "build it as a static archive and name the archive in `objects` of [link]"
    else:
        remedy = f"install the development package with lib{name}.a (perhaps lib{name}-dev)"
    return InputError(text, where=where, remedy=remedy)


SHOWN_SYMBOLS = 5
"""Number of undefined symbols that a message names."""

# --- ld's messages --------------------------------------------------------

_REFERENCE = re.compile(r"^(?:\S*ld\S*: )?(?P<file>.+): reference to (?P<name>\S+)$")
_DOUBLE = re.compile(
    r"^(?:\S*ld\S*: )?(?P<second>.+): multiple definition of [`'](?P<name>[^']+)'; "
    r"(?P<first>.+): first defined here$"
)
_UNUSABLE = re.compile(
    r"^(?:\S*ld\S*: )?(?P<file>[^:]+): (?P<text>file not recognized.*|plugin needed .*|"
    r"error adding symbols: .*|.*architecture.* incompatible .*)$"
)


def referrers(output: str, names: Iterable[str], origin: Mapping[str, str]) -> dict[str, str]:
    """Return symbol -> the object or archive member that refers to it first.

    `output` is ld's output with --trace-symbol; `origin` maps the path of a compiled
    object to its source.
    """
    wanted = set(names)
    found: dict[str, str] = {}
    for line in output.splitlines():
        match = _REFERENCE.match(line)
        if match and match["name"] in wanted:
            found.setdefault(match["name"], _source_name(match["file"], origin))
    return found


def undefined(
    missing: Sequence[str],
    used_by: Mapping[str, str],
    library: str | None,
    where: Path,
    log: Path | None,
) -> InputError:
    """Return the error about `missing` symbols, with the user of each and the remedy.

    `library` is the name of an installed library that defines them, or None.
    """
    if "main" in missing:
        return InputError(
            "no file defines `main`",
            where=where,
            remedy="add the source that defines it to `sources` of [app]",
            log=log,
        )
    shown = [
        f"`{name}`" + (f" (used by {used_by[name]})" if name in used_by else "")
        for name in missing[:SHOWN_SYMBOLS]
    ]
    text = f"not defined: {', '.join(shown)}"
    if len(missing) > SHOWN_SYMBOLS:
        text += f" and {len(missing) - SHOWN_SYMBOLS} more"
    remedy = "add the source that defines it, or the library (to `libraries` of [link])"
    if library is not None:
        remedy = f'add "{library}" to `libraries` of [link]'
    return InputError(text, where=where, remedy=remedy, log=log)


def not_relocatable(places: Sequence[Narrow], where: Path, log: Path | None) -> InputError:
    """Return the error about code that cannot run in the top 2 GiB of the address space."""
    first = places[0]
    text = (
        f"`{first.place}` holds the address of `{first.target}` in 32 unsigned bits: "
        "it is compiled for a program in the low 2 GiB"
    )
    if len(places) > 1:
        text += f" (as are {len(places) - 1} more places)"
    return InputError(
        text,
        where=where,
        remedy="compile it with -fPIC or -mcmodel=kernel; for a library, "
        "use the position-independent archive (lib*-pic.a)",
        log=log,
    )


def _source_name(file: str, origin: Mapping[str, str]) -> str:
    # In debug information the application's directory is /ukl (see app/compile.py).
    for path, source in origin.items():
        if file.startswith(path):
            rest = file.removeprefix(path)
            # ld appends ":source:(section+offset)", which repeats the source.
            return source if not rest or rest.startswith(":") else source + rest
    return re.sub(r":\(\.[^)]*\)$", "", file).removeprefix("/ukl/")


def explain(output: str, origin: Mapping[str, str], log: Path | None) -> InputError:
    """Turn ld's output about a failed partial link into the error for the user."""
    double = [match for line in output.splitlines() if (match := _DOUBLE.match(line))]
    if double:
        first = double[0]
        more = sorted({match["name"] for match in double} - {first["name"]})
        text = (
            f"`{first['name']}` is defined twice: in {_source_name(first['first'], origin)} "
            f"and in {_source_name(first['second'], origin)}"
        )
        if more:
            text += f"; so are {', '.join(f'`{name}`' for name in more[:5])}"
            text += f" and {len(more) - 5} more" if len(more) > 5 else ""
        remedy = "rename one of them, make it static, or link only one of the files"
        if first["name"] == "_start":
            remedy = (
                "define `main` instead of `_start`, which is the C library's; a program without "
                "it is built with `ukl wrap -- gcc -nostdlib …`, and the result run"
            )
        return InputError(text, where=_source_name(first["second"], origin), remedy=remedy, log=log)
    for line in output.splitlines():
        if match := _UNUSABLE.match(line):
            remedy = "rebuild it for x86-64 with this machine's compiler"
            if "plugin" in match["text"]:
                remedy = "compile it with -fno-lto"
            return InputError(
                f"cannot be linked: {match['text']}",
                where=_source_name(match["file"], origin),
                remedy=remedy,
                log=log,
            )
    tail = "\n".join(output.strip().splitlines()[-5:]) or "ld gave no message"
    return InputError(
        f"the partial link failed:\n{tail}",
        remedy="check `sources`, `objects` and `libraries`; the log has ld's whole output",
        log=log,
    )
