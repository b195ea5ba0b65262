# SPDX-License-Identifier: GPL-2.0
"""Building after each patch of a series for a kernel tree in miniature, with real make and gcc."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from ukl.base import resources
from ukl.base.errors import InputError, UklError
from ukl.base.model import KernelSource, KernelSpec
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.kernel import each, export, import_series, series, versions

TOY = Path(__file__).resolve().parents[1] / "data/toykernel"

BRINGS = '\nconfig UKL\n\tbool "Unikernel Linux"\n'
SLOW = "objs += $(if $(filter y,$(CONFIG_TOY_SLOW)),init/slow.o)\n"
OURS = SLOW.replace("TOY_SLOW", "UKL").replace("slow", "ukl")
WARNED = '#warning "as ever"\n'


class Development:
    """A git tree without the option, whose commits become the series."""

    def __init__(self, tree: Path) -> None:
        self.tree = Path(shutil.copytree(TOY, tree))
        self.edit("Kconfig", BRINGS, "")
        self.edit("init/main.c", "const char banner", f"{WARNED}const char banner")
        self.git("init", "-q", "-b", "main")
        self.commit("base")
        self.git("tag", "base")

    def git(self, *words: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", self.tree, *identity, *words], check=True, capture_output=True)

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.tree / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def commit(self, subject: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)

    # --- patches that build

    def move(self) -> None:
        """Move the warning that the tree has."""
        self.edit("init/main.c", WARNED, f"int moved;\n{WARNED}")
        self.commit("init: Move it")

    def bring(self) -> None:
        """Bring the option, and a source that is compiled with it alone."""
        self.edit("Kconfig", "\nconfig NET\n", f"{BRINGS}\nconfig NET\n")
        self.edit("Makefile", SLOW, SLOW + OURS)
        (self.tree / "init/ukl.c").write_text("int ukl;\n")
        self.commit("init: Add CONFIG_UKL")

    def extend(self) -> None:
        """Change what is compiled with the option alone."""
        self.edit("init/ukl.c", "int ukl;\n", "int ukl;\nint more;\n")
        self.commit("init: Extend it")


@pytest.fixture
def development(tmp_path: Path) -> Development:
    return Development(tmp_path / "dev")


@pytest.fixture
def spec(tmp_path: Path, development: Development) -> KernelSpec:
    """Return what to check; the series is written by `imported`."""
    source = tmp_path / "source"
    shutil.copytree(development.tree, source, ignore=shutil.ignore_patterns(".git"))
    room = tmp_path / "kernel/6.12"
    room.mkdir(parents=True)
    (room / each.FILENAME).write_text(
        'quick = ["init/main.o", "init/ukl.o"]\n[options]\nEXPERT = "y"\n[on]\nUKL = "y"\n'
    )
    (tmp_path / "base.config").write_text("CONFIG_UKL=y\nCONFIG_NET=y\n")
    return KernelSpec(
        KernelSource(source, "6.12.999", "toy"), room / "series", (tmp_path / "base.config",)
    )


def imported(spec: KernelSpec, development: Development) -> KernelSpec:
    import_series.write(import_series.read_git(development.tree), spec.series.parent)
    return spec


def state(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*.*")}


def verdicts(report: each.Report) -> list[tuple[str, str]]:
    """Return the words for both builds of each patch."""
    return [
        (
            result.off.verdict().split()[0],
            result.on.verdict().split()[0] if result.on else "-",
        )
        for result in report.results
    ]


def test_a_series_that_builds_is_good_and_known_from_then_on(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.move()
    development.bring()
    development.extend()
    before = state(spec.source.directory)
    report = each.check(imported(spec, development), store, progress)
    assert verdicts(report) == [("ok", "-"), ("ok", "ok"), ("ok", "ok")]
    assert report.is_good
    assert report.before.subject == "the unpatched kernel"
    assert state(spec.source.directory) == before

    # With the option on its source was compiled, again when it changed; without it never.
    assert "init/ukl.o" in (report.logs / "0002-on.log").read_text()
    assert "init/ukl.o" in (report.logs / "0003-on.log").read_text()
    assert "init/main.o" not in (report.logs / "0003-on.log").read_text()
    for number in (2, 3):
        assert "init/ukl.o" not in (report.logs / f"000{number}-off.log").read_text()
    # Neither the tree nor objects stay.
    assert {path.suffix for path in report.logs.iterdir()} == {".log", ".json"}

    made = (report.logs / "manifest.json").stat().st_mtime_ns
    assert each.check(spec, store, progress) == report
    assert (report.logs / "manifest.json").stat().st_mtime_ns == made


def test_a_patch_in_the_middle_that_does_not_compile_is_found(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.move()
    development.edit("init/main.c", "{ }", "{ forgotten x; }")
    development.commit("init: Use what comes later")
    development.edit("init/main.c", "const char", "typedef int forgotten;\nconst char")
    development.commit("init: Add what was used")
    development.bring()
    report = each.check(imported(spec, development), store, progress)
    assert verdicts(report) == [("ok", "-"), ("FAILED", "-"), ("ok", "-"), ("ok", "ok")]
    assert not report.is_good
    (error,) = report.results[1].off.errors
    assert error.startswith("init/main.c:")
    assert "forgotten" in error
    text = "\n".join(report.lines())
    assert f"log: {report.logs / '0002-off.log'}" in text
    assert "forgotten" in (report.logs / "0002-off.log").read_text()
    # Nothing but logs stays, and it is built again the next time.
    assert not list(store.root.glob("each/*"))
    assert not list(store.root.glob("each/.*"))


def test_what_fails_with_the_option_alone_is_found(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.bring()
    broken = "extern int gone(void);\nint ukl(void) { return gone(); }"
    development.edit("init/ukl.c", "int ukl;", broken)
    development.commit("init: Break the link")
    development.edit("init/ukl.c", "gone(); }", '0; }\n#warning "new"\n')
    development.commit("init: Mend it, but warn")
    development.edit("init/ukl.c", '#warning "new"', '/* x */\n#warning "new"')
    development.commit("init: Warn no more than before")
    report = each.check(imported(spec, development), store, progress)
    assert verdicts(report) == [("ok", "ok"), ("ok", "FAILED"), ("ok", "WARNS"), ("ok", "ok")]
    failed, warned = report.results[1].on, report.results[2].on
    assert failed is not None
    assert "undefined reference to `gone'" in "".join(failed.errors)
    assert warned is not None
    assert [line.partition(" warning: ")[2] for line in warned.warnings] == [
        '#warning "new" [-Wcpp]'
    ]


def test_an_option_that_cannot_be_turned_on_is_found(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.edit("Kconfig", "\nconfig NET\n", f"{BRINGS}\tdepends on INET\n\nconfig NET\n")
    development.commit("init: Add CONFIG_UKL")
    report = each.check(imported(spec, development), store, progress)
    assert verdicts(report) == [("ok", "FAILED")]
    on = report.results[0].on
    assert on is not None
    assert "depends on INET" in on.errors[0]


def test_a_part_is_judged_by_the_tree_before_it(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.edit("init/main.c", "{ }", "{ forgotten x; }")
    development.commit("init: Use what comes later")
    development.edit("init/main.c", "const char", "typedef int forgotten;\nconst char")
    development.bring()
    development.extend()
    imported(spec, development)
    report = each.check(spec, store, progress, first=3)
    assert [result.number for result in report.results] == [3]
    assert report.is_good
    assert verdicts(each.check(spec, store, progress, last=2)) == [("FAILED", "-"), ("ok", "ok")]
    with pytest.raises(UklError, match=r"before the first patch does not build.*forgotten"):
        each.check(spec, store, progress, first=2)


def test_all_of_an_applications_kernel_is_built_if_asked_for(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.bring()
    imported(spec, development)
    small = each.check(spec, store, progress)
    full = each.check(spec, store, progress, full=True)
    assert (small.is_good, full.is_good) == (True, True)
    assert small.logs != full.logs
    # The base has an option that is not there: the configuration says so, before any patch.
    spec.fragments[0].write_text("CONFIG_UKL=y\nCONFIG_NOWHERE=y\n")
    with pytest.raises(UklError, match="NOWHERE"):
        each.check(spec, store, progress, full=True)
    assert each.check(spec, store, progress).is_good


def test_the_quick_way_compiles_what_the_series_changes_and_links_nothing(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.bring()
    missing = "extern int no_such;\nint ukl(void) { return no_such; }"
    development.edit("init/ukl.c", "int ukl;", missing)
    development.commit("init: Break the link")
    development.edit("init/ukl.c", "extern int no_such;\n", "")
    development.commit("init: Break it")
    report = each.check(imported(spec, development), store, progress, quick=True)
    assert verdicts(report) == [("ok", "ok"), ("ok", "ok"), ("ok", "FAILED")]
    log = (report.logs / "0001-on.log").read_text()
    assert "init/ukl.o" in log
    assert "setup.o" not in log
    assert "LD " not in log


def test_a_patch_that_does_not_apply_is_an_error(
    spec: KernelSpec, development: Development, store: Store, progress: Progress
) -> None:
    development.move()
    development.bring()
    imported(spec, development)
    main = spec.source.directory / "init/main.c"
    main.write_text(main.read_text().replace(WARNED, ""))
    with pytest.raises(InputError, match=r"“init: Move it” does not apply.*init/main\.c") as caught:
        each.check(spec, store, progress)
    assert caught.value.log is not None
    assert caught.value.log.is_file()
    other = replace(spec, series=spec.series.parent / "nowhere/series")
    with pytest.raises(InputError, match="cannot read the configuration"):
        each.check(other, store, progress)


INCLUDED = {"asm-offsets_64", "template", "function", "idle"}
"""Sources that others include, or that kbuild has rules of its own for."""

SOURCES = frozenset({"arch", "drivers", "fs", "io_uring", "kernel", "mm", "net"})


@pytest.mark.parametrize("version", [base.directory.name for base in versions.bases()])
def test_our_own_series_is_built_with_all_that_it_brings(version: str) -> None:
    directory = resources.path(f"kernel/{version}")
    loaded = series.load(directory / "series")
    mails = export.full_mails(loaded)
    plan = each.load(directory / each.FILENAME)
    planned = each.steps(mails, 1, len(mails), {}, plan, quick=True)
    built = [step.on is not None for step in planned]
    assert built == sorted(built)
    assert built[-1]
    last = planned[-1].on or {}
    # The others have a value of their own: an application's, or what Kconfig finds out. And
    # COMPACT is without what changes the entry, the profile tiny builds it.
    other = {f"CONFIG_UKL_{name}" for name in ("APP", "APP_NAME", "FAST", "RET", "COMPACT")}
    assert each.defined(mails) - other == {name for name in last if "UKL" in name}
    # The quick way compiles all of the kernel's sources that the series changes or brings.
    changed = {PurePosixPath(diff.path) for one in mails for diff in one.diffs}
    sources = {path for path in changed if path.suffix in {".c", ".S"} and path.parts[0] in SOURCES}
    # Of no object of their own, or of a program.
    others = {
        path for path in sources if path.match("*.lds.S") or {"boot", "tools"} & {*path.parts}
    }
    others |= {path for path in sources if path.stem in INCLUDED}
    assert {str(path.with_suffix(".o")) for path in sources - others} == set(
        planned[-1].targets[each.ON]
    )
