# SPDX-License-Identifier: GPL-2.0
"""The final link: compiled kernel objects and an application become a bootable image.

The kernel's scripts/link-vmlinux.sh does it, with the environment that kbuild gave it
when the kernel was built, in a work directory that looks like the build directory: files
that the link writes are copies, all others symbolic links. The cached objects are never
written, and concurrent links do not disturb each other.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ukl.base.errors import InputError, UklError
from ukl.base.model import AppObject, Image, KernelBuild, LinkedApp, ObjectFacts
from ukl.base.progress import Progress
from ukl.elf.names import CALL, FAST_RETURN, OFFERED, OWN, RESTART
from ukl.elf.reader import Elf
from ukl.host.exec import CommandFailed, run
from ukl.host.store import Command, Store, digest, is_no_space
from ukl.kernel import symbols
from ukl.kernel.make_args import LinkRecipe, check_path

_FORMAT = 4
"""Part of the keys; incremented when the same inputs give another image."""

_WRITTEN = (
    "arch/x86/boot",
    "arch/x86/boot/compressed",
    "arch/x86/ukl",
    "include/config",
    "include/generated",
    "init",
)
"""Directories in which the final link, or the step that makes bzImage, writes."""

_NOT_TAKEN = re.compile(
    r"(\.tmp_.*|vmlinux(\.bin.*|\.unstripped)?|System\.map|bzImage|piggy\..*|\.version|\.config\.old)$"
)
"""Results of the build's own link: large, and made again here."""

_UNDEFINED = re.compile(r"undefined reference to [`']([^']+)'")
_WHERE = re.compile(r"in function [`']([^']+)'")
_LINKER = re.compile(r"^(?:\S*ld: )(?P<text>.*)$")

_MIB = 1 << 20


def link(
    build: KernelBuild,
    app: AppObject | None,
    store: Store,
    progress: Progress,
    others: Sequence[AppObject] = (),
) -> Image:
    """Return a bootable image with the application in it; without one, the plain kernel.

    `others` are linked in too, each with its own marker file. Raises InputError if their
    data does not fit, two have the same name, or a weak symbol would bind to the kernel's;
    UklError with symbol and origin if the linker fails.
    """
    objects = build.directory / "objects"
    if app is None:
        return _plain(build, objects)
    apps = (app, *others)
    named = [(each.name, each.key) for each in apps]
    key = digest("image", _FORMAT, build.key, named)
    inputs = {"kernel": build.key, "version": build.version, "applications": named}
    found = store.get("image", key)
    if found is None:  # a cached image was checked when it was made
        check_all(apps, build, symbols.read_map(objects / "System.map"))
    with progress.stage(f"link vmlinux with {', '.join(each.name for each in apps)}") as stage:
        if found is not None:
            stage.cached()
        entry = store.make(
            "image",
            key,
            inputs,
            lambda out: _make(build, apps, out),
            lambda out: _plan(build, out),
        )
    return Image(
        name=app.name,
        directory=entry,
        vmlinux=entry / "vmlinux",
        bzimage=entry / "bzImage",
        system_map=entry / "System.map",
        marker=entry / _marker(app.name),
        build_id=symbols.build_id(entry / "vmlinux"),
        key=key,
        relocatable=symbols.is_relocatable(entry / "bzImage"),
        others=tuple(
            LinkedApp(each.name, entry / _marker(each.name), each.user) for each in others
        ),
    )


def program(build: KernelBuild, name: str, path: str, store: Store) -> Image:
    """Return the plain kernel with a marker file that starts the program at `path` in ring 0."""
    plain = _plain(build, build.directory / "objects")
    content = symbols.program_marker(path)
    key = digest("marker", content)

    def work(out: Path) -> None:
        (out / "marker").write_bytes(content)

    entry = store.make("marker", key, {"path": path}, work)
    return replace(plain, name=name, marker=entry / "marker", key=digest(plain.key, key))


def _marker(name: str) -> str:
    return f"{name}.marker"


def _plain(build: KernelBuild, objects: Path) -> Image:
    return Image(
        name="linux",
        directory=build.directory,
        vmlinux=objects / "vmlinux",
        bzimage=objects / "arch/x86/boot/bzImage",
        system_map=objects / "System.map",
        marker=None,
        build_id=symbols.build_id(objects / "vmlinux"),
        key=digest("plain image", build.key),
        relocatable=symbols.is_relocatable(objects / "arch/x86/boot/bzImage"),
    )


# --- before linking --------------------------------------------------------


def data_size(facts: ObjectFacts) -> int:
    """Return the bytes that the application's data takes, without padding and headers."""
    return facts.rodata_size + facts.data_size + facts.bss_size + facts.tls_size


def check_all(
    apps: Sequence[AppObject], build: KernelBuild, kernel: dict[str, tuple[int, str]]
) -> None:
    """Raise InputError for applications that cannot be linked into this kernel together."""
    for number, app in enumerate(apps):
        if app.name in {other.name for other in apps[:number]}:
            raise InputError(
                f"two applications in one kernel are named `{app.name}`",
                where=app.name,
                remedy="give one of them another `name` in [app]",
            )
        check(app.name, app.facts, build, kernel, app.variables)
    check_exports(apps)
    sizes = {app.name: data_size(app.facts) for app in apps}
    if sum(sizes.values()) > build.data_limit:
        listed = ", ".join(f"{name} {_mib(size)}" for name, size in sizes.items())
        raise InputError(
            f"the data of all applications ({listed}) is larger than the "
            f"{_mib(build.data_limit)} that this kernel has below its text",
            where=apps[0].name,
            remedy="link fewer applications into one kernel, or raise this limit with the "
            "kernel option PHYSICAL_START",
        )


def check_exports(apps: Sequence[AppObject]) -> None:
    """Raise InputError if the kernel code of two applications exports the same name."""
    owners: dict[str, str] = {}
    for app in apps:
        own = Elf.open(app.side).symbols if app.side is not None else ()
        for symbol in own:
            if symbol.name.startswith(OWN) and not symbol.undefined:
                name = symbol.name.removeprefix(OWN)
                if (other := owners.setdefault(name, app.name)) != app.name:
                    raise InputError(
                        f"the kernel code of {other} and of {app.name} exports {name}",
                        where=app.name,
                        remedy="rename one of the functions",
                    )


def check(
    name: str,
    facts: ObjectFacts,
    build: KernelBuild,
    kernel: dict[str, tuple[int, str]],
    variables: Collection[str] = (),
) -> None:
    """Raise InputError for what the linker would accept but would crash the program.

    `variables` are the kernel's variables that the application's [kernel] code reads.
    """
    wanted = data_size(facts)
    if symbols.TEXT_START not in kernel:
        raise InputError(
            "this kernel was built without CONFIG_UKL: no application can be linked into it",
            where=build.directory,
            remedy="do not turn UKL off in the kernel options",
        )
    if wanted > build.data_limit:
        raise InputError(
            f"the data of {name} takes {wanted} bytes ({_mib(wanted)}), but this kernel has only "
            f"{build.data_limit} ({_mib(build.data_limit)}) below its text",
            where=name,
            remedy="allocate large buffers at run time (malloc, mmap) instead of static ones, "
            f"or raise this limit with the kernel option PHYSICAL_START "
            f"(by {_mib(wanted - build.data_limit + 2 * _MIB)} or more, a multiple of 2 MiB)",
        )
    taken = [
        weak
        for weak in facts.weak_undefined
        if weak not in {CALL, RESTART, FAST_RETURN} and kernel.get(weak, (0, ""))[1].isupper()
    ]
    if taken:
        raise InputError(
            f"{name} refers weakly to {', '.join(taken)}, which it does not define but the "
            "kernel does: it would call into the kernel",
            where=name,
            remedy="define it in the application, or link the library that does",
        )

    lacking = [
        function
        for function in facts.functions
        if function not in OFFERED
        and kernel.get(function, (0, ""))[1] not in {"T", "W"}
        and not (function in variables and kernel.get(function, (0, ""))[1].isupper())
    ]
    if lacking:
        static = [function for function in lacking if function in kernel]
        text = f"{name} calls {', '.join(lacking)}, which this kernel does not have"
        if static:
            text += f" as a global function ({', '.join(static)}: static in the kernel)"
        raise InputError(
            text,
            where=name,
            remedy="correct the name in `imports` of [kernel], or turn on the kernel option "
            "that provides it",
        )


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"


# --- the work directory ------------------------------------------------------


def compose(objects: Path, work: Path) -> None:
    """Make `work` look like the build directory `objects`, as the top of this file describes."""
    real = {Path(written) for written in _WRITTEN} | {Path()}
    real |= {parent for written in _WRITTEN for parent in Path(written).parents}
    for directory in sorted(real):
        source, target = objects / directory, work / directory
        if not source.is_dir():
            continue
        target.mkdir(parents=True)
        # Where the link writes, a symbolic link would make it write to the cached file.
        copied = os.fspath(directory) in _WRITTEN and directory.name not in {"config", "generated"}
        for entry in os.scandir(source):
            place = target / entry.name
            if directory / entry.name in real or _NOT_TAKEN.match(entry.name):
                continue
            if copied and entry.is_file(follow_symlinks=False) and not entry.name.endswith(".a"):
                shutil.copy2(entry.path, place)
            else:
                place.symlink_to(entry.path)


def set_applications(auto_conf: str, apps: Sequence[tuple[Sequence[Path], str]]) -> str:
    """Return include/config/auto.conf with the applications' objects and names set."""
    for path in [path for paths, _ in apps for path in paths]:
        check_path(path)
    kept = [
        line
        for line in auto_conf.splitlines()
        if not line.startswith(("CONFIG_UKL_APP=", "CONFIG_UKL_APP_NAME="))
    ]
    paths = " ".join(":".join(map(str, paths)) for paths, _ in apps)
    names = " ".join(name for _, name in apps)
    return "\n".join([*kept, f"CONFIG_UKL_APP={paths}", f"CONFIG_UKL_APP_NAME={names}"]) + "\n"


def _objects(app: AppObject) -> list[Path]:
    """Return the application's object, and that of its kernel code."""
    return [app.path] if app.side is None else [app.path, app.side]


# --- the link ------------------------------------------------------------------


def _prepare(
    build: KernelBuild, apps: Sequence[AppObject], work: Path, more: str = ""
) -> LinkRecipe:
    """Make the work directory of a link, with `more` in its auto.conf; return the recipe."""
    compose(build.directory / "objects", work)
    auto_conf = work / "include/config/auto.conf"
    text = set_applications(auto_conf.read_text(), [(_objects(app), app.name) for app in apps])
    auto_conf.unlink()
    auto_conf.write_text(text + more)
    return LinkRecipe.read(build.directory / "link.json").for_directory(build.source, work)


def link_map(build: KernelBuild, apps: Sequence[AppObject], store: Store) -> Path:
    """Return ld's map of the image of `apps`: which object each part of vmlinux came from.

    This links the image once more. Raises UklError if that fails.
    """

    def make(out: Path) -> None:
        work, log = out / "work", out / "link.log"
        # The kernel's option for a map; only scripts/link-vmlinux.sh reads it.
        recipe = _prepare(build, apps, work, "CONFIG_VMLINUX_MAP=y\n")
        try:
            run(recipe.link, cwd=work, env=recipe.environment, log=log)
        except CommandFailed as error:
            if is_no_space(error):
                raise
            raise explain(", ".join(app.name for app in apps), error) from None
        (work / "vmlinux.map").rename(out / "vmlinux.map")
        shutil.rmtree(work)

    named = [(each.name, each.key) for each in apps]
    inputs = {"kernel": build.key, "version": build.version, "applications": named}
    key = digest("map", _FORMAT, build.key, named)
    return store.make("map", key, inputs, make) / "vmlinux.map"


def _make(build: KernelBuild, apps: Sequence[AppObject], out: Path) -> None:
    """Fill the entry `out` with vmlinux, System.map, bzImage and the marker files."""
    work, log = out / "work", out / "link.log"
    recipe = _prepare(build, apps, work)
    env = recipe.environment
    try:
        for argv in recipe.commands():
            run(argv, cwd=work, env=env, log=log)
        if not (work / "vmlinux").is_file():
            raise CommandFailed(recipe.link, 0, "no vmlinux was made", log=log)
    except CommandFailed as error:
        if is_no_space(error):
            raise
        raise explain(", ".join(app.name for app in apps), error) from None
    _compress(build.source, work, env, log)
    for name in ("vmlinux", "System.map", "arch/x86/boot/bzImage"):
        (work / name).rename(out / Path(name).name)
    identity = symbols.build_id(out / "vmlinux")
    for app in apps:
        marker = out / _marker(app.name)
        marker.write_bytes(symbols.elf_marker(app.name, identity, app.user))
        marker.chmod(0o755)
    shutil.rmtree(work)


def _plan(build: KernelBuild, out: Path) -> list[Command]:
    """Return the commands that `_make` runs."""
    work = out / "work"
    recipe = LinkRecipe.read(build.directory / "link.json").for_directory(build.source, work)
    argvs = (*recipe.commands(), compress_argv(build.source))
    return [Command(tuple(argv), work) for argv in argvs]


def compress_argv(tree: Path) -> list[str]:
    """Return the command that makes bzImage; it makes only what depends on vmlinux. Pure."""
    makefile = os.fspath(tree / "scripts/Makefile.build")
    return ["make", "-f", makefile, "obj=arch/x86/boot", "-j2", "arch/x86/boot/bzImage"]


def _compress(tree: Path, work: Path, env: dict[str, str], log: Path) -> None:
    run(compress_argv(tree), cwd=work, env=env, log=log)


def explain(name: str, error: CommandFailed) -> UklError:
    """Turn a failed link into an error that names undefined symbols and their users."""
    wanted = undefined(error.output.splitlines())
    if wanted:
        listed = "; ".join(f"{symbol} (in {origin})" for symbol, origin in wanted[:8])
        more = f" and {len(wanted) - 8} more" if len(wanted) > 8 else ""
        return InputError(
            f"{name} uses symbols that neither it nor the kernel defines: {listed}{more}",
            where=name,
            remedy="add the library or source that defines them to the manifest",
            log=error.log,
        )
    errors = [match["text"] for line in error.output.splitlines() if (match := _LINKER.match(line))]
    errors = [text for text in errors if not text.startswith("warning: ")]
    # The linker script's assertion: the check before the link does not count padding.
    kind = InputError if any("out of reach" in text for text in errors) else UklError
    return kind(
        f"the final link of {name} failed" + (f": {errors[0]}" if errors else f":\n{error.tail}"),
        where=name,
        remedy="read the linker's whole output in the log",
        log=error.log,
    )


def undefined(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return (symbol, function or place that uses it) for each undefined symbol, once."""
    found: dict[str, str] = {}
    function = ""
    for line in lines:
        if match := _WHERE.search(line):
            function = match[1]
        if match := _UNDEFINED.search(line):
            place = line.partition(": undefined reference")[0].rpartition("ld: ")[2]
            found.setdefault(match[1], function or place)
    return list(found.items())
