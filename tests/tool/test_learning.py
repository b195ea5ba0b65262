# SPDX-License-Identifier: GPL-2.0
"""`ukl run --learn`: what a program looks up on this machine becomes a manifest."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL
from ukl.base.errors import InputError
from ukl.base.model import Code
from ukl.flow import learning
from ukl.settings import manifest
from ukl.settings.table import overridden

pytestmark = pytest.mark.tool

SOURCE = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct stat status;

	dlopen("./plug.so", RTLD_NOW);
	stat("only-looked-at", &status);
	fopen("new/made", "w");
	fopen("/etc/hostname", "r");
	fopen("missing", "r");
	stat("fifo", &status);
	execl("sub/script", "script", NULL);
	return 1;
}
"""


@pytest.fixture
def project() -> object:
    """A directory with a program and what it opens; not in /tmp, which the guest has itself."""
    top = Path.home() / f".ukl-test-learn-{os.getpid()}"
    (top / "sub").mkdir(parents=True)
    (top / "new").mkdir()
    (top / "prog.c").write_text(SOURCE)
    (top / "plug.c").write_text("int plug;\n")
    (top / "only-looked-at").touch()
    os.mkfifo(top / "fifo", 0o755)
    (top / "data ü").write_text("data")
    (top / "sub/script").write_text("#!/bin/sh\ncd sub && cat '../data ü' && exit 3\n")
    (top / "sub/script").chmod(0o755)
    for words in (["prog.c", "-o", "prog"], ["-shared", "-fPIC", "plug.c", "-o", "plug.so"]):
        subprocess.run(["gcc", *words], check=True, cwd=top)
    yield top
    shutil.rmtree(top)


@pytest.mark.skipif(shutil.which("strace") is None, reason=f"{OPTIONAL} no strace here")
def test_a_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    time.sleep(0.02)  # the clock of file times is coarse
    overrides = {"memory": 512 << 20, "code": Code.JIT, "env": {"A": 'b "c"'}, "cpus": 2}
    spec = overridden(manifest.resolve("./prog"), overrides)
    directory = project / "made"
    learning.check(spec, directory)
    found = learning.run(spec)
    assert found.status == 3
    assert {
        f"{project}/{name}" for name in ("plug.so", "only-looked-at", "sub/script", "data ü")
    } | {
        "/etc/hostname",
        "/bin/sh",
    } <= set(found.files)
    # Not the guest's own, nor what is found without a run, what is missing, or what was written.
    names = {Path(path).name for path in found.files}
    assert not names & {"libc.so.6", "prog", "missing", "made", "null", "fifo"}
    assert found.written == (f"{project}/new",)
    file = learning.write(spec, found, overrides, directory)
    loaded = manifest.load(file)
    assert (loaded.memory, loaded.code, loaded.cpus) == (512 << 20, Code.JIT, 2)
    assert (loaded.env, loaded.workdir) == ({"A": 'b "c"'}, str(project))
    assert loaded.files[f"{project}/data ü"] == project / "data ü"
    assert loaded.program == project / "prog"
    with pytest.raises(InputError, match=r"already is a ukl\.toml"):
        learning.check(spec, directory)


def test_only_a_program_of_this_machine(project: Path) -> None:
    for target in (project / "prog.c", "hello"):
        with pytest.raises(InputError, match="runs a program of this machine"):
            learning.check(manifest.resolve(str(target)), project / "made")


def test_what_is_written_in_a_manifest_is_read_again(project: Path) -> None:
    spec = manifest.resolve(str(project / "prog"))
    learned = learning.Learned(('/a "quoted\\name"', "/del\x7f"), ("/var/lib/x",), ("/tmp/y",))
    assert learning.summary(learned) == "2 files; the program ended with status 0"
    assert learning.summary(replace(learned, status=-9)).endswith("killed by signal 9")
    text = learning.manifest(spec, learned, {})
    assert list(tomllib.loads(text)["run"]["files"]) == ['/a "quoted\\name"', "/del\x7f"]
    assert "# It wrote to /var/lib/x" in text
    assert "# Left out: '/tmp/y'" in text


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (rb'openat(AT_FDCWD</a>, "x", O_RDONLY) = 3</a/x>', "/a/x"),
        (rb'openat(AT_FDCWD</a>, "\x2f\x78", O_RDONLY) = 3</x>', "/x"),
        (rb'newfstatat(5</d>, "\xc3\xbc", {st_mode=S_IFREG}, 0) = 0', "/d/ü"),
        (rb'access("rel", R_OK) = 0', "/start/rel"),
        (rb'newfstatat(5</d/f>, "", {st_mode=S_IFREG}, AT_EMPTY_PATH) = 0', None),
        (rb'openat(AT_FDCWD</a>, "x", O_RDONLY) = -1 ENOENT (No such file)', None),
        (b"+++ exited with 0 +++", None),
        (rb'openat(AT_FDCWD</a>, "x', None),
    ],
)
def test_lines_of_a_trace(line: bytes, path: str | None) -> None:
    line = line.replace(rb"\xc3\xbc", b"\\xc3\\xbc")
    assert list(learning.looked_up([line], "/start")) == ([] if path is None else [path])


def test_a_change_of_directory_holds_for_what_follows() -> None:
    lines = [b'chdir("sub") = 0', b'access("x", R_OK) = 0', b'execve("/bin/y", ["y"], 0x7) = 0']
    assert list(learning.looked_up(lines, "/a")) == ["/a/sub", "/a/sub/x", "/bin/y"]
