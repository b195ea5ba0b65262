# SPDX-License-Identifier: GPL-2.0
"""Compile a kernel once, without the application, which only the final link adds."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import KernelBuild, KernelSpec
from ukl.base.progress import Progress, Stage
from ukl.host.exec import CommandFailed, version
from ukl.host.store import Command, Store, digest, is_no_space
from ukl.kernel import kconfig, make_args, nearest, symbols
from ukl.kernel.kconfig import Request
from ukl.kernel.source import fingerprint
from ukl.kernel.tree import prepare
from ukl.pgo.flags import COUNTED

OPTION = "CONFIG_UKL"
"""The option that the series adds; its other options begin with this name."""

_COMPILED = re.compile(r"^  (CC|AS|HOSTCC|LDS)\s")
_PLANNED = re.compile(r"echo ['\"]  (?:CC|AS|HOSTCC|LDS)\s")
"""What `make -n` prints for an object."""

SETTLED = 30.0
"""Seconds after which an estimate of the whole time is steady if nothing else runs."""

GROWTH = 2.0
"""How many times the shortest estimate may become before the machine counts as busy."""

_ERROR = re.compile(r"^\S+:\d+(:\d+)?: (fatal )?error: |^ld: |\*\*\* .*\bError\b|^make.*: \*\*\* ")


def requests(spec: KernelSpec) -> dict[str, Request]:
    """Return the options that a specification requests; the last request for each counts."""
    asked: list[Request] = []
    for fragment in spec.fragments:
        asked += kconfig.parse_fragment(fragment.read_text(), os.fspath(fragment))
    asked += kconfig.parse_options(spec.options, "the options asked for")
    merged = kconfig.merge(asked)
    if spec.patched:
        return merged
    return {name: request for name, request in merged.items() if not is_series_option(name)}


def is_series_option(option: str) -> bool:
    """Tell whether the series adds this option, so that an unpatched kernel lacks it."""
    return option == OPTION or option.startswith(f"{OPTION}_")


def _tree(spec: KernelSpec, store: Store, progress: Progress) -> tuple[Path, str]:
    """Return the tree to compile, and the key of its content."""
    if spec.patched:
        tree = prepare(spec.source, spec.series, store, progress)
        return tree, tree.parent.name
    # The build writes nothing into the tree: the objects lie elsewhere.
    tree = spec.source.directory
    return tree, spec.source.key or fingerprint(tree)


def compiler_identity(compiler: str) -> dict[str, str]:
    """Return the versions of the programs that make the objects."""
    return {name: version(name) for name in (compiler, "ld", "as")}


def key_of(
    tree: str, asked: Mapping[str, Request], compiler: str, counts: Path | None = None
) -> str:
    """Return the key of the objects: of tree, configuration, compiler and build format."""
    lines = sorted(request.line() for request in asked.values())
    counted = () if counts is None else (COUNTED, counts)
    return digest("kernel", make_args.FORMAT, tree, lines, compiler_identity(compiler), *counted)


def is_built(spec: KernelSpec, store: Store, progress: Progress) -> bool:
    """Tell whether the cache has the objects of a kernel; patches its source if necessary."""
    _, name = _tree(spec, store, progress)
    return store.get("kernel", key_of(name, requests(spec), spec.compiler, spec.pgo)) is not None


def build(
    spec: KernelSpec, store: Store, progress: Progress, jobs: int | None = None
) -> KernelBuild:
    """Return compiled kernel objects, from the cache if possible.

    Raises InputError for a series that does not apply or an option that Kconfig drops,
    UklError with the compiler's first error if the compilation fails.
    """
    make_args.check_path(store.root)  # before minutes are spent
    tree, name = _tree(spec, store, progress)
    asked = requests(spec)
    key = key_of(name, asked, spec.compiler, spec.pgo)
    which = "" if spec.patched else "unpatched "
    counted = spec.pgo is not None
    workers = jobs or len(os.sched_getaffinity(0))

    def compile_in(objects: Path, directory: Path, note: str = "") -> None:
        make = make_args.make_command(
            tree, objects, spec.compiler, workers, store.root, counted=counted
        )
        log = directory / "build.log"
        with progress.stage(f"{which}kernel configuration"):
            kconfig.configure(make, asked, log)
        with progress.stage(f"{which}kernel objects ({workers} jobs)") as stage:
            if note:
                stage.note(note)
            _compile(make, log, _Counter(stage, workers))
            make_args.capture(make, log).write(directory / "link.json")
        _discard_temporaries(objects)

    def compile_into(directory: Path) -> None:
        work = _workplace(tree, key, store)
        if work is None or spec.pgo is not None:
            if spec.pgo is not None:
                shutil.copytree(spec.pgo, directory / "objects")
            compile_in(directory / "objects", directory)
            return
        objects = work / "objects"
        with nearest.workplace(work) as continued:
            note = ""
            if continued:
                note = "continues the build that was interrupted"
            elif (known := nearest.find(inputs, store)) is not None:
                nearest.copy(known, objects)
                note = f"compiles what differs from the kernel {known.name[:12]}"
            else:
                nearest.from_nothing(work)
            compile_in(objects, directory, note)
            objects.rename(directory / "objects")

    inputs = {
        "tree": name,
        "version": spec.source.version,
        "options": [request.line() for request in asked.values()],
        "compiler": compiler_identity(spec.compiler),
    }

    def commands(directory: Path) -> list[Command]:
        objects = directory / "objects"
        make = make_args.make_command(
            tree, objects, spec.compiler, workers, store.root, counted=counted
        )
        config = ("env", f"KCONFIG_ALLCONFIG={objects / 'requested.config'}")
        return [
            Command((*config, *make.argv, "allnoconfig")),
            Command((*make.argv, "prepare")),
            Command((*make.argv, "bzImage")),
        ]

    entry = store.make("kernel", key, inputs, compile_into, commands)
    limit = symbols.data_limit(entry / "objects/System.map")
    return KernelBuild(key, tree, entry, spec.source.version, limit)


def config(spec: KernelSpec, store: Store, progress: Progress, directory: Path) -> Path:
    """Write `.config` into `directory` and return its path, without a build (`kernel config`)."""
    tree, _ = _tree(spec, store, progress)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ukl-config-") as scratch:
        objects = Path(scratch) / "objects"
        make = make_args.make_command(tree, objects, spec.compiler, 1, store.root)
        with progress.stage("kernel configuration"):
            kconfig.configure(make, requests(spec))
        shutil.copyfile(objects / ".config", directory / ".config")
    return directory / ".config"


def _workplace(tree: Path, key: str, store: Store) -> Path | None:
    """Return the directory beside the tree in which the objects are made; None: in the entry.

    Beside the tree, the path from one to the other is the same for all trees in the cache. So
    ccache sees the same command lines, and reuses the objects of other trees, such as those of
    an earlier version of the patches.
    """
    if not tree.is_relative_to(store.root) or not os.access(tree.parent, os.W_OK):
        return None
    return tree.parent / f".{key}.objects"


class _Counter:
    """Counts the objects that make compiles; updates the stage with them and the time left.

    `total` is what make is expected to compile; 0: unknown. On a machine that has other work, the
    time left only grows: say once that it is busy, and no times.
    """

    def __init__(self, stage: Stage, cores: int) -> None:
        self.done = 0
        self.total = 0
        self._stage = stage
        self._begin = time.monotonic()
        self._shortest = float("inf")
        self._busy = False
        load = os.getloadavg()[0]
        if load > cores:
            self._report_busy(f"the load is {load:.1f} on {cores} processors")

    def _report_busy(self, why: str) -> None:
        self._busy = True
        self._stage.note(f"this machine is busy: {why}, and the build takes longer")

    def __call__(self, line: str) -> None:
        if _COMPILED.match(line) is None:
            return
        self.done += 1
        if self.done >= self.total:  # what follows vmlinux.o was not counted
            self._stage.update(self.done, None, "objects compiled")
            return
        elapsed = time.monotonic() - self._begin
        left = elapsed / self.done * (self.total - self.done)
        end = elapsed + left
        self._shortest = min(self._shortest, end)
        if not self._busy and elapsed > SETTLED and end > GROWTH * self._shortest:
            self._report_busy(f"the objects take {end / self._shortest:.1f} times as long")
        note = "" if self._busy else f"about {_about(left)} left"
        self._stage.update(self.done, self.total, note)


def _about(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds > 90 else f"{max(1, round(seconds))} s"


def _compile(make: make_args.Make, log: Path, counter: _Counter) -> None:
    try:
        make.run("prepare", log=log, on_line=counter)
        # Takes 4 s of the CPU, and minutes follow. Make knows the objects of each configuration.
        counter.total = counter.done + len(_PLANNED.findall(make.planned("bzImage")))
        make.run("bzImage", log=log, on_line=counter)
    except CommandFailed as error:
        if is_no_space(error):
            raise
        lines = [line for line in error.output.splitlines() if _ERROR.search(line)]
        raise UklError(
            "the kernel did not compile" + (f": {lines[0]}" if lines else f":\n{error.tail}"),
            remedy="read the whole output in the log; the distribution's unchanged source and "
            "compiler should not fail",
            log=error.log,
        ) from None


def _discard_temporaries(objects: Path) -> None:
    """Remove the intermediate links (100 MB), which no later step reads."""
    for file in objects.glob(".tmp_vmlinux*"):
        file.unlink()
    (objects / "vmlinux.unstripped").unlink(missing_ok=True)
    # With kernel IBT, scripts/link-vmlinux.sh links vmlinux.o instead of vmlinux.a.
    if "CONFIG_X86_KERNEL_IBT=y" not in (objects / ".config").read_text().splitlines():
        (objects / "vmlinux.o").unlink(missing_ok=True)
    for name in ("vmlinux.bin", "vmlinux"):
        (objects / "arch/x86/boot/compressed" / name).unlink(missing_ok=True)
