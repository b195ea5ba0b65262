# SPDX-License-Identifier: GPL-2.0
"""The guest's init: built by this machine's compiler, its parser fed by the host's encoder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ukl.base.errors import MissingError
from ukl.base.resources import path as resource
from ukl.guest import build as guest_build
from ukl.guest import rundesc
from ukl.guest.rundesc import Console, GuestRun, Mount, Owner, Stop
from ukl.host.store import Store

DRIVER = r"""
#include <stdio.h>
#include "init.h"
static void words(const char *name, char **list)
{
    for (; list && *list; list++)
        printf("%s<%s>\n", name, *list);
}
int main(int argc, char **argv)
{
    struct run run;
    const char *wrong = run_load(&run, argv[argc - 1]);
    if (wrong) {
        printf("wrong: %s\n", wrong);
        return 1;
    }
    printf("name<%s> path<%s> nonce<%s> cwd<%s>\n", run.name, run.path ? run.path : "",
           run.nonce, run.cwd);
    printf("%u %u %d %d %d %u %u %u\n", run.uid, run.gid, run.start, run.console_input,
           run.interactive, run.rows, run.columns, run.grace_ms);
    printf("streams<%s>\n", run.streams ? run.streams : "");
    printf("address<%s> cores %d dhcp %d reset %d\n", run.address ? run.address : "",
           run.cores, run.dhcp, run.reset);
    printf("stop %d groups", run.stop_signal);
    for (size_t i = 0; i < run.group_count; i++)
        printf(" %u", run.groups[i]);
    puts("");
    words("arg", run.argv);
    words("env", run.envp);
    words("companion", run.companion);
    for (size_t i = 0; i < run.volume_count; i++)
        printf("mount<%s><%s><%s>%d\n", run.volumes[i].type, run.volumes[i].source,
               run.volumes[i].target, run.volumes[i].read_only);
    return 0;
}
"""


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that prints what init's parser understands."""
    directory = tmp_path_factory.mktemp("parser")
    (directory / "driver.c").write_text(DRIVER)
    guest = resource("guest")
    files = (directory / "driver.c", guest / "run.c", "-o", directory / "parser")
    checks = ("-fsanitize=address,undefined", "-g", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", "-D_GNU_SOURCE", *checks, f"-I{guest}", *files], check=True)
    return directory / "parser"


def parse(parser: Path, tmp_path: Path, content: bytes) -> tuple[int, str]:
    file = tmp_path / "run"
    file.write_bytes(content)
    # What it allocates it keeps: init has one run.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [parser, file], env=environment, capture_output=True, text=True, check=False
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_what_is_written_is_read(parser: Path, tmp_path: Path) -> None:
    run = GuestRun(
        name="hello",
        path="/ukl/hello",
        argv=("hello", "two words", "", "new\nline", "back\\slash\\n", " lead", "ümläut"),
        env={"A": "1", "B": "x=y", "EMPTY": ""},
        nonce="abc",
        cwd="/tmp",
        owner=Owner(1000, 4294967295, (4, 101)),
        companion=("/bin/sh", "-c", "echo a\necho b"),
        console=Console(input=True, interactive=True, rows=24, columns=80),
        stop=Stop(250, 37),
        mounts=(Mount("9p", "tag0", "/a b", read_only=True), Mount("ext4", "disk0", "/c")),
        address="10.77.0.5/24",
        cores=True,
        dhcp=True,
        reset=True,
    )
    code, text = parse(parser, tmp_path, rundesc.encode(run))
    assert code == 0, text
    expected = ["name<hello> path</ukl/hello> nonce<abc> cwd</tmp>"]
    expected += ["1000 4294967295 1 1 1 24 80 250", "streams<>"]
    expected += ["address<10.77.0.5/24> cores 1 dhcp 1 reset 1"]
    expected += ["stop 37 groups 4 101"]
    expected += [f"arg<{word}>" for word in run.argv]
    expected += [f"env<{key}={value}>" for key, value in run.env.items()]
    expected += [f"companion<{word}>" for word in run.companion]
    expected += ["mount<9p><tag0></a b>1", "mount<ext4><disk0></c>0"]
    assert text == "\n".join(expected) + "\n"


def test_streams_are_read(parser: Path, tmp_path: Path) -> None:
    run = GuestRun(name="a", path="/a", argv=("a",), console=Console(streams="ptt"))
    code, text = parse(parser, tmp_path, rundesc.encode(run))
    assert code == 0, text
    assert "streams<ptt>\n" in text


GOOD = rundesc.encode(GuestRun(name="a", path="/a", argv=("a",), nonce="n"))


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "cut short"),
        (b"hello\n", "not a run description of version 1"),
        (GOOD.replace(b"ukl-run 1", b"ukl-run 2"), "not a run description of version 1"),
        (GOOD[:-1], "cut short"),
        (GOOD[:-4], "cut short"),
        (GOOD + b"x y\n", "more behind the end"),
        (GOOD.replace(b"cwd", b"dwc"), "unknown key"),
        (GOOD.replace(b"arg a", b"arg"), "no value"),
        (GOOD.replace(b"uid 0", b"uid -1"), "not a number"),
        (GOOD.replace(b"uid 0", b"uid 0x"), "not a number"),
        (GOOD.replace(b"uid 0", b"uid "), "not a number"),
        (GOOD.replace(b"uid 0", b"uid 99999999999999999999"), "not a number"),
        (GOOD.replace(b"uid 0", b"group x"), "not a number"),
        (GOOD.replace(b"signal 15", b"signal 0"), "not a signal"),
        (GOOD.replace(b"signal 15", b"signal 65"), "not a signal"),
        (GOOD.replace(b"start 1", b"start yes"), "neither 0 nor 1"),
        (GOOD.replace(b"arg a", b"arg \\x"), "unknown escape"),
        (GOOD.replace(b"arg a", b"arg \\"), "unknown escape"),
        (GOOD.replace(b"arg a", b"arg \0"), "NUL byte"),
        (GOOD.replace(b"arg a\n", b""), "nothing to start"),
        (GOOD.replace(b"path /a\n", b""), "nothing to start"),
        (GOOD.replace(b"name a\n", b""), "no name"),
        (GOOD.replace(b"name a", b"name a\nname b"), "given twice"),
        (GOOD.replace(b"start 1", b"start 0"), "neither application nor companion"),
        (GOOD.replace(b"interactive 0", b"interactive 1"), "interactive without companion"),
        *(
            (GOOD.replace(b"uid", b"streams %s\nuid" % kinds), "not the kinds of three streams")
            for kinds in (b"pp", b"pppp", b"tpp", b"pnp", b"xpp", b"")
        ),
        (
            GOOD.replace(b"uid", b"streams ppp\ncompanion x\nuid"),
            "streams with a companion",
        ),
        (GOOD.replace(b"arg a", b"env A"), "no '='"),
        (GOOD.replace(b"arg a", b"mount 9p rw tag"), "no absolute target"),
        (GOOD.replace(b"arg a", b"mount 9p"), "no absolute target"),
        (GOOD.replace(b"arg a", b"mount 9p rw tag data"), "no absolute target"),
        (GOOD.replace(b"arg a", b"mount 9p xy tag /data"), "neither ro nor rw"),
        (b"ukl-run 1\n" + b"arg x\n" * 200000, "too large"),
    ],
)
def test_anything_else_is_refused(parser: Path, tmp_path: Path, content: bytes, wrong: str) -> None:
    assert parse(parser, tmp_path, content) == (1, f"wrong: {wrong}\n")


def test_init_is_static_and_the_same_each_time(tmp_path: Path) -> None:
    first = guest_build.init(Store(tmp_path / "one"))
    second = guest_build.init(Store(tmp_path / "two" / "deeper"))
    assert first.read_bytes() == second.read_bytes()
    headers = subprocess.run(
        ["readelf", "-l", first], capture_output=True, text=True, check=True
    ).stdout
    assert "INTERP" not in headers
    assert str(resource("guest")).encode() not in first.read_bytes()


def test_init_is_built_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    before = guest_build.init(store).stat()
    assert guest_build.init(store).stat().st_ino == before.st_ino


def test_init_compiles_without_warnings(tmp_path: Path) -> None:
    guest = resource("guest")
    sources = sorted(file.name for file in guest.glob("*.c"))
    argv = guest_build.compile_argv(sources, str(tmp_path / "init"), guest_build.INIT_COMPILER)
    subprocess.run([*argv, "-Werror"], cwd=guest, check=True)


def test_init_refuses_to_run_anywhere_else(tmp_path: Path) -> None:
    init = guest_build.init(Store(tmp_path / "cache"))
    done = subprocess.run([init], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "first process" in done.stderr


def test_missing_compiler_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.setattr(guest_build, "INIT_COMPILER", "gcc-of-nobody")
    with pytest.raises(MissingError, match="gcc-of-nobody"):
        guest_build.init(Store(tmp_path / "cache"))
