# SPDX-License-Identifier: GPL-2.0
"""Which builds prove that a series can be bisected, and what is read in make's output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ukl.base.errors import InputError
from ukl.cli.app import app
from ukl.flow import kernel
from ukl.kernel import each
from ukl.kernel.each import Built, Plan, Report, Result
from ukl.kernel.kconfig import Request
from ukl.kernel.mail import FileDiff, Mail

TREE = Path("/cache/each/.0f.tmp/linux")
QUICK = ("mm/gup.o", "arch/ukl/entry.o", "arch/ukl/test.o")
PLAN = Plan({"SMP": "y"}, {"UKL_TEST": "y"}, QUICK)


def mail(subject: str, **files: str) -> Mail:
    """Return a patch that adds a line to each file; `__` is a slash in its name."""
    diffs = []
    for name, line in files.items():
        path = name.replace("__", "/")
        diffs.append(FileDiff(path, f"diff --git a/{path} b/{path}\n@@ -1 +1,2 @@\n x\n+{line}\n"))
    return Mail("A <a@example.org>", "", subject, "", tuple(diffs))


MAILS = (
    mail("one", init__main="int one;"),
    mail("two", arch__Kconfig="config UKL"),
    mail("three", arch__ukl__Kconfig="config UKL_TEST", init__main="config NOT_HERE"),
)


def asked(requests: object) -> dict[str, str] | None:
    return None if requests is None else {o.name: o.value for o in requests.values()}  # type: ignore[attr-defined]


# --- planning ------------------------------------------------------------------------


def test_each_state_is_built_with_what_is_known_by_then() -> None:
    planned = each.steps(MAILS, 1, 3, {}, PLAN)
    assert [(step.number, step.subject) for step in planned] == [
        (0, "the unpatched kernel"),
        (1, "one"),
        (2, "two"),
        (3, "three"),
    ]
    smp = {"CONFIG_SMP": "y"}
    off, on = {**smp, "CONFIG_UKL": "n"}, {**smp, "CONFIG_UKL": "y"}
    assert [asked(step.off) for step in planned] == [smp, smp, off, off]
    assert [asked(step.on) for step in planned] == [None, None, on, {**on, "CONFIG_UKL_TEST": "y"}]
    assert [step.changes_kconfig for step in planned] == [False, False, True, True]


def test_a_part_begins_with_the_patches_before_it() -> None:
    planned = each.steps(MAILS, 3, 3, {}, PLAN)
    assert [(step.number, step.subject) for step in planned] == [(2, "two"), (3, "three")]
    assert [len(step.mails) for step in planned] == [2, 1]
    assert planned[0].on is not None
    assert "CONFIG_UKL_TEST" not in planned[0].on


def test_the_quick_way_makes_the_objects_that_have_a_source() -> None:
    def creates(path: str) -> Mail:
        text = f"diff --git a/{path} b/{path}\nnew file mode 100644\n@@ -0,0 +1 @@\n+x\n"
        return Mail("A <a@example.org>", "", path, "", (FileDiff(path, text),))

    mails = (creates("arch/ukl/entry.S"), MAILS[1], creates("arch/ukl/test.c"))
    planned = each.steps(mails, 1, 3, {}, PLAN, quick=True)
    # Nothing of ours with the option off; with it on, what the patches up to there brought.
    assert {step.targets[each.OFF] for step in planned} == {QUICK[:1]}
    assert [step.targets[each.ON] for step in planned[2:]] == [QUICK[:2], QUICK]
    for step in each.steps(mails, 1, 3, {}, PLAN):
        assert step.targets == {each.OFF: ("vmlinux",), each.ON: ("vmlinux",)}


def test_a_configuration_that_has_the_option_on_is_turned_off() -> None:
    base = {name: Request(name, "y", "base.config") for name in ("CONFIG_UKL", "CONFIG_NET")}
    planned = each.steps(MAILS, 1, 3, base, PLAN)
    assert asked(planned[0].off) == {"CONFIG_NET": "y", "CONFIG_SMP": "y"}
    assert asked(planned[3].off) == {"CONFIG_UKL": "n", "CONFIG_NET": "y", "CONFIG_SMP": "y"}


@pytest.mark.parametrize(("first", "last"), [(0, 3), (3, 2), (1, 4)])
def test_patches_that_are_not_there_are_an_error(first: int, last: int) -> None:
    with pytest.raises(InputError, match=f"no patches {first} to {last}") as caught:
        each.steps(MAILS, first, last, {}, PLAN)
    assert "from 1 to 3" in (caught.value.remedy or "")


def test_an_option_that_a_patch_moves_or_comes_before_was_there() -> None:
    text = "@@ -1,4 +1,5 @@\n-config NET\n x\n+config NET\n y\n+\n config INET\n"
    moved = FileDiff("arch/Kconfig", text)
    one = Mail("A <a@example.org>", "", "move", "", (moved,))
    assert each.defined([one, *MAILS]) == {"CONFIG_UKL", "CONFIG_UKL_TEST"}


def test_a_series_without_the_option_proves_nothing() -> None:
    with pytest.raises(InputError, match="defines CONFIG_UKL"):
        each.steps(MAILS[:1], 1, 1, {}, PLAN)


def test_a_plan_that_cannot_be_read_is_an_error_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / each.FILENAME
    for content in (None, "", "[options]\n", "[options\n", "options = 3\non = 4\n"):
        if content is not None:
            file.write_text(content)
        with pytest.raises(InputError) as caught:
            each.load(file)
        assert caught.value.where == str(file)


# --- what make prints ------------------------------------------------------------------


def test_a_warning_is_the_same_wherever_it_moves() -> None:
    old = each.warnings(
        "  CC      mm/gup.o\n../linux/mm/gup.c:12:7: warning: unused variable 'x' [-Wunused]\n"
        "vmlinux.o: warning: objtool: f+0x12: return with modified stack\n",
        TREE,
    )
    new = each.warnings(
        f"{TREE}/mm/gup.c:99:1: warning: unused variable 'x' [-Wunused]\n"
        "vmlinux.o: warning: objtool: f+0x99: return with modified stack\n"
        "WARNING: modpost: missing MODULE_DESCRIPTION()\n",
        TREE,
    )
    assert set(old) < set(new)
    assert next(iter(old.values())) == "mm/gup.c:12:7: warning: unused variable 'x' [-Wunused]"
    assert [new[key] for key in new.keys() - old.keys()] == [
        "WARNING: modpost: missing MODULE_DESCRIPTION()"
    ]


def test_an_error_is_what_the_compiler_says_not_what_make_makes_of_it() -> None:
    output = (
        "  CC      mm/gup.o\n../linux/mm/gup.c:3:1: error: unknown type name 'foo'\n"
        "make[3]: *** [scripts/Makefile.build:229: mm/gup.o] Error 1\n"
    )
    assert each.errors(output, TREE) == ("mm/gup.c:3:1: error: unknown type name 'foo'",)
    linking = "ld: kernel/a.o: in function `f':\na.c:(.text+0x1): undefined reference to `g'\n"
    assert len(each.errors(linking, TREE)) == 2
    silent = "  CC      mm/gup.o\nmake[3]: *** [scripts/Makefile.build:229: mm/gup.o] Error 1\n"
    assert each.errors(silent, TREE) == (silent.splitlines()[1],)
    assert each.errors("one\ntwo\n", TREE) == ("one", "two")
    many = "".join(f"a.c:{n}:1: error: e\n" for n in range(100))
    assert len(each.errors(many, TREE)) == each.LINES


# --- the command -----------------------------------------------------------------------


def report(*, errors: tuple[str, ...] = (), warnings: tuple[str, ...] = ()) -> Report:
    good = Built(61.0, (), (), "0001-off.log")
    on = Built(2.0, errors, warnings, "0002-on.log")
    results = (Result(1, "one", good, None), Result(2, "two", good, on))
    return Report("6.12.1", Result(0, "the unpatched kernel", good, None), results, Path("/logs"))


def test_the_command_names_what_does_not_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(found: Report, *words: str) -> tuple[int, str]:
        monkeypatch.setattr(kernel, "each_patch", lambda *_, **__: found)
        done = CliRunner().invoke(app, ["kernel", "each", *words])
        return done.exit_code, done.stdout

    code, text = run(report())
    assert code == 0
    assert text.splitlines()[-1] == "2 patches, 3 builds: all good"
    code, text = run(report(errors=("a.c:1:1: error: no",)))
    assert code == 1
    assert text.splitlines()[1:] == [
        " 2 off ok 1m01s  on FAILED 2.0s   two",
        "   on: a.c:1:1: error: no",
        "   log: /logs/0002-on.log",
        "2 patches, 3 builds: 1 DO NOT BUILD",
    ]
    code, text = run(report(warnings=("a.c:1:1: warning: hm",)))
    assert code == 1
    assert "on WARNS 2.0s" in text
    code, text = run(report(errors=("e",)), "--json")
    assert code == 1
    found = json.loads(text)
    assert found["good"] is False
    assert found["results"][1]["on"]["errors"] == ["e"]
    assert found["results"][0]["on"] is None
