# SPDX-License-Identifier: GPL-2.0
"""`ukl kernel trim`: finds a smaller configuration for an application, and tests it.

The application's workload runs once in a traced guest. Options whose code did not run are
removed, and the workload runs again in the smaller kernel. If it fails, halves of the proposal
are tried, up to the given number of builds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import AppSpec, Image, KernelBuild, KernelSpec
from ukl.elf.reader import Elf
from ukl.flow import kernel as kernels
from ukl.flow import workload
from ukl.flow.bootable import link_map, linked, prepared
from ukl.flow.dry import Step
from ukl.flow.watch import Watch
from ukl.flow.workload import Bench, Workload, WorkloadResult
from ukl.kernel import build as kernel_build
from ukl.kernel import kconfig, make_args, symbols
from ukl.kernel.kconfig_why import Definitions
from ukl.trim import decide, linkmap, reach
from ukl.trim.decide import Facts, Proposal, Wishes
from ukl.trim.kbuild import Kbuild
from ukl.trim.linkmap import LinkMap
from ukl.trim.search import Search

IDLE_SECONDS = 12.0
"""Seconds for which the idle guest is traced: IPv6 solicits routers three times, 4 s apart, and
members of a multicast group send their reports within 10 s."""

BUILDS = 6
"""Default maximum number of trial kernels."""

_TEXT = (("_stext", "_etext"), ("_sinittext", "_einittext"))
_ALWAYS_RUNS = "schedule"
"""A function that runs both before and during the workload."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a kernel with the application, in bytes; `options` is the number of enabled ones.

    `text` is all code including the application's, without the padding to huge pages; `image` is
    the loaded part of vmlinux, including data.
    """

    bzimage: int
    text: int
    image: int
    options: int


@dataclass(frozen=True, slots=True)
class Trial:
    """The test of a kernel without some options."""

    without: tuple[str, ...]
    good: bool
    text: str
    log: Path | None


@dataclass(frozen=True, slots=True)
class Report:
    """The result. If `proved`, the workload ran with the kernel of `proposal`.

    `options` are the [kernel.options] for this kernel: the application's own and the removed
    ones.
    """

    name: str
    profile: str
    workload: str
    proposal: Proposal
    proved: bool
    trials: tuple[Trial, ...]
    before: Sizes
    after: Sizes | None
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Built:
    """A kernel with the application, its configuration, and its link map."""

    kernel: KernelBuild
    image: Image
    config: Mapping[str, str]
    link_map: LinkMap

    @property
    def sizes(self) -> Sizes:
        """The sizes of the kernel."""
        sections = Elf.open(self.image.vmlinux).sections
        return Sizes(
            bzimage=self.image.bzimage.stat().st_size,
            text=sum(piece.size for piece in self.link_map.pieces),
            image=sum(section.size for section in sections if section.allocated),
            options=sum(1 for value in self.config.values() if value == "y"),
        )


def _build(spec: AppSpec, bench: Bench) -> Built:
    found = linked(spec, bench.context)
    config = kconfig.read((found.kernel.directory / "objects/.config").read_text())
    file = link_map(found, bench.context)
    with file.open(encoding="utf-8", errors="replace") as stream:
        return Built(found.kernel, found.image, config, linkmap.parse(stream))


def _kernel_spec(spec: AppSpec, bench: Bench) -> KernelSpec:
    return kernels.specified(kernels.wanted_by((spec, *spec.with_)), bench.context.quiet())


# --- which code runs ----------------------------------------------------------------------------


def _observe(spec: AppSpec, built: Built, work: Workload, bench: Bench) -> tuple[Watch, Watch]:
    """Trace the workload, and an idle guest, with the same kernel."""
    names = symbols.read_map(built.image.system_map)
    ranges = tuple((names[first][0], names[last][0] - 1) for first, last in _TEXT)
    watch, idle = Watch(ranges), Watch(ranges, IDLE_SECONDS)
    done = work.run(spec, watch)
    if not done.good:
        raise UklError(
            f"{work.title} fails with the untrimmed kernel: {done.text}",
            remedy="use a workload that exits with status 0: --workload COMMAND",
            log=done.log,
        )
    workload.idle(spec, idle, bench)
    return watch, idle


def _facts(
    spec: AppSpec, built: Built, watches: tuple[Watch, Watch], bench: Bench, wishes: Wishes
) -> Facts:
    watch, idle = watches
    tree = built.kernel.source
    known = symbols.read_map(built.image.system_map)
    functions = reach.Functions(
        (name, address) for name, (address, kind) in known.items() if kind in "tTwW"
    )
    ran = reach.ran(watch.boot, watch.work, idle.work, built.link_map, functions)
    if _ALWAYS_RUNS not in {functions.at(address) for address in watch.work}:
        raise UklError(
            "QEMU's emulator did not log the code that ran during the workload",
            remedy="use QEMU 7.2 or later, built with capstone (for disassembly)",
        )

    code = reach.code(built.link_map, makefiles(tree), built.config)
    asked = kernel_build.requests(_kernel_spec(spec, bench))
    return Facts(spec, asked, built.config, code, ran, Definitions.scan(tree), wishes)


def makefiles(tree: Path) -> Kbuild:
    """Return a parser for the Makefiles of a kernel tree."""

    def read(path: str) -> str | None:
        try:
            return (tree / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    return Kbuild(read)


# --- what can be removed ------------------------------------------------------------------------


@dataclass(slots=True)
class _Trials:
    """Builds kernels without some options, and runs the workload in them."""

    spec: AppSpec
    work: Workload
    bench: Bench
    facts: Facts
    first: Proposal
    resolve: decide.Resolve
    tried: list[Trial]
    built: Built | None = None

    def proposal(self, options: frozenset[str]) -> Proposal:
        """Return the proposal to remove these options, as far as Kconfig allows it."""
        text = "the workload failed without it, or without a set of options that has it"
        limited = decide.restricted(self.first, options, text)
        return decide.consistent(limited, self.facts, self.resolve)

    def attempt(self, options: frozenset[str]) -> bool:
        """Return whether the workload succeeds without these options."""
        proposal = self.proposal(options)
        names = proposal.names
        for each in self.tried:
            if names == frozenset(each.without):
                return each.good
        smaller = without(self.spec, proposal)
        count = len(names)
        self.bench.context.progress.line(f"trial {len(self.tried) + 1}: without {count} options")
        built: Built | None = None
        try:
            built = _build(smaller, self.bench)
            done = self.work.run(smaller)
        except UklError as error:
            # A rare combination of options may not compile.
            done = WorkloadResult(False, error.message.splitlines()[0], error.log)
        self.tried.append(Trial(tuple(sorted(names)), done.good, done.text, done.log))
        if done.good:
            self.built = built
        return done.good


def without(spec: AppSpec, proposal: Proposal) -> AppSpec:
    """Return the application with a kernel without the options of a proposal. Pure."""
    off = {**dict.fromkeys(sorted(proposal.names), "n"), **dict(proposal.values)}
    return replace(spec, kernel_options={**_unprefixed(spec.kernel_options), **off})


def _unprefixed(options: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("CONFIG_"): value for name, value in options.items()}


def trim(
    spec: AppSpec,
    work: Workload,
    bench: Bench,
    *,
    builds: int = BUILDS,
    wishes: Wishes = Wishes(),  # noqa: B008 - a frozen value
) -> Report:
    """Find the kernel options that `work` does not need, and test a kernel without them.

    At most `builds` kernels are built in addition to the untrimmed one; with 0 the result is an
    untested proposal. Raises UklError if the workload fails with the untrimmed kernel, and the
    errors of building and booting.
    """
    spec = prepared(spec, bench.context)
    before = _build(spec, bench)
    watches = _observe(spec, before, work, bench)
    facts = _facts(spec, before, watches, bench, wishes)
    decide.check(facts)
    with tempfile.TemporaryDirectory(prefix="ukl-trim-") as scratch:
        resolve = _resolver(facts, before.kernel, bench, Path(scratch))
        with bench.context.progress.stage("dependencies of options") as stage:
            first = decide.propose(facts)
            whole = decide.consistent(first, facts, resolve)
            count = len(decide.options(facts.asked))
            stage.outcome = f"{len(whole.gone)} of {count} can be removed"
        if builds <= 0 or not whole.gone:
            return _report(spec, work, whole, before)
        leading = decide.leading(first, whole)
        trials = _Trials(spec, work, bench, facts, leading, resolve, [])
        search = Search(trials.attempt, builds)
        good = search.run([each.option for each in leading.gone])
        proved = trials.proposal(good)
        return _report(spec, work, proved, before, trials)


def _resolver(facts: Facts, kernel: KernelBuild, bench: Bench, scratch: Path) -> decide.Resolve:
    compiler = _kernel_spec(facts.spec, bench).compiler
    root = bench.context.store.root
    make = make_args.make_command(kernel.source, scratch / "objects", compiler, 1, root)
    known: dict[frozenset[str], Mapping[str, str]] = {}

    def resolve(names: frozenset[str]) -> Mapping[str, str]:
        if names not in known:
            off = {f"CONFIG_{name}": "n" for name in names}
            asked = {
                name: replace(request, value=off.get(name, request.value))
                for name, request in facts.asked.items()
            }
            known[names] = kconfig.resolve(make, asked)
        return known[names]

    return resolve


def _report(
    spec: AppSpec,
    work: Workload,
    proposal: Proposal,
    before: Built,
    trials: _Trials | None = None,
) -> Report:
    after = trials.built if trials is not None else None
    return Report(
        name=spec.name,
        profile=spec.profile,
        workload=work.title,
        proposal=proposal,
        proved=after is not None,
        trials=tuple(trials.tried) if trials is not None else (),
        before=before.sizes,
        after=after.sizes if after is not None else None,
        options=without(spec, proposal).kernel_options,
    )


def planned(work: Workload, builds: int) -> list[Step]:
    """Return the steps after the build of the untrimmed kernel, for --dry-run. Pure."""
    steps = [
        Step(f"{work.title}, traced", note="in an emulated guest"),
        Step("an idle guest, traced", note=f"for {IDLE_SECONDS:g} s"),
        Step("options to remove", note="according to the traces and Kconfig"),
    ]
    if builds:
        trial = f"kernels without these options, each with {work.title}"
        steps.append(Step(trial, note=f"until one succeeds, at most {builds}"))
    return steps


# --- output -------------------------------------------------------------------------------------


def table(report: Report) -> list[str]:
    """Return the lines to print: options kept and why, options removed, sizes. Pure."""
    kept = sorted(report.proposal.kept, key=lambda each: list(decide.Why).index(each.why))
    rows = [f"{'kept':<32} {'why':<12}"]
    rows += [f"{each.option:<32} {each.why.value:<12} {_shown(each)}".rstrip() for each in kept]
    rows += ["", f"{'removed':<32} {'code':>9}  reason"]
    for each in report.proposal.gone:
        text = f": {each.text}" if each.text else ""
        rows.append(f"{each.option:<32} {each.size:>9}  {each.seen.value}{text}")
    rows.append("")
    for number, trial in enumerate(report.trials, 1):
        verdict = "good" if trial.good else f"FAILED: {trial.text} (log: {trial.log})"
        rows.append(f"trial {number}: without {len(trial.without)} options: {verdict}")
    rows += _sizes(report.before, report.after)
    return rows


def _shown(kept: decide.Kept) -> str:
    return f"{kept.text}()" if kept.why is decide.Why.REACHED else kept.text


def _sizes(before: Sizes, after: Sizes | None) -> list[str]:
    rows = [f"{'bytes of':<12} {'before':>12}" + (f" {'after':>12}" if after else "")]
    for name, title in (
        ("bzimage", "bzImage"),
        ("text", "code"),
        ("image", "loaded"),
        ("options", "(options)"),
    ):
        row = f"{title:<12} {getattr(before, name):>12}"
        rows.append(row + (f" {getattr(after, name):>12}" if after else ""))
    return rows


def manifest_block(report: Report) -> list[str]:
    """Return the lines of a ukl.toml that select this kernel. Pure."""
    seen = {each.option: each for each in report.proposal.gone}
    how = f"tested with {report.workload}" if report.proved else "not tested"
    rows = [f"# Options that {report.name} does not use; {how}."]
    if report.profile:
        rows += ["[kernel]", f'profile = "{report.profile}"', ""]
    rows.append("[kernel.options]")
    for name, value in report.options.items():
        comment = f"  # {seen[name].seen.value}" if name in seen else ""
        rows.append(f"{name} = {json.dumps(value)}{comment}")
    return rows
