# SPDX-License-Identifier: GPL-2.0
"""Programs of many languages, as they are: a test program of each, in ring 0 and as a process.

What is not installed is taken from Debian's packages, which are unpacked into the cache. Both
modes have to print the same, but for the level, which the programs that can find it out print.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.apps.test_installed import libraries, unpacked
from tests.boot.harness import PROGRAMS, Built, Lab, mode_of
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec, Code, Guest, Outcome
from ukl.flow.bootable import bootable
from ukl.vm.launch import Options

HERE = Path(__file__).parent / "languages"
JAVA = Path("/usr/lib/jvm/java-17-openjdk-amd64")
RESULT = "all passed"

CRATES = Path("/usr/share/cargo/registry")
"""The crates that Debian packages."""

DEBIAN = PROGRAMS / "rust-echo" / ".cargo" / "config.toml"
"""Lets cargo take these."""


@dataclass(frozen=True)
class Language:
    """How a test program runs. `{top}` is the directory with its sources, in the guest and here.

    `make` compiles it here; `packages` are unpacked, and `program` is then relative to these.
    `files` are further files: path in the guest -> path here, or in the packages. `start` is a
    script that starts the program.
    """

    program: str
    args: tuple[str, ...] = ()
    code: Code = Code.FILES
    make: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    start: str = ""
    memory: int = 512
    cpus: int = 1


GCC = ("gcc", "-O2", "-o", "{top}/program", "{top}/threads.c", "-pthread")

LANGUAGES: dict[str, Language] = {
    "c-musl-static": Language("{top}/program", make=("musl-gcc", "-static", *GCC[1:])),
    "c-glibc": Language("{top}/program", make=GCC, cpus=2),
    "bash": Language("/bin/bash", ("{top}/test.sh",)),
    "perl": Language(
        "/usr/bin/perl",
        ("{top}/test.pl",),
        files={
            "/usr/lib/x86_64-linux-gnu/perl-base": "/usr/lib/x86_64-linux-gnu/perl-base",
            "/usr/share/perl": "/usr/share/perl",
            "/usr/lib/x86_64-linux-gnu/perl": "/usr/lib/x86_64-linux-gnu/perl",
        },
    ),
    "go": Language("{top}/program", make=("go", "build", "-o", "{top}/program", "{top}/main.go")),
    "go-pie-2-cpus": Language(
        "{top}/program",
        make=("go", "build", "-buildmode=pie", "-o", "{top}/program", "{top}/main.go"),
        cpus=2,
    ),
    "go-race": Language(
        "{top}/program",
        make=("go", "build", "-race", "-o", "{top}/program", "{top}/main.go"),
        memory=1024,
    ),
    "rust": Language(
        "{top}/program", make=("rustc", "-O", "-o", "{top}/program", "{top}/threads.rs"), cpus=2
    ),
    "rust-tokio": Language(
        "{top}/target/release/program",
        make=("cargo", "build", "-q", "--release", "--offline", "--config", str(DEBIAN)),
        cpus=2,
    ),
    "luajit": Language(
        "usr/bin/luajit",
        ("{top}/test.lua",),
        code=Code.JIT,
        packages=("luajit", "libluajit-5.1-2", "libluajit-5.1-common"),
    ),
    "php": Language(
        "usr/bin/php8.2",
        (
            *("-n", "-d", "zend_extension=/usr/lib/php/20220829/opcache.so"),
            *("-d", "opcache.enable_cli=1", "-d", "opcache.jit=tracing"),
            *("-d", "opcache.jit_buffer_size=32M", "{top}/test.php"),
        ),
        code=Code.JIT,
        packages=("php8.2-cli", "php8.2-opcache"),
        files={"/usr/lib/php/20220829": "usr/lib/php/20220829"},
    ),
    "ruby": Language(
        "usr/bin/ruby3.1",
        ("--yjit", "--yjit-call-threshold=5", "--disable-gems", "{top}/test.rb"),
        code=Code.JIT,
        packages=("ruby3.1", "libruby3.1"),
        files={
            "/usr/lib/ruby": "usr/lib/ruby",
            "/usr/lib/x86_64-linux-gnu/ruby": "usr/lib/x86_64-linux-gnu/ruby",
        },
    ),
    "mariadb": Language(
        "usr/sbin/mariadbd",
        (
            *("--no-defaults", "--user=root", "--skip-networking"),
            *("--socket=/tmp/mariadb.socket", "--innodb-buffer-pool-size=32M"),
        ),
        code=Code.JIT,
        packages=("mariadb-server-core", "libaio1", "libnuma1", "liburing2"),
        files={"/usr/share/mysql": "usr/share/mysql"},
        start="{top}/test-mariadb.sh",
        memory=1024,
        cpus=2,
    ),
    "node": Language("/usr/bin/node", ("{top}/test.js",), code=Code.WX, memory=1536, cpus=2),
    "java": Language(
        str(JAVA / "bin/java"),
        ("-Xmx256m", "-cp", "{top}", "Test"),
        code=Code.WX,
        make=(str(JAVA / "bin/javac"), "-d", "{top}", "{top}/Test.java"),
        files={str(JAVA): str(JAVA), "/etc/java-17-openjdk": "/etc/java-17-openjdk"},
        memory=2048,
        cpus=2,
    ),
}


def made(lab: Lab, name: str, language: Language, top: Path, sources: Path = HERE) -> AppSpec:
    """Return the specification of a program, built in `top`; skips what is missing."""

    def filled(text: str) -> str:
        return text.format(top=top)

    shutil.copytree(sources, top, dirs_exist_ok=True)
    tools = [word for word in (*language.make[:1], language.program) if "{" not in word]
    for tool in tools:
        if not (language.packages and tool == language.program) and shutil.which(tool) is None:
            pytest.skip(f"{OPTIONAL} no {tool} on this machine")
    if language.make:
        if language.make[0] == "cargo" and not CRATES.is_dir():
            pytest.skip(f"{OPTIONAL} no librust-tokio-dev on this machine")
        subprocess.run([filled(word) for word in language.make], check=True, cwd=top)
    packages = (
        unpacked(lab, language.packages[0], language.packages) if language.packages else Path("/")
    )
    program = packages / filled(language.program)
    files = {
        **(libraries(packages) if language.packages else {}),
        **{guest: packages / path for guest, path in language.files.items()},
        **{f"{top}/{file.name}": file for file in top.iterdir() if file.is_file()},
    }
    return AppSpec(
        name=name,
        origin=program,
        directory=top,
        program=program,
        args=tuple(filled(word) for word in language.args),
        files=files,
        entrypoint=filled(language.start),
        code=language.code,
        memory=language.memory << 20,
        cpus=language.cpus,
    )


@pytest.fixture(scope="module")
def directory() -> object:
    """A directory that is not in /tmp, which the guest has of its own."""
    top = Path("/var/lib/ukl-test-languages")
    if not top.parent.is_dir():
        pytest.skip(f"{OPTIONAL} no /var/lib")
    shutil.rmtree(top, ignore_errors=True)
    yield top
    shutil.rmtree(top, ignore_errors=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("user", [False, True], ids=["unikernel", "process"])
@pytest.mark.parametrize("name", LANGUAGES)
def test_language(lab: Lab, directory: Path, name: str, user: bool) -> None:
    spec = made(lab, name, LANGUAGES[name], directory / name)
    built = bootable(spec, lab.context, Guest(mode=mode_of(user)))
    options = Options(Guest(mode=mode_of(user), timeout=900))
    made_here = Built(built.spec, built.image, built.initrd)
    ran = lab.run(made_here, *spec.args, cpus=spec.cpus, options=options)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), (
        ran.result.detail + ran.text
    )
    assert RESULT in ran.lines, ran.text
    levels = {line for line in ran.lines if line.startswith("level ")}
    assert levels <= {f"level {3 * user}"}, ran.text
