# SPDX-License-Identifier: GPL-2.0
"""`ukl kernel trim`: finds a smaller configuration for an application, and proves it.

The application's work is done once in a guest that is watched; what of the configuration had
no part in it is left out, and the same work is done again in the smaller kernel. Where that
fails, halves of the proposal are tried, as long as there are builds left.
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
from ukl.flow.workload import Bench, Done, Workload
from ukl.kernel import build as kernel_build
from ukl.kernel import kconfig, make_args, symbols
from ukl.kernel.kconfig_why import Definitions
from ukl.trim import decide, linkmap, reach
from ukl.trim.decide import Facts, Proposal, Wishes
from ukl.trim.kbuild import Kbuild
from ukl.trim.linkmap import LinkMap
from ukl.trim.search import Search

IDLE_SECONDS = 12.0
"""How long the guest that does nothing is watched: IPv6 asks for routers three times, 4 s
apart, and whoever wants to hear what is sent to a group says so within 10 s."""

BUILDS = 6
"""Kernels that are built at most unless somebody says otherwise."""

_TEXT = (("_stext", "_etext"), ("_sinittext", "_einittext"))
_KNOWN = "schedule"
"""A function that runs before the application, and as long as it does."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a kernel with the application is, in bytes; `options` counts those that are on.

    `text` is all code, the application's too, without what is filled up to whole huge pages;
    `image` what is loaded of vmlinux, data included.
    """

    bzimage: int
    text: int
    image: int
    options: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A kernel that was tried without some options."""

    without: tuple[str, ...]
    good: bool
    text: str
    log: Path | None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it: `proposal` was proved unless `proved` is False.

    `options` are those of a manifest for this kernel: the application's own, and what goes.
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
    """A kernel with the application in it, and how it was configured."""

    kernel: KernelBuild
    image: Image
    config: Mapping[str, str]
    placed: LinkMap

    @property
    def sizes(self) -> Sizes:
        """How large it is."""
        sections = Elf.open(self.image.vmlinux).sections
        return Sizes(
            bzimage=self.image.bzimage.stat().st_size,
            text=sum(piece.size for piece in self.placed.pieces),
            image=sum(section.size for section in sections if section.allocated),
            options=sum(1 for value in self.config.values() if value == "y"),
        )


def _build(spec: AppSpec, bench: Bench) -> Built:
    found = linked(spec, bench.context)
    config = kconfig.read((found.kernel.directory / "objects/.config").read_text())
    file = link_map(found.spec, found.kernel, bench.context)
    with file.open(encoding="utf-8", errors="replace") as stream:
        return Built(found.kernel, found.image, config, linkmap.parse(stream))


def _kernel_spec(spec: AppSpec, bench: Bench) -> KernelSpec:
    return kernels.specified(kernels.wanted_by((spec, *spec.with_)), bench.context.quiet())


# --- what is used -------------------------------------------------------------------------------


def _observe(spec: AppSpec, built: Built, work: Workload, bench: Bench) -> tuple[Watch, Watch]:
    """Have the work done, and nothing done, in watched guests of the same kernel."""
    names = symbols.read_map(built.image.system_map)
    ranges = tuple((names[first][0], names[last][0] - 1) for first, last in _TEXT)
    watch, idle = Watch(ranges), Watch(ranges, IDLE_SECONDS)
    done = work.run(spec, watch)
    if not done.good:
        raise UklError(
            f"{work.title} fails with the kernel as it is: {done.text}",
            remedy="give it a workload that ends with status 0: --workload COMMAND",
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
    ran = reach.ran(watch.boot, watch.work, idle.work, built.placed, functions)
    if _KNOWN not in {functions.at(address) for address in watch.work}:
        raise UklError(
            "QEMU's emulator did not write down what ran while the application did",
            remedy="use a QEMU from 7.2 on that disassembles (built with capstone)",
        )

    code = reach.code(built.placed, makefiles(tree), built.config)
    asked = kernel_build.requests(_kernel_spec(spec, bench))
    return Facts(spec, asked, built.config, code, ran, Definitions.scan(tree), wishes)


def makefiles(tree: Path) -> Kbuild:
    """Return what the Makefiles of a kernel's tree say."""

    def read(path: str) -> str | None:
        try:
            return (tree / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    return Kbuild(read)


# --- what can go --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trials:
    """Builds kernels without some options, and has the work done in them."""

    spec: AppSpec
    work: Workload
    bench: Bench
    facts: Facts
    first: Proposal
    resolve: decide.Resolve
    tried: list[Trial]
    built: Built | None = None

    def proposal(self, options: frozenset[str]) -> Proposal:
        """Return what Kconfig can do of leaving these options out."""
        text = "the workload failed without it, or with others it was not tried"
        limited = decide.restricted(self.first, options, text)
        return decide.consistent(limited, self.facts, self.resolve)

    def attempt(self, options: frozenset[str]) -> bool:
        """Tell whether the work is done well without these options."""
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
            # A combination that nobody has compiled yet need not compile.
            done = Done(False, error.message.splitlines()[0], error.log)
        self.tried.append(Trial(tuple(sorted(names)), done.good, done.text, done.log))
        if done.good:
            self.built = built
        return done.good


def without(spec: AppSpec, proposal: Proposal) -> AppSpec:
    """Return the application with a kernel without what a proposal says. Pure."""
    off = {**dict.fromkeys(sorted(proposal.names), "n"), **dict(proposal.values)}
    return replace(spec, kernel_options={**_bare(spec.kernel_options), **off})


def _bare(given: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("CONFIG_"): value for name, value in given.items()}


def trim(
    spec: AppSpec,
    work: Workload,
    bench: Bench,
    *,
    builds: int = BUILDS,
    wishes: Wishes = Wishes(),  # noqa: B008 - a frozen value
) -> Report:
    """Find what of the kernel's configuration `work` does not need, and prove it.

    At most `builds` kernels are built besides that of the application as it is; with 0 of
    them it is only proposed. Raises UklError when the work fails as things are, and the
    errors of building and booting.
    """
    spec = prepared(spec, bench.context)
    before = _build(spec, bench)
    watches = _observe(spec, before, work, bench)
    facts = _facts(spec, before, watches, bench, wishes)
    decide.check(facts)
    with tempfile.TemporaryDirectory(prefix="ukl-trim-") as scratch:
        resolve = _resolver(facts, before.kernel, bench, Path(scratch))
        with bench.context.progress.stage("what depends on what") as stage:
            first = decide.propose(facts)
            whole = decide.consistent(first, facts, resolve)
            stage.outcome = f"{len(whole.gone)} of {len(decide.options(facts.asked))} can go"
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
    """Return what would be done behind the build of the kernel as it is. Pure."""
    steps = [
        Step(f"{work.title}, watched", note="in a guest that is emulated"),
        Step("a guest that does nothing, watched", note=f"for {IDLE_SECONDS:g} s"),
        Step("what can go", note="by what was seen, and by Kconfig"),
    ]
    if builds:
        trial = f"kernels without that, each with {work.title}"
        steps.append(Step(trial, note=f"until one does it well, {builds} at most"))
    return steps


# --- for people ---------------------------------------------------------------------------------


def table(report: Report) -> list[str]:
    """Return the lines that people see: what stays and why, what goes, how large it is. Pure."""
    kept = sorted(report.proposal.kept, key=lambda each: list(decide.Why).index(each.why))
    rows = [f"{'stays':<32} {'why':<12}"]
    rows += [f"{each.option:<32} {each.why.value:<12} {_shown(each)}".rstrip() for each in kept]
    rows += ["", f"{'goes':<32} {'code':>9}  what was seen"]
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
    """Return the lines of a ukl.toml that give the application this kernel. Pure."""
    seen = {each.option: each for each in report.proposal.gone}
    how = f"proved by {report.workload}" if report.proved else "not proved"
    rows = [f"# What {report.name} does not use, {how}."]
    if report.profile:
        rows += ["[kernel]", f'profile = "{report.profile}"', ""]
    rows.append("[kernel.options]")
    for name, value in report.options.items():
        comment = f"  # {seen[name].seen.value}" if name in seen else ""
        rows.append(f"{name} = {json.dumps(value)}{comment}")
    return rows
