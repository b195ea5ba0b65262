# SPDX-License-Identifier: GPL-2.0
"""settings/table.py: one row for each setting, and what is made of the rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Disk, Level, PortForward, Protocol, Volume
from ukl.cli import compiling
from ukl.cli.app import app
from ukl.settings import compose, manifest, table
from ukl.settings.setting import MAKES, Form, Setting, Verb

DERIVED = {"origin", "directory", "build", "suite", "python", "command", "counting"}
DERIVED |= {"executable", "invoked", "root", "ring0", "start"}
"""Fields of AppSpec that no key of ukl.toml sets: where it was read, tables of recipe.py, what is
said of a container image, and what flow/ adds."""

COMMANDS = {
    Verb.RUN: ("run",),
    Verb.BUILD: ("build",),
    Verb.PACKAGE: ("package",),
    Verb.COMPARE: ("compare",),
    Verb.TRIM: ("kernel", "trim"),
    Verb.BENCH: ("bench", "all"),
    Verb.KERNEL: ("kernel", "build"),
}


def test_rows_and_fields_are_the_same() -> None:
    fields = {field.name for field in dataclasses.fields(AppSpec)}
    assert {row.name for row in table.APPLICATION} == fields - DERIVED
    assert len({row.key for row in table.ROWS.values()}) == len(table.ROWS)


@pytest.mark.parametrize("row", table.ROWS.values(), ids=lambda row: row.name)
def test_a_row_says_what_it_is_in_one_sentence(row: Setting) -> None:
    assert row.help.endswith(".")
    assert len(row.help) < 100
    assert row.example


@pytest.mark.parametrize("verb", Verb)
def test_each_verb_takes_the_options_of_its_rows(verb: Verb) -> None:
    command: Any = typer.main.get_command(app)
    for word in COMMANDS[verb]:
        command = command.commands[word]
    known = {name for each in command.params for name in each.opts}
    for row in table.ROWS.values():
        if row.option is not None and row.option.names:
            taken = verb in row.option.verbs
            assert taken == (row.option.names[0] in known), (verb, row.name)


def test_what_describes_a_guest_is_taken_by_all_that_make_one() -> None:
    for name in ("level", "returns", "page_size", "populate", "userspace", "memory", "cpus"):
        option = table.ROWS[name].option
        assert option is not None
        assert option.verbs >= MAKES
        assert table.ROWS[name].compose


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", 96 << 20),
        ("page_size", 64 << 10),
        ("log_size", 1 << 20),
        ("ports", PortForward(1, 2)),
        ("ports", PortForward(1, 2, "0.0.0.0", Protocol.UDP)),
        ("volumes", Volume(Path("/a"), "/b", read_only=True)),
        ("disks", Disk(Path("/a"), "/b", 17 << 20)),
    ],
)
def test_what_is_written_is_read(name: str, value: object) -> None:
    row = table.ROWS[name]
    assert row.parse is not None
    assert row.parse(row.write(value), Path("/")) == value


def test_the_fast_way_is_the_default() -> None:
    assert AppSpec("x", Path(), Path()).level is Level.FAST


def test_a_flag_of_compose_is_written_as_an_option() -> None:
    row = table.ROWS["userspace"]
    assert row.form is Form.FLAG
    assert list(compose._option(row, False)) == ["--no-userspace"]
    assert list(compose._option(row, True)) == ["--userspace"]


# --- options of the compiler ------------------------------------------------------------


FLAGS, VALUED = {"-d", "--json"}, {"-m", "-p", "-e"}


@pytest.mark.parametrize(
    ("words", "ours", "said"),
    [
        ("a.c", "a.c", {}),
        ("a.c -lm -O2", "a.c", {"libraries": ("m",), "cflags": ("-O2",)}),
        ("-O2 -DX=1 a.c -D Y", "a.c", {"cflags": ("-O2", "-DX=1", "-D", "Y")}),
        ("a.c -l m -m 256M -p 1:2", "a.c -m 256M -p 1:2", {"libraries": ("m",)}),
        ("a.c -march=native -g -m 64M", "a.c -m 64M", {"cflags": ("-march=native", "-g")}),
        ("a.c -d -- -lm -O2", "a.c -d -- -lm -O2", {}),
        ("a.c -e -lm", "a.c -e -lm", {}),
        ("hello b.c", "hello b.c", {}),
        ("a.c -pthread -std=c99 -Wall", "a.c", {"cflags": ("-pthread", "-std=c99", "-Wall")}),
    ],
)
def test_words_of_cc(words: str, ours: str, said: dict[str, object]) -> None:
    assert compiling.split(words.split(), FLAGS, VALUED) == (ours.split(), said)


def test_further_files_and_directories_of_libraries(tmp_path: Path) -> None:
    (tmp_path / "libx.a").touch()
    words = ["a.c", "b.c", "c.o", f"-L{tmp_path}", "-lx", "-lm"]
    ours, said = compiling.split(words, FLAGS, VALUED)
    assert ours == ["a.c"]
    assert said["sources"] == (Path("b.c").absolute(),)
    assert said["objects"] == (Path("c.o").absolute(), tmp_path / "libx.a")
    assert said["libraries"] == ("m",)


def test_only_sources_take_options_of_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "a.c").touch()
    spec = manifest.specified(str(tmp_path / "a.c"), {"cflags": ("-O3",), "libraries": ("m",)})
    assert (spec.cflags, spec.libraries) == (("-O3",), ("m",))
    with pytest.raises(InputError, match="not compiled from sources"):
        manifest.specified("redis", {"cflags": ("-O3",)})


def test_old_names_work_and_say_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.c").touch()
    (tmp_path / "ukl.toml").write_text(
        '[app]\nsources = ["a.c"]\n[kernel]\napplications = ["hello"]\n'
    )
    assert [each.name for each in manifest.load(tmp_path).with_] == ["hello"]
    assert f"{tmp_path}/ukl.toml:4: `applications` is now called `with`" in capsys.readouterr().err


def test_words_of_cc_reach_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[table.Overrides] = []

    def specified(target: str, overrides: table.Overrides) -> AppSpec:
        seen.append(overrides)
        raise InputError("enough")

    monkeypatch.setattr(manifest, "specified", specified)
    done = CliRunner().invoke(
        app, ["build", str(tmp_path / "a.c"), "-O2", "-DX", "-lm", "--cpus=2"]
    )
    assert done.exit_code == 4, done.output
    assert seen == [{"cflags": ("-O2", "-DX"), "libraries": ("m",), "cpus": 2}]
