# SPDX-License-Identifier: GPL-2.0
"""Make's arguments for a reproducible kernel build. Pure.

Also captures kbuild's environment once, during the build of the kernel. With it, the final
link runs scripts/link-vmlinux.sh directly, without make's descent through the tree, which
takes a minute, and seconds if nothing changed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.host.exec import run
from ukl.pgo.flags import COUNTED

FORMAT = 1
"""Part of the keys; incremented when the same inputs give other objects."""

TIMESTAMP = "Thu Jan  1 00:00:00 UTC 1970"
"""The build time in `uname -v`: constant, so that the build is reproducible."""

HOOK = """\
# Run by make before the kernel's Makefile: writes what kbuild exports to its scripts.
ifeq ($(sub_make_done),1)
.PHONY: ukl-environment
ukl-environment:
\t@env -0 > $(UKL_ENVIRONMENT)
endif
"""

_DROPPED = frozenset(
    {"HOME", "LANG", "MAKEFILES", "MAKELEVEL", "O", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "_"}
    | {"UKL_ENVIRONMENT", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR", "KBUILD_OUTPUT"}
)
"""Variables of the captured environment that belong to the process, not to the build."""


def compiler_command(compiler: str) -> str:
    """Return the value of CC, through ccache if that is installed."""
    return f"ccache {compiler}" if shutil.which("ccache") else compiler


@dataclass(frozen=True, slots=True)
class Make:
    """Make's command line without targets, for one tree and one build directory."""

    tree: Path
    objects: Path
    argv: tuple[str, ...]
    environment: dict[str, str]

    def run(
        self,
        *targets: str,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Make targets; raises CommandFailed."""
        run(
            [*self.argv, *targets],
            env={**self.environment, **(env or {})},
            log=log,
            on_line=on_line,
        )

    def planned(self, *targets: str) -> str:
        """Return the commands that `run` would start, as far as make can tell beforehand."""
        argv = [*self.argv, "--dry-run", "--keep-going", *targets]
        return run(argv, env=self.environment, check=False).stdout


def check_path(path: Path) -> None:
    """Raise InputError for a directory that kbuild cannot work in."""
    found = re.search(r"[\s:]", os.fspath(path))
    if found is not None:
        what = "a colon" if found[0] == ":" else "white space"
        raise InputError(
            f"the kernel's build does not work in a directory with {what} in its name",
            where=path,
            remedy="name another cache directory with --cache-dir or UKL_CACHE_DIR",
        )


def make_command(
    tree: Path,
    objects: Path,
    compiler: str,
    jobs: int,
    cache: Path,
    *,
    counted: bool = False,
) -> Make:
    """Return how to run make; `tree` and `objects` both lie below `cache`.

    `counted`: the directory of each object holds its branch counts (.gcda).
    """
    for path in (tree, objects):
        check_path(path)
    maps = f"-ffile-prefix-map={tree}/= -ffile-prefix-map={objects}=."
    # ccache ignores those counts, and would return an object compiled with others.
    cc = compiler if counted else compiler_command(compiler)
    argv = (
        "make",
        "--no-print-directory",
        "-C",
        os.fspath(tree),
        f"O={objects}",
        f"-j{jobs}",
        "ARCH=x86",
        f"CC={cc}",
        # Set, though empty: otherwise kbuild appends the state of an enclosing git repository.
        "LOCALVERSION=",
        # Keeps the cache and temporary directories out of debug information and __FILE__.
        f"KCFLAGS={' '.join([maps, *(COUNTED if counted else ())])}",
        f"KAFLAGS={maps}",
    )
    env = {
        "KBUILD_BUILD_TIMESTAMP": TIMESTAMP,
        "KBUILD_BUILD_USER": "ukl",
        "KBUILD_BUILD_HOST": "ukl",
        "KBUILD_BUILD_VERSION": "1",
        # Lets ccache reuse objects that were compiled in another directory.
        "CCACHE_BASEDIR": os.fspath(tree.parent if tree.parent in objects.parents else cache),
        "CCACHE_NOHASHDIR": "1",
    }
    for name in ("CCACHE_DIR", "CCACHE_DISABLE"):
        if name in os.environ:
            env[name] = os.environ[name]
    return Make(tree, objects, argv, env)


@dataclass(frozen=True, slots=True)
class LinkRecipe:
    """What the final link needs to know about the build that made the objects.

    `environment` is what kbuild exports to its scripts; `link` is the command line of
    scripts/link-vmlinux.sh, `postlink` that of the pass after it, or empty. `strip` are the
    command lines that make vmlinux from vmlinux.unstripped, which kernels since 6.16 link.
    `tree` and `objects` are the build's directories; `for_directory` replaces them.
    """

    tree: str
    objects: str
    environment: dict[str, str]
    link: list[str]
    postlink: list[str]
    strip: list[list[str]] = field(default_factory=list)

    def write(self, file: Path) -> None:
        """Write the recipe as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, file: Path) -> LinkRecipe:
        """Read what `write` wrote."""
        return cls(**json.loads(file.read_text()))

    def for_directory(self, tree: Path, work: Path) -> LinkRecipe:
        """Return the recipe for a link in `work`, with the kernel tree at `tree`."""

        def replaced(text: str) -> str:
            text = text.replace(self.objects, os.fspath(work))
            return text.replace(self.tree, os.fspath(tree))

        env = {name: replaced(value) for name, value in self.environment.items()}
        if env.get("CC", "").startswith("ccache ") and not shutil.which("ccache"):
            env["CC"] = env["CC"].removeprefix("ccache ")
        return LinkRecipe(
            os.fspath(tree),
            os.fspath(work),
            env,
            [*map(replaced, self.link)],
            [*map(replaced, self.postlink)],
            [[*map(replaced, argv)] for argv in self.strip],
        )

    def commands(self) -> list[list[str]]:
        """Return the command lines that make vmlinux, in order."""
        return [argv for argv in (self.link, self.postlink, *self.strip) if argv]


def _saved(text: str, target: str) -> list[list[str]]:
    """Return the command lines that made `target`, from one of kbuild's `.cmd` files."""
    first = next((line for line in text.splitlines() if line.startswith(f"savedcmd_{target} ")), "")
    lexer = shlex.shlex(first.partition(":=")[2], posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) == {";"}:
            found.append([])
        else:
            found[-1].append(word)
    return [argv for argv in found if argv]


def parse_link_command(text: str, target: str = "vmlinux") -> tuple[list[str], list[str]]:
    """Return the command lines of link and post-link from kbuild's `.{target}.cmd`."""
    link, *rest = _saved(text, target) or [[]]
    # Kernels that link vmlinux.unstripped name it as the last argument.
    arguments = link[1:-1] if link[-1:] == [target] else link[1:]
    if len(arguments) != 3 or not link[0].endswith("link-vmlinux.sh") or len(rest) > 1:
        raise UklError(f"unexpected command for the final link of vmlinux: {link} {rest}")
    return link, ([] if rest in ([], [["true"]]) else rest[0])


def parse_strip_commands(text: str) -> list[list[str]]:
    """Return the commands that strip vmlinux.unstripped, from kbuild's `.vmlinux.cmd`."""
    found = _saved(text, "vmlinux")
    if not found or any(not argv[0].endswith("objcopy") for argv in found):
        raise UklError(f"unexpected command to strip vmlinux: {found}")
    return found


def capture(make: Make, log: Path | None = None) -> LinkRecipe:
    """Ask kbuild for the environment and command of the final link of a finished build."""
    objects = make.objects
    hook, out = objects / ".ukl-hook.mk", objects / ".ukl-environment"
    hook.write_text(HOOK)
    extra = {"MAKEFILES": os.fspath(hook), "UKL_ENVIRONMENT": os.fspath(out)}
    make.run("-j1", "ukl-environment", env=extra, log=log)
    pairs = (item.partition("=") for item in out.read_text().split("\0") if "=" in item)
    environment = {name: value for name, _, value in pairs if name not in _DROPPED}
    hook.unlink()
    out.unlink()
    # The captured MAKEFLAGS hold this make's -j and O=.
    environment["MAKEFLAGS"] = "rR --no-print-directory"
    strip: list[list[str]] = []
    unstripped = objects / ".vmlinux.unstripped.cmd"
    if unstripped.is_file():
        link, postlink = parse_link_command(unstripped.read_text(), "vmlinux.unstripped")
        strip = parse_strip_commands((objects / ".vmlinux.cmd").read_text())
    else:
        link, postlink = parse_link_command((objects / ".vmlinux.cmd").read_text())
    config = (objects / "include/config/auto.conf").read_text()
    if "CONFIG_X86_NEED_RELOCS=y" not in config:
        postlink = []
    return LinkRecipe(os.fspath(make.tree), os.fspath(objects), environment, link, postlink, strip)
