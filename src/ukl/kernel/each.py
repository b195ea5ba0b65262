# SPDX-License-Identifier: GPL-2.0
"""Build after each patch of the series, so that `git bisect` can stop at any (`ukl kernel each`).

One tree is patched step by step, with the mails that `ukl kernel export` writes. After each
patch, make builds vmlinux in two directories: without CONFIG_UKL, and with it as soon as a
patch has added the option. Make compiles only what a patch changes. A new warning is a
failure, as an error is.

`kernel/VERSION/each.toml` holds the configuration. A full run takes about an hour; the quick
mode compiles only the sources that the series changes, and links nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ukl.base.errors import InputError, UklError
from ukl.base.model import KernelSpec
from ukl.base.progress import Progress, Stage, duration
from ukl.host.exec import CommandFailed
from ukl.host.store import Store, digest, is_no_space
from ukl.kernel import export, kconfig, mail, make_args, series
from ukl.kernel.build import OPTION, compiler_identity, requests
from ukl.kernel.kconfig import Request
from ukl.kernel.mail import Mail
from ukl.kernel.source import fingerprint
from ukl.kernel.tree import copy_tree

FILENAME = "each.toml"

TARGET = "vmlinux"
"""Runs objtool, modpost and the relocations; the compression to bzImage would prove no more."""

OFF, ON = "off", "on"
"""The two builds, by the state of CONFIG_UKL; also their directories beside the tree."""

LINES = 12
"""The most lines of a failed build that are shown; its log has all."""

_FORMAT = 1
"""Part of the keys; incremented when the same inputs give another verdict."""

_RESULT = "result.json"
_TREE = "linux"

_DEFINED = re.compile(r"^([+-])[ \t]*(?:menu)?config[ \t]+(\w+)[ \t]*$", re.M)
_COMPILED = re.compile(r"^  (CC|AS|HOSTCC|LDS)\s")
_WARNING = re.compile(r"\bwarning: ", re.I)
_ERROR = re.compile(
    r"\berror: |undefined reference|^\S*\bld: |\*\*\* No rule|multiple definition|^/bin/sh: "
)
_STOPPED = re.compile(r"^make.*\*\*\* ")
_PLACE = re.compile(r":\d+(:\d+)?(?=:)|\+0x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Plan:
    """The configuration: options of both builds, and those added where CONFIG_UKL is on.

    `quick` lists the objects that the quick mode compiles.
    """

    options: Mapping[str, str]
    on: Mapping[str, str]
    quick: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A state of the tree: the mails that lead to it, and its two configurations.

    `number` is that of the last patch applied, from 1; 0 if none is. `on` is None as long as
    Kconfig does not define CONFIG_UKL. `targets` holds make's targets with it off and on.
    """

    number: int
    subject: str
    mails: tuple[Mail, ...]
    off: Mapping[str, Request]
    on: Mapping[str, Request] | None
    targets: Mapping[str, tuple[str, ...]]

    @property
    def changes_kconfig(self) -> bool:
        """Whether the same requests may now give another configuration."""
        return any(_is_kconfig(diff.path) for one in self.mails for diff in one.diffs)


@dataclass(frozen=True, slots=True)
class Built:
    """The result of a build: seconds, the lines with errors, new warnings, name of the log."""

    seconds: float
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    log: str

    @property
    def is_good(self) -> bool:
        """Whether it built without a new warning."""
        return not self.errors and not self.warnings

    def verdict(self) -> str:
        """Return the verdict in a word, and the time that the build took."""
        word = "FAILED" if self.errors else "WARNS" if self.warnings else "ok"
        return f"{word} {duration(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Result:
    """The builds after a patch; `on` is None where the option does not exist yet."""

    number: int
    subject: str
    off: Built
    on: Built | None

    @property
    def is_good(self) -> bool:
        """Whether this patch builds both ways."""
        return self.off.is_good and (self.on is None or self.on.is_good)


@dataclass(frozen=True, slots=True)
class Report:
    """The results for the tree before the first patch and for each patch; where the logs lie."""

    version: str
    before: Result
    results: tuple[Result, ...]
    logs: Path = field(default_factory=Path)

    @property
    def is_good(self) -> bool:
        """Whether each patch builds both ways."""
        return all(result.is_good for result in self.results)

    def lines(self) -> list[str]:
        """Return the report as text: a line for each patch, its problems below it, a summary."""
        text = []
        for result in self.results:
            builds = [(OFF, result.off), *([(ON, result.on)] if result.on else [])]
            words = "  ".join(f"{which} {built.verdict()}" for which, built in builds)
            text.append(f"{result.number:>2} {words:<30} {result.subject}")
            for which, built in builds:
                text += [f"   {which}: {line}" for line in (*built.errors, *built.warnings)]
                text += [] if built.is_good else [f"   log: {self.logs / built.log}"]
        bad = sum(not result.is_good for result in self.results)
        count = sum(1 + (result.on is not None) for result in self.results)
        summary = f"{bad} DO NOT BUILD" if bad else "all good"
        text.append(f"{len(self.results)} patches, {count} builds: {summary}")
        return text


class _NotBuilding(UklError):
    """Carries the report of a failure out of the cache, which keeps only its logs."""

    def __init__(self, report: Report) -> None:
        self.report = report
        bad = [str(result.number) for result in report.results if not result.is_good]
        super().__init__(f"patches that do not build: {', '.join(bad)}")


# --- planning: pure ------------------------------------------------------------------


def load(file: Path) -> Plan:
    """Read each.toml; raises InputError if it is malformed."""
    try:
        data = tomllib.loads(file.read_text())
        return Plan(dict(data["options"]), dict(data["on"]), tuple(data["quick"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot read the configuration: {error}", where=file) from None


def _is_kconfig(path: str) -> bool:
    return PurePosixPath(path).name.startswith("Kconfig")


def defined(mails: Sequence[Mail]) -> frozenset[str]:
    """Return the options, with CONFIG_, that the mails add to Kconfig files, not those moved."""
    found: set[str] = set()
    for one in mails:
        texts = [diff.text for diff in one.diffs if _is_kconfig(diff.path)]
        lines = {line for text in texts for line in _DEFINED.findall(text)}
        found |= {name for sign, name in lines if sign == "+" and ("-", name) not in lines}
    return frozenset(f"CONFIG_{name}" for name in found)


def created(mails: Sequence[Mail]) -> frozenset[str]:
    """Return the files that the mails create."""
    return frozenset(diff.path for one in mails for diff in one.diffs if diff.creates)


def _without(objects: Sequence[str], absent: frozenset[str]) -> tuple[str, ...]:
    """Return the objects whose source is not in `absent`."""
    stems = {path.removesuffix(suffix) for path in absent for suffix in (".c", ".S")}
    return tuple(name for name in objects if name.removesuffix(".o") not in stems)


def steps(
    mails: Sequence[Mail],
    first: int,
    last: int,
    base: Mapping[str, Request],
    plan: Plan,
    *,
    quick: bool = False,
) -> tuple[Step, ...]:
    """Return the state before patch `first`, and the state after each patch up to `last`.

    The plan's requests are added to `base`. `quick` compiles the plan's objects instead of
    vmlinux. Raises InputError if the series has no such patches, or never defines CONFIG_UKL.
    """
    if not 1 <= first <= last <= len(mails):
        raise InputError(
            f"there are no patches {first} to {last}",
            remedy=f"the series has {len(mails)}: name them from 1 to {len(mails)}",
        )
    if OPTION not in defined(mails):
        raise InputError(f"no patch of the series defines {OPTION}: there is nothing to turn on")
    common = {**base, **kconfig.merge(kconfig.parse_options(plan.options, FILENAME))}
    turned_on = {**common, **kconfig.merge(kconfig.parse_options(plan.on, FILENAME))}
    turned_on[OPTION] = Request(OPTION, "y", FILENAME)
    turned_off = {**common, OPTION: Request(OPTION, "n", FILENAME)}

    def step(number: int, begin: int, subject: str) -> Step:
        unknown = defined(mails[number:]) - defined(mails[:number])

        def known(asked: Mapping[str, Request]) -> dict[str, Request]:
            return {name: one for name, one in asked.items() if name not in unknown}

        on = None if OPTION in unknown else known(turned_on)
        targets: dict[str, tuple[str, ...]] = {OFF: (TARGET,), ON: (TARGET,)}
        if quick:
            # Files that the series creates are compiled only with the option on.
            targets[OFF] = _without(plan.quick, created(mails))
            targets[ON] = _without(plan.quick, created(mails[number:]))
        return Step(number, subject, tuple(mails[begin:number]), known(turned_off), on, targets)

    before = step(first - 1, 0, mails[first - 2].subject if first > 1 else "the unpatched kernel")
    after = [step(n, n - 1, mails[n - 1].subject) for n in range(first, last + 1)]
    return (before, *after)


# --- what make prints: pure -----------------------------------------------------------


def warnings(output: str, tree: Path) -> dict[str, str]:
    """Return the warnings of a build: line without its places in files (which move) -> line."""
    found: dict[str, str] = {}
    for raw in output.splitlines():
        if _WARNING.search(raw):
            line = _short(raw, tree)
            found.setdefault(_PLACE.sub("", line), line)
    return found


def errors(output: str, tree: Path) -> tuple[str, ...]:
    """Return the lines that say why a build failed; else make's own lines, else the last."""
    lines = [_short(line, tree) for line in output.splitlines() if line.strip()]
    found = [line for line in lines if _ERROR.search(line)]
    found = found or [line for line in lines if _STOPPED.match(line)] or lines[-3:]
    return tuple(dict.fromkeys(found))[:LINES]


def _short(line: str, tree: Path) -> str:
    """Return the line with paths relative to the top of the tree."""
    return line.strip().replace(f"{tree}/", "").replace(f"../{tree.name}/", "")


# --- doing ------------------------------------------------------------------------------


class _Bench:
    """The tree that is patched, and the two directories that it is built in."""

    def __init__(self, directory: Path, make: Mapping[str, make_args.Make]) -> None:
        self.directory = directory
        self._make = make
        self._asked: dict[str, Mapping[str, Request]] = {}
        self._seen: set[str] = set()

    @property
    def tree(self) -> Path:
        return self.directory / _TREE

    def apply(self, step: Step, where: Path) -> None:
        """Bring the tree to the state of a step; raises InputError if a patch does not apply."""
        if step.changes_kconfig:
            self._asked.clear()
        for one in step.mails:
            try:
                series.patch_files(self.tree, one.diffs, log=self.directory / "patch.log")
            except CommandFailed as error:
                if is_no_space(error):
                    raise
                raise InputError(
                    f"“{one.subject}” does not apply after the patches before it: "
                    + series.explain(one.diffs, error.output),
                    where=where,
                    remedy="import the series again from the tree it is developed in",
                    log=error.log,
                ) from None

    def build(self, step: Step, total: int, progress: Progress, *, judge: bool = True) -> Result:
        """Run both builds and return the result; without `judge` no warning counts as new."""

        def one(which: str, asked: Mapping[str, Request]) -> Built:
            title = f"{step.number}/{total} {which}: {step.subject}"
            log = self.directory / f"{step.number:04}-{which}.log"
            begin = time.monotonic()
            failed: tuple[str, ...] = ()
            output = _Output()
            try:
                with progress.stage(_cut(title)) as output.stage:
                    self._configure(which, asked, log)
                    # Report all failures, not only the first.
                    targets = step.targets[which]
                    self._make[which].run("--keep-going", *targets, log=log, on_line=output)
            except CommandFailed as error:
                if is_no_space(error):
                    raise
                failed = errors(error.output, self.tree)
            except InputError as error:  # an option that Kconfig drops
                failed = (error.message,)
            new = self._new(output.text())
            if not judge:
                new = ()
            for line in new:
                progress.line(f"  {line}")
            return Built(round(time.monotonic() - begin, 1), failed, new, log.name)

        off = one(OFF, step.off)
        return Result(step.number, step.subject, off, None if step.on is None else one(ON, step.on))

    def _configure(self, which: str, asked: Mapping[str, Request], log: Path) -> None:
        if self._asked.get(which) == asked:
            return
        self._asked.pop(which, None)
        kconfig.configure(self._make[which], asked, log)
        self._asked[which] = asked

    def _new(self, output: str) -> tuple[str, ...]:
        printed = warnings(output, self.tree)
        new = tuple(line for key, line in printed.items() if key not in self._seen)
        self._seen.update(printed)
        return new


class _Output:
    """Keeps what make prints, and updates the stage with the number of compiled files."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self._lines: list[str] = []
        self._compiled = 0

    def __call__(self, line: str) -> None:
        self._lines.append(line)
        if self.stage is not None and _COMPILED.match(line):
            self._compiled += 1
            self.stage.update(self._compiled, None, "files compiled")

    def text(self) -> str:
        return "\n".join(self._lines)


def _cut(title: str, width: int = 72) -> str:
    return title if len(title) <= width else title[: width - 1].rstrip() + "…"


def _run(
    directory: Path,
    spec: KernelSpec,
    planned: Sequence[Step],
    *,
    total: int,
    store: Store,
    progress: Progress,
    jobs: int,
) -> Report:
    """Run all builds below `directory`; only the logs stay there afterwards."""
    tree = directory / _TREE
    touched = series.load(spec.series).touched()
    with progress.stage(f"copy Linux {spec.source.version}"):
        copy_tree(spec.source.directory, tree, touched, link=bool(spec.source.key))
    # Side by side, so that ccache reuses the objects of one build for the other.
    make = {
        which: make_args.make_command(tree, directory / which, spec.compiler, jobs, store.root)
        for which in (OFF, ON)
    }
    bench = _Bench(directory, make)
    bench.apply(planned[0], spec.series)
    before = bench.build(planned[0], total, progress, judge=False)
    if not before.is_good:
        failed = before.on if before.off.is_good and before.on else before.off
        raise UklError(
            f"the tree before the first patch does not build ({before.subject}): "
            + "; ".join(failed.errors),
            where=spec.source.directory,
            log=directory / failed.log,
        )
    results = []
    for step in planned[1:]:
        bench.apply(step, spec.series)
        results.append(bench.build(step, total, progress))
    for path in (tree, directory / OFF, directory / ON):
        shutil.rmtree(path, ignore_errors=True)
    return Report(spec.source.version, before, tuple(results))


def check(
    spec: KernelSpec,
    store: Store,
    progress: Progress,
    *,
    first: int = 1,
    last: int | None = None,
    full: bool = False,
    quick: bool = False,
    jobs: int | None = None,
) -> Report:
    """Build after each of the patches `first` to `last`; return a good result from the cache.

    `full` uses the configuration of `spec`, with the plan's options added; `quick` compiles
    only the plan's objects. Raises InputError for a series without an each.toml, UklError if
    the tree before the first patch does not build.
    """
    plan = load(spec.series.parent / FILENAME)
    loaded = series.load(spec.series)
    mails = export.full_mails(loaded)
    end = len(mails) if last is None else last
    planned = steps(mails, first, end, requests(spec) if full else {}, plan, quick=quick)
    key = digest(
        "each",
        _FORMAT,
        make_args.FORMAT,
        spec.source.key or fingerprint(spec.source.directory),
        [mail.render(one) for one in mails[:end]],
        first,
        [sorted(one.line() for one in step.off.values()) for step in planned],
        [sorted(one.line() for one in (step.on or {}).values()) for step in planned],
        [step.targets for step in planned],
        compiler_identity(spec.compiler),
    )
    workers = jobs or len(os.sched_getaffinity(0))

    def make(directory: Path) -> None:
        report = _run(
            directory,
            spec,
            planned,
            total=len(mails),
            store=store,
            progress=progress,
            jobs=workers,
        )
        if not report.is_good:
            raise _NotBuilding(report)
        (directory / _RESULT).write_text(json.dumps(_plain(report), indent=1) + "\n")

    inputs = {"source": spec.source.origin, "version": spec.source.version, "patches": [first, end]}
    try:
        entry = store.make("each", key, inputs, make)
    except _NotBuilding as error:
        return replace(error.report, logs=store.root / "failed" / f"each-{key}")
    return replace(_read(json.loads((entry / _RESULT).read_text())), logs=entry)


def _plain(report: Report) -> dict[str, Any]:
    plain = asdict(report)
    del plain["logs"]
    return plain


def _read(plain: Mapping[str, Any]) -> Report:
    def built(one: Mapping[str, Any]) -> Built:
        return Built(one["seconds"], tuple(one["errors"]), tuple(one["warnings"]), one["log"])

    def result(one: Mapping[str, Any]) -> Result:
        on = None if one["on"] is None else built(one["on"])
        return Result(one["number"], one["subject"], built(one["off"]), on)

    results = tuple(result(one) for one in plain["results"])
    return Report(plain["version"], result(plain["before"]), results)
