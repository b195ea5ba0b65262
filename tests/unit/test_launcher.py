# SPDX-License-Identifier: GPL-2.0
"""The launcher `ukl` and the files around it agree with what Python knows."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.typed import root
from ukl.host.requirements import REQUIREMENTS

TOP = Path(__file__).resolve().parents[2]
LAUNCHER = TOP / "ukl"


TOOLS = ("sh", "cat", "sha256sum", "readlink", "id", "find", "mkdir", "ls", "env")


def launch(tmp_path: Path, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher with a PATH that has the shell's usual tools and nothing else.

    Each notes in the file `started` that it was.
    """
    tools = tmp_path / "bin"
    if not tools.exists():
        tools.mkdir()
        for name in TOOLS:
            note = f"echo {name} >>{tmp_path}/started"
            (tools / name).write_text(f'#!/bin/sh\n{note}\nexec {shutil.which(name)} "$@"\n')
            (tools / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", LAUNCHER, *argv],
        env={"PATH": str(tools), "HOME": str(tmp_path), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def ready_environment(tmp_path: Path, extent: str = "run") -> Path:
    """Make what the launcher takes for a finished environment; its Python prints its words."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\necho "handed over: $*"\nexit 7\n')
    python.chmod(0o755)
    joined = b"".join((TOP / name).read_bytes() for name in ("uv.lock", "pyproject.toml", "ukl"))
    done = subprocess.run(["sha256sum"], input=joined, capture_output=True, check=True)
    (venv / "ukl.stamp").write_text(f"{extent} {done.stdout.split()[0].decode()} {TOP}\n")
    return venv


@pytest.mark.process
def test_it_is_an_executable_posix_script() -> None:
    assert LAUNCHER.stat().st_mode & stat.S_IXUSR
    assert LAUNCHER.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", LAUNCHER], check=True)


def test_its_packages_are_those_of_the_requirements() -> None:
    text = LAUNCHER.read_text()
    names = dict(re.findall(r"(?m)^([A-Z]+)=(/\S+)$", text))
    rows = {
        (package, names.get(what.lstrip("$"), what))
        for package, what in re.findall(r"(?m)^\tneed (\S+) (\S+)$", text)
    }
    wanted = {(row.package, row.file or row.tool) for row in REQUIREMENTS if not row.optional}
    assert rows == wanted


@pytest.mark.process
def test_a_fresh_stamp_hands_over_at_once(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path)
    done = launch(tmp_path, "doctor", "--json", UKL_VENV=str(venv))
    assert (done.stdout, done.returncode) == ("handed over: -m ukl doctor --json\n", 7)
    assert done.stderr == ""
    started = (tmp_path / "started").read_text().split()
    assert sorted(started) == ["cat", "readlink", "sha256sum"]


@pytest.mark.process
def test_the_verb_is_the_first_word_that_is_no_option(tmp_path: Path) -> None:
    """`selftest` is here the value of an option: the environment without its tools will do."""
    venv = ready_environment(tmp_path)
    done = launch(tmp_path, "--cache-dir", "selftest", "-v", "doctor", UKL_VENV=str(venv))
    assert done.stdout == "handed over: -m ukl --cache-dir selftest -v doctor\n"


@pytest.mark.process
def test_an_environment_with_more_will_do(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path, extent="dev")
    assert launch(tmp_path, "doctor", UKL_VENV=str(venv)).returncode == 7


@pytest.mark.process
def test_another_lock_makes_the_environment_stale(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path)
    (venv / "ukl.stamp").write_text("run 0123 elsewhere\n")
    assert "handed over" not in launch(tmp_path, "doctor", UKL_VENV=str(venv)).stdout


@pytest.mark.process
def test_missing_packages_are_named_and_not_installed_when_told_so(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path)
    done = launch(tmp_path, "run", "hello", UKL_VENV=str(venv), UKL_NO_INSTALL="1")
    assert done.returncode == 3
    assert done.stdout == ""
    for package in ("gcc", "make", "qemu-system-x86", "binutils"):
        assert re.search(rf"remedy: sudo apt-get install .*\b{package}\b", done.stderr)
    assert done.stderr.count(" binutils") == 2  # said once, and once in the remedy


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--lint --unit", 7),
        ("--unit --no-skip -k --boot", 7),
        ("--distributions", 7),
        ("", 3),
        ("--unit --tool", 3),
        ("-k --unit --json", 3),
    ],
)
def test_a_tier_that_takes_python_alone_takes_no_packages(
    tmp_path: Path, words: str, code: int
) -> None:
    venv = ready_environment(tmp_path, extent="dev")
    environment = {"UKL_VENV": str(venv), "UKL_NO_INSTALL": "1"}
    assert launch(tmp_path, "selftest", *words.split(), **environment).returncode == code


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run --help", 7),
        ("selftest -h", 7),
        ("run hello -- --help", 3),
        ("ps", 7),
        ("rnu hello", 7),
        ("package hello", 3),
    ],
)
def test_only_what_builds_takes_packages(tmp_path: Path, words: str, code: int) -> None:
    venv = ready_environment(tmp_path, extent="dev")
    environment = {"UKL_VENV": str(venv), "UKL_NO_INSTALL": "1"}
    assert launch(tmp_path, *words.split(), **environment).returncode == code


def test_the_verbs_that_build_are_verbs() -> None:
    [line] = re.findall(r"(?m)^(run \|.*)\) look_for_packages", LAUNCHER.read_text())
    assert set(line.split(" | ")) <= set(root().commands)


@pytest.mark.process
def test_python_takes_names_in_utf8_whatever_the_locale(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path)
    (venv / "bin/python").write_text('#!/bin/sh\necho "$PYTHONUTF8"\n')
    assert launch(tmp_path, "doctor", UKL_VENV=str(venv), LC_ALL="C").stdout == "1\n"


@pytest.mark.process
@pytest.mark.parametrize(("status", "code"), [(100, 1), (1, 3)])
def test_a_failure_of_apt_is_not_a_lack_of_permission(
    tmp_path: Path, status: int, code: int
) -> None:
    venv = ready_environment(tmp_path)
    launch(tmp_path, "doctor", UKL_VENV=str(venv))  # makes the directory of programs
    for name, text in (("apt-get", f"exit {status}"), ("sudo", 'exec "$@"')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    done = launch(tmp_path, "run", "hello", UKL_VENV=str(venv))
    assert done.returncode == code, done.stderr
    assert "remedy: " in done.stderr


@pytest.mark.process
def test_an_environment_that_cannot_be_written_has_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = launch(tmp_path, "doctor", UKL_VENV=str(tmp_path / "file/venv"))
    assert done.returncode == 1
    assert "remedy: name another directory, of your own, in UKL_VENV" in done.stderr


@pytest.mark.process
def test_the_lock_of_somebody_else_has_a_remedy(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path)
    (venv / "ukl.stamp").write_text("run 0123 elsewhere\n")
    (tmp_path / "venv.lock").mkdir()  # which root cannot write to, either
    done = launch(tmp_path, "doctor", UKL_VENV=str(venv))
    assert done.returncode == 1
    assert "UKL_VENV" in done.stderr


@pytest.mark.process
def test_without_apt_it_says_so(tmp_path: Path) -> None:
    venv = ready_environment(tmp_path)
    done = launch(tmp_path, "run", "hello", UKL_VENV=str(venv))
    assert done.returncode == 3
    assert "not a Debian or Ubuntu system" in done.stderr


@pytest.mark.process
def test_a_directory_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    other = tmp_path / "documents"
    other.mkdir()
    (other / "thesis.tex").touch()
    done = subprocess.run(
        [LAUNCHER, "doctor"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UKL_VENV": str(other)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "not a Python environment" in done.stderr
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_the_lock_is_that_of_the_project() -> None:
    """Every dependency of pyproject.toml is in uv.lock, from the public index only."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    lock = tomllib.loads((TOP / "uv.lock").read_text())
    locked = {package["name"] for package in lock["package"]}
    for wanted in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"]):
        name = re.split(r"[<>=~!]", wanted)[0].replace(".", "-").lower()
        assert name in locked
    for package in lock["package"]:
        source = package["source"]
        assert source in ({"registry": "https://pypi.org/simple"}, {"editable": "."})
