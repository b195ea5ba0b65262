# SPDX-License-Identifier: GPL-2.0
"""What shells complete, asked as they ask: through the function that `ukl completion` prints."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL, TOP, Cli
from ukl.cli.complete import VARIABLE, chosen
from ukl.vm import registry

BASH = """
eval "$(ukl completion bash)"
COMP_WORDS=({line})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_ukl_completion ukl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def guests(tmp_path: Path) -> None:
    """Make a cache that has two guests."""
    guests = registry.Registry(tmp_path / "cache" / registry.GUESTS)
    alive = registry.Record("web", "tcp-echo", registry.myself(), state=registry.State.RUNNING)
    guests.claim(alive, automatic=False)
    ended = replace(alive, name="webbed", state=registry.State.ENDED, kept=True)
    guests.claim(ended, automatic=False)


@pytest.fixture
def shell(tmp_path: Path, guests: None) -> dict[str, str]:
    """Return an environment whose PATH has a `ukl`, and whose cache has the guests."""
    script = tmp_path / "bin" / "ukl"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m ukl "$@"\n')
    script.chmod(0o755)
    return {
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(TOP / "src"),
        "UKL_CACHE_DIR": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }


def said(argv: list[str], environment: dict[str, str]) -> list[str]:
    """Return the lines that a shell prints; skips where there is no such shell."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{OPTIONAL} no {argv[0]} on this machine")
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def bash(line: str, environment: dict[str, str]) -> list[str]:
    return said(["bash", "--norc", "-c", BASH.format(line=line)], environment)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ukl comp", ["compare", "completion", "compose"]),
        ("ukl stop ''", ["web"]),
        ("ukl exec w", ["web"]),
        ("ukl rm w", ["web", "webbed"]),
        ("ukl logs webb", ["webbed"]),
        ("ukl inspect web w", ["web", "webbed"]),
        ("ukl cp w", ["web:"]),
        ("ukl run --with speed", ["speedtest1"]),
        ("ukl run tcp", ["tcp-echo", "tcp-echo-kernel"]),
        ("ukl run --prof", ["--profile"]),
        ("ukl build --profile ''", ["debug", "dwarf", "tiny", "trusted"]),
        ("ukl run --init ''", ["ukl", "app"]),
        ("ukl check --rule licence-", ["licence-unknown"]),
        ("ukl run ./", []),  # the shell's: files
        ("ukl kernel comp", ["compare"]),
    ],
)
@pytest.mark.usefixtures("guests")
def test_words(cli: Cli, line: str, words: list[str]) -> None:
    """What a shell's function is told, which asks as that of bash does."""
    given = shlex.split(line)
    done = cli(
        _UKL_COMPLETE="complete_bash",
        COMP_WORDS="\n".join(given),
        COMP_CWORD=str(len(given) - 1),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == words


@pytest.mark.process
def test_bash(shell: dict[str, str]) -> None:
    assert bash("ukl rm w", shell) == ["web", "webbed"]


@pytest.mark.process
def test_bash_with_another_cache(shell: dict[str, str], tmp_path: Path) -> None:
    assert bash(f"ukl --cache-dir {tmp_path}/other stop ''", shell) == [""]


@pytest.mark.process
def test_fish(shell: dict[str, str]) -> None:
    text = 'ukl completion fish | source; complete -C "ukl stop w"; complete -C "ukl run --detac"'
    lines = said(["fish", "--no-config", "-c", text], shell)
    assert [line.split("\t")[0] for line in lines] == ["web", "--detach"]


@pytest.mark.process
def test_zsh_takes_the_function(shell: dict[str, str]) -> None:
    """Its completion runs only in its line editor: here the function with what that sets."""
    text = """
    compdef() { :; }
    _arguments() { print -r -- "$1"; }
    words=(ukl stop w); CURRENT=3
    source <(ukl completion zsh)
    _ukl_completion
    """
    [line] = said(["zsh", "-f", "-c", text], shell)
    assert line == "*: :((web:tcp-echo, running))" or '"web":"tcp-echo, running"' in line


def test_a_broken_cache_completes_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = f"ukl --cache-dir {tmp_path / 'file'} stop "
    assert VARIABLE == "_UKL_COMPLETE"
    done = cli("", _UKL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_chosen() -> None:
    assert chosen([("ab", "x"), ("b", "y")], "a") == [("ab", "x")]
