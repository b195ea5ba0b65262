# SPDX-License-Identifier: GPL-2.0
"""Recipes: what ukl.toml may say, where Debian's sources are, what a suite's output means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError, TimeoutExpired, VmLost
from ukl.base.model import AppSpec, Mode, Outcome, RunResult, Source, SuiteSpec
from ukl.base.progress import Progress
from ukl.flow import compare, suite
from ukl.flow.suite import Reader, SuiteResult
from ukl.host import apt
from ukl.recipe import build, debian, newest
from ukl.settings import manifest, python

BUILD = """
[build]
source = { debian = "redis", version = "7." }
commands = ["make"]
program = "src/server"
packages = ["libevent-dev"]
patches = ["fix.patch"]
files = { "/etc/x.conf" = "x.conf" }
env = { LEVEL = "3" }

[test]
commands = ["./runtest"]
passed = '^ok (.*)$'
failed = '^not ok (.*)$'
args = ["--save", ""]
"""


def load(directory: Path, text: str) -> AppSpec:
    (directory / "ukl.toml").write_text(f'[app]\nname = "x"\n{text}')
    return manifest.load(directory)


def test_a_recipe_is_read(tmp_path: Path) -> None:
    spec = load(tmp_path, BUILD)
    assert spec.build is not None
    assert spec.build.source == Source(debian="redis", versions=("7.",))
    assert spec.build.commands == ("make",)
    assert spec.build.program == "src/server"
    assert spec.build.patches == (tmp_path / "fix.patch",)
    assert spec.build.files == {"/etc/x.conf": "x.conf"}
    assert spec.suite is not None
    assert spec.suite.args == ("--save", "")
    assert spec.suite.skipped is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{}", "one of"),
        ('{ directory = ".", debian = "redis" }', "one of"),
        ('{ url = "https://x/y.tar" }', "sha256"),
        ('{ url = "y.tar", sha256 = "%s" }' % ("0" * 64), "not the address"),
        ('{ url = "https://x/y.tar", sha256 = "12" }', "not a SHA-256"),
        ('{ debian = "Redis" }', "not the name of a Debian package"),
        ('{ directory = ".", version = "1" }', "version"),
        ('{ debian = "redis", inputs = ["*"] }', "inputs"),
        ('{ debian = "redis", tag = "1" }', "tag"),
    ],
)
def test_what_is_no_source(tmp_path: Path, source: str, words: str) -> None:
    text = f'[build]\nsource = {source}\ncommands = ["make"]\nprogram = "x"\n'
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert words in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('program = "/bin/x"', "inside the source"),
        ('program = "../x"', "inside the source"),
        ("commands = []", "at least 1"),
        ('packages = ["-x"]', "Debian package"),
    ],
)
def test_what_is_no_build(tmp_path: Path, line: str, words: str) -> None:
    rows = {"program": 'program = "x"', "commands": 'commands = ["make"]'}
    rows[line.partition(" ")[0]] = line
    text = '[build]\nsource = { directory = "." }\n' + "\n".join(rows.values())
    with pytest.raises(InputError, match=words):
        load(tmp_path, text)


def test_an_empty_list_has_a_list_as_remedy(tmp_path: Path) -> None:
    text = '[build]\nsource = { directory = "." }\ncommands = []\nprogram = "x"\n'
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert caught.value.remedy == 'write it like commands = ["make -j$JOBS"]'


def test_a_recipe_has_no_sources_of_ours(tmp_path: Path) -> None:
    (tmp_path / "main.c").touch()
    text = 'sources = ["main.c"]\n' + BUILD
    with pytest.raises(InputError, match="excludes"):
        load(tmp_path, text)


@pytest.mark.parametrize("pattern", ["^ok", "(a)(b)", "("])
def test_patterns_have_one_group(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError):
        load(tmp_path, BUILD.replace("^ok (.*)$", pattern))


def test_who_says_that_a_server_is_ready(tmp_path: Path) -> None:
    plain = load(tmp_path, BUILD).suite
    assert plain is not None
    assert plain.ready is None
    asked = load(tmp_path, f"{BUILD}ready = 'ask $PORT'\n").suite
    assert asked is not None
    assert asked.ready == "ask $PORT"


def test_a_tree_is_shared_with_a_server_alone(tmp_path: Path) -> None:
    spec = load(tmp_path, f"{BUILD}shared = true\n")
    assert spec.suite is not None
    assert spec.suite.shared
    runs = BUILD.partition("[test]")[0] + '[test]\nruns = { a = ["x"] }\nshared = true\n'
    with pytest.raises(InputError, match="only for commands"):
        load(tmp_path, runs)


TARGETS = """\
Created-By: Packages
Origin: Debian
Sourcesentry: /etc/apt/sources.list.d/debian.sources:1

Created-By: Packages
Origin: Somebody
Sourcesentry: /etc/apt/sources.list.d/else.list:3

Created-By: Translations
Origin: Debian
Sourcesentry: /etc/apt/other:1
"""


def test_sources_are_the_distributions_own() -> None:
    targets = apt.read_targets(TARGETS)
    assert debian.source_files(targets, "debian") == ["/etc/apt/sources.list.d/debian.sources"]
    fresh = apt.read_targets(TARGETS.replace("Origin: Debian", "Origin: "))
    assert len(debian.source_files(fresh, "debian")) == 2


def test_sources_are_written_as_apt_reads_them() -> None:
    deb822 = "Types: deb\nURIs: http://m/debian\nSigned-By: /k.gpg\n"
    assert debian.as_sources("x.sources", deb822) == deb822.replace("deb\n", "deb-src\n", 1)
    line = "# deb x\n deb [signed-by=/k.gpg] http://m/debian bookworm main\ndeb-src http://m x\n"
    assert debian.as_sources("sources.list", line) == (
        "deb-src [signed-by=/k.gpg] http://m/debian bookworm main\n"
    )


def test_versions() -> None:
    assert debian.version_of("Format: 3.0\nVersion: 5:7.0.15-1\n") == "5:7.0.15-1"
    assert debian.without_epoch("5:7.0.15-1") == "7.0.15-1"
    assert debian.without_epoch("1.6.18") == "1.6.18"


def test_a_recipe_is_for_several_versions(tmp_path: Path) -> None:
    spec = load(tmp_path, BUILD.replace('"7."', '["7.", "8."]'))
    assert spec.build is not None
    assert spec.build.source.versions == ("7.", "8.")


def test_commands_learn_the_version_of_the_source(tmp_path: Path) -> None:
    assert build.source_version(tmp_path) == {}
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian/changelog").write_text("redis (5:8.0.2-3+deb13u2) trixie; urgency=high\n")
    assert build.source_version(tmp_path) == {"SOURCE_VERSION": "8.0.2-3+deb13u2"}


@pytest.mark.parametrize(
    ("pattern", "digits"),
    [("python3.*", "13"), ("postgresql-*", "17"), ("postgresql-*-cron", "17"), ("python4.*", None)],
)
def test_the_newest_package_is_found(pattern: str, digits: str | None) -> None:
    names = ("python3.9", "python3.13", "python3.11-dev", "python3-x", "python3.")
    more = ("postgresql-15", "postgresql-17-cron", "postgresql-17", "postgresql-common")
    assert newest.newest(pattern, (*names, *more)) == digits


STARS = """
[build]
source = { debian = "python3.*" }
packages = ["libpython3.*-dev", "zlib1g-dev"]
commands = ["make"]
program = "python"
files = { "/usr/lib/python3*.zip" = "python3*.zip" }

[test]
runs = { all = [] }
packages = ["libpython3.*-testsuite"]
files = { "/usr/lib/python3.*/test" = "/usr/lib/python3.*/test" }
"""


def test_a_star_is_the_version_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "_packages", lambda pattern: ["python3.11", "python3.13"])
    spec = newest.named(load(tmp_path, STARS))
    assert spec.build is not None
    assert spec.suite is not None
    assert spec.build.source.debian == "python3.13"
    assert spec.build.packages == ("libpython3.13-dev", "zlib1g-dev")
    assert spec.build.files == {"/usr/lib/python313.zip": "python313.zip"}
    assert spec.suite.packages == ("libpython3.13-testsuite",)
    assert spec.suite.files == {"/usr/lib/python3.13/test": Path("/usr/lib/python3.13/test")}
    assert newest.named(spec) is spec


def test_a_distribution_without_such_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "_packages", lambda pattern: ["python3.13-dev"])
    with pytest.raises(InputError, match=r"has no package python3\.\*") as caught:
        newest.named(load(tmp_path, STARS))
    assert caught.value.where == str(tmp_path / "ukl.toml")
    assert "apt-get update" in str(caught.value.remedy)


SUITE = SuiteSpec(("x",), passed="^ok (.*)$", failed="^not ok (.*)$", skipped="^ok (.*) # skip$")


def result(*lines: str, status: int | None = 0, lost: str = "") -> SuiteResult:
    reader = Reader(SUITE)
    for line in lines:
        reader.line(line)
    return SuiteResult(reader.tests, {"x": status}, 1.0, Path("/log"), lost)


def test_the_output_of_a_suite_is_read() -> None:
    got = result("hello", "ok a", "not ok b", "ok c # skip", "ok a", "not ok a")
    assert got.tests == {
        "a": suite.PASSED,
        "b": suite.FAILED,
        "c": suite.SKIPPED,
        "a #2": suite.PASSED,
        "a #3": suite.FAILED,
    }
    assert not got.is_good


def test_a_suite_is_good_only_if_all_is() -> None:
    assert result("ok a").is_good
    assert not result().is_good
    assert not result("ok a", status=1).is_good
    assert not result("ok a", status=None).is_good
    assert not result("ok a", lost="panicked").is_good


def test_a_comparison_says_what_differs() -> None:
    results = {
        Mode.UNIKERNEL: result("ok a", "not ok b"),
        Mode.PROCESS: result("ok a", "ok b", "ok c"),
    }
    found = compare.Comparison("x", results)
    assert found.differences == [
        ("b", suite.FAILED, suite.PASSED),
        ("c", "did not run", suite.PASSED),
    ]
    assert not found.is_good
    text = "\n".join(compare.table(found))
    assert "differs: b: failed in the unikernel, passed in the process" in text
    same = compare.Comparison("x", {mode: result("ok a") for mode in Mode})
    assert same.is_good
    assert "no test differs" in "\n".join(compare.table(same))


class Standing(suite.Guest):
    """A guest that only stands there: it runs, or it has ended without a word."""

    def __init__(self, *, running: bool) -> None:
        self._running = running
        self.result = None

    @property
    def is_running(self) -> bool:
        return self._running


def wait(directory: Path, command: str, *, running: bool = True, seconds: float = 60) -> None:
    suite.wait_until_ready(
        command,
        tree=directory,
        env={"HOST": "here"},
        guest=Standing(running=running),
        log=directory / "log",
        timeout=seconds,
    )


@pytest.mark.process
def test_a_program_is_ready_when_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "READY_INTERVAL", 0.01)
    wait(tmp_path, "echo $HOST >> asked; [ $(wc -l < asked) -ge 3 ]")
    assert (tmp_path / "asked").read_text() == "here\n" * 3


@pytest.mark.process
def test_a_command_that_hangs_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "READY_TIMEOUT", 0.5)
    monkeypatch.setattr(suite, "READY_INTERVAL", 0.01)
    wait(tmp_path, "[ -e asked ] || { touch asked; sleep 100; }")


@pytest.mark.process
def test_a_program_that_is_never_ready(tmp_path: Path) -> None:
    with pytest.raises(TimeoutExpired, match="`exit 3` ended with status 3"):
        wait(tmp_path, "exit 3", seconds=0.3)
    with pytest.raises(TimeoutExpired, match="did not end"):
        wait(tmp_path, "sleep 100", seconds=0.3)
    with pytest.raises(VmLost):
        wait(tmp_path, "false", running=False)


@pytest.mark.parametrize("name", manifest.example_names())
def test_recipes_that_ship_are_whole(name: str) -> None:
    spec = manifest.resolve(name)
    # The interpreter is no server; tests/apps/test_python.py has its tests.
    if spec.build is not None and name != python.EXAMPLE:
        assert spec.suite is not None
        assert spec.ports or spec.suite.runs
        assert all(file.exists() for file in spec.suite.files.values())


RUNS = """
[build]
source = { debian = "lua5.4" }
commands = ["make"]
program = "lua"

[test]
runs = { one = ["/test/one.lua", "x"], two = [] }
quick = ["two"]
files = { "/test" = "tests" }
disk = "/data"
passed = '^ok (.*)$'
"""


def test_runs_are_read(tmp_path: Path) -> None:
    spec = load(tmp_path, RUNS).suite
    assert spec is not None
    assert spec.runs == {"one": ("/test/one.lua", "x"), "two": ()}
    assert spec.files == {"/test": tmp_path / "tests"}
    assert spec.disk == "/data"
    assert spec.quick == ("two",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('disk = "/data"', 'commands = ["x"]'), "one of commands and runs"),
        (('quick = ["two"]', 'quick = ["three"]'), "'three' is not one of the runs"),
        (('disk = "/data"', "args = []"), "its own arguments"),
        (('disk = "/data"', 'ready = "x"'), "ready is only for commands"),
        (('runs = { one = ["/test/one.lua", "x"], two = [] }\nquick = ["two"]', ""), "one of"),
        (
            (
                'runs = { one = ["/test/one.lua", "x"], two = [] }\nquick = ["two"]',
                'commands=["x"]',
            ),
            "`passed` and `failed`",
        ),
    ],
)
def test_runs_that_make_no_sense(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = RUNS.replace(*change)
    assert text != RUNS
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert words in caught.value.message


def test_runs_are_tests(tmp_path: Path) -> None:
    spec = load(tmp_path, RUNS).suite
    assert spec is not None
    endings = {
        "one": RunResult(Outcome.EXITED, 3, Path("/c"), 1.0),
        "two": RunResult(Outcome.TIMEOUT, None, Path("/c"), 1.0),
        "three": RunResult(Outcome.EXITED, 0, Path("/c"), 1.0),
    }

    def start(name: str, output: Callable[[bytes], None]) -> RunResult:
        output(b"ok fir")
        output(b"st\r\nnothing\r\nok " + name.encode())
        return endings[name]

    with Progress.quiet().stage("x") as stage:
        got = suite.run_in_guests(spec, tuple(endings), start, log=tmp_path / "log", stage=stage)
    ended = {"one": suite.FAILED, "two": suite.FAILED, "three": suite.PASSED}
    inside = {f"{name}: {line}": suite.PASSED for name in endings for line in ("first", name)}
    assert got.tests == {**ended, **inside}
    assert got.ended == {"one": 3, "two": None, "three": 0}
    assert not got.is_good


def test_redis_with_a_shortcut_is_the_other_but_for_its_patch() -> None:
    plain, shortcut = (manifest.resolve(name) for name in ("redis", "redis-shortcut"))
    assert plain.build is not None
    assert shortcut.build is not None
    assert plain.suite is not None
    assert shortcut.suite is not None
    patches = shortcut.build.overlay
    assert [patch.name for patch in patches] == ["shortcut-7.patch", "shortcut-8.patch"]
    command, *others = shortcut.build.commands
    assert command.startswith("patch ")
    assert replace(shortcut.build, commands=tuple(others), overlay=()) == plain.build
    commands = tuple(text.replace("/../redis/", "/") for text in shortcut.suite.commands)
    assert replace(shortcut.suite, commands=commands) == plain.suite
    # Patches of at most 20 changed lines.
    for patch in patches:
        lines = [line for line in patch.read_text().splitlines() if line]
        assert sum(line[0] in "+-" and line[:3] not in {"+++", "---"} for line in lines) <= 20
