# SPDX-License-Identifier: GPL-2.0
"""Files of counts, and what is compiled by them."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.app import compile as plan
from ukl.base.errors import InputError, UsageError
from ukl.base.model import AppSpec, PortForward
from ukl.base.progress import Progress
from ukl.flow.context import Context
from ukl.flow.training import OPTIONS, _counting, train
from ukl.host.store import Store
from ukl.kernel import build as kernel_build
from ukl.kernel import make_args
from ukl.pgo import counts
from ukl.pgo.flags import COUNTED, COUNTING, ROOT
from ukl.wrap import arguments

TRAINED = counts.Trained("app", "6.12.1", "gcc 12")
MEMBERS = {
    "kernel/net/ipv4/tcp.gcda": b"tcp",
    "app/app/main.c.gcda": b"main",
    "tree/src/t.gcda": b"t",
}


def written(directory: Path, members: dict[str, bytes] | None = None) -> Path:
    file = directory / "app.pgo"
    counts.write(file, TRAINED, MEMBERS if members is None else members)
    return file


# --- the file ------------------------------------------------------------------------


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    assert counts.read(written(tmp_path)) == (TRAINED, MEMBERS)


def test_the_same_counts_are_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path).read_bytes()
    assert written(tmp_path, dict(reversed(MEMBERS.items()))).read_bytes() == first


def test_a_file_that_is_not_there_or_none_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of branch counts"):
        counts.read(tmp_path / "x.pgo")
    (tmp_path / "x.pgo").write_text("counts")
    with pytest.raises(InputError, match="not a file of branch counts"):
        counts.read(tmp_path / "x.pgo")
    counts.write(tmp_path / "x.pgo", replace(TRAINED, format=2), {})
    with pytest.raises(InputError, match="format 2"):
        counts.read(tmp_path / "x.pgo")


@pytest.mark.parametrize("name", ["kernel/../../x.gcda", "/etc/x.gcda", "kernel/Makefile"])
def test_members_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(written(tmp_path), "a") as archive:
        archive.writestr(name, b"")
    assert counts.read(tmp_path / "app.pgo")[1] == MEMBERS


def test_a_part_is_named_by_its_own_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    kernel = counts.unpacked(written(tmp_path), counts.KERNEL, store)
    assert (kernel / "net/ipv4/tcp.gcda").read_bytes() == b"tcp"
    tree = counts.unpacked(tmp_path / "app.pgo", counts.TREE, store)
    assert [path.name for path in tree.rglob("*.gcda")] == ["t.gcda"]
    written(tmp_path, {**MEMBERS, "tree/src/t.gcda": b"others"})
    assert counts.unpacked(tmp_path / "app.pgo", counts.KERNEL, store) == kernel
    assert counts.unpacked(tmp_path / "app.pgo", counts.TREE, store) != tree


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/c/kernel/.k.x1.tmp/objects/net/ipv4/tcp.gcda", "kernel/net/ipv4/tcp.gcda"),
        ("/c/tree/t/.k.objects/objects/net/ipv4/tcp.gcda", "kernel/net/ipv4/tcp.gcda"),
        ("/c/recipe/.k.x1.tmp/tree/src/tree/a.gcda", "tree/src/tree/a.gcda"),
        (f"{ROOT}app/main.c.gcda", "app/app/main.c.gcda"),
        ("/home/objects/x.gcda", None),
        ("/c/kernel/.k.x1.tmp/objects/net/ipv4/tcp.gcno", None),
    ],
)
def test_names_of_counts_have_nothing_of_this_machine(path: str, name: str | None) -> None:
    assert counts.member(path) == name


# --- what is compiled ------------------------------------------------------------------


def unit(feedback: plan.Feedback, source: str = "/a/src/main.c") -> list[str]:
    made = plan.unit(Path(source), Path("/a"), (), "gcc", "g++", feedback=feedback)
    return made.compile_argv(Path("out.o"), Path("out.d"))


def test_a_source_counts_under_its_own_name() -> None:
    words = unit(plan.Feedback(COUNTING, f"{ROOT}app"))
    assert set(COUNTING) <= set(words)
    assert words[words.index("-dumpdir") + 1] == f"{ROOT}app/src/"
    assert words[words.index("-dumpbase") + 1] == "main.c"


def test_a_source_elsewhere_counts_within_the_directory() -> None:
    words = unit(plan.Feedback(COUNTED, "/counts"), "/b/main.c")
    assert words[words.index("-dumpdir") + 1] == "/counts/_/b/"


def test_without_counts_nothing_changes() -> None:
    words = unit(plan.NO_FEEDBACK)
    assert not {"-dumpdir", *COUNTING, *COUNTED} & set(words)


def test_the_kernel_is_compiled_by_counts_without_ccache(tmp_path: Path) -> None:
    make = make_args.make_command(tmp_path, tmp_path / "o", "gcc", 2, tmp_path, counted=True)
    assert "CC=gcc" in make.argv
    [flags] = [word for word in make.argv if word.startswith("KCFLAGS=")]
    assert set(COUNTED) <= set(flags.split())
    plain = make_args.make_command(tmp_path, tmp_path / "o", "gcc", 2, tmp_path)
    assert not any("-fbranch-probabilities" in word for word in plain.argv)


def test_the_kernels_key_has_the_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_build, "compiler_identity", lambda compiler: {compiler: "12"})
    keys = {kernel_build.key_of("tree", {}, "gcc")}
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "x.gcda").write_text(str(number))
        keys.add(kernel_build.key_of("tree", {}, "gcc", directory))
    assert len(keys) == 3


def test_the_wrapper_adds_flags_where_something_is_made() -> None:
    def words(text: str) -> list[str]:
        return arguments.plan(
            text.split(), clang=False, linkers="/l", read=lambda name: None, more=COUNTING
        )[0]

    assert set(COUNTING) <= set(words("-c a.c"))
    assert set(COUNTING) <= set(words("-o a a.o"))
    assert not set(COUNTING) & set(words("--version"))


# --- training -----------------------------------------------------------------------------


def test_all_applications_of_a_kernel_count() -> None:
    other = AppSpec("b", Path("b"), Path(), (), pgo=Path("old.pgo"))
    spec = AppSpec(
        "a", Path("a"), Path(), (), with_=(other,), kernel_options={"IPV6": "y"}, memory=32 << 20
    )
    found = _counting(spec)
    assert [(each.counting, each.pgo) for each in (found, *found.with_)] == [(True, None)] * 2
    assert found.kernel_options == {"IPV6": "y", **OPTIONS}
    assert found.memory > spec.memory


def test_a_server_is_not_trained_without_work(tmp_path: Path) -> None:
    spec = AppSpec("a", Path("a"), Path(), (), ports=(PortForward(1, 2),))
    with pytest.raises(UsageError, match="is a server"):
        train(spec, None, tmp_path / "a.pgo", Context(Store(tmp_path), Progress.quiet()))
