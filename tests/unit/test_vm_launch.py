# SPDX-License-Identifier: GPL-2.0
"""From options to the kernel's command line and the run description."""

from __future__ import annotations

import gzip
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError, UsageError
from ukl.base.model import Accelerator, AppSpec, Guest, Image, Mode, Volume
from ukl.elf import reader
from ukl.elf.reader import Segment
from ukl.host import tsc
from ukl.vm import launch, runs
from ukl.vm.launch import Options
from ukl.vm.streams import Streams

SPEC = AppSpec(
    name="hello",
    origin=Path("/src/ukl.toml"),
    directory=Path("/src"),
    sources=(),
    args=("-v", "two words"),
    env={"LEVEL": "3"},
)
IMAGE = Image(
    name="hello",
    directory=Path("/image"),
    vmlinux=Path("/image/vmlinux"),
    bzimage=Path("/image/bzImage"),
    system_map=Path("/image/System.map"),
    marker=Path("/image/marker"),
    build_id=bytes(20),
    key="key",
)


def test_run_starts_the_marker_or_the_executable() -> None:
    assert launch.guest_run(IMAGE, SPEC, Options(), "n").path == "/ukl/hello"
    run = launch.guest_run(IMAGE, SPEC, Options(Guest(mode=Mode.PROCESS)), "n")
    assert run.path == "/user/hello"
    assert run.argv == ("hello", "-v", "two words")
    assert run.env["LEVEL"] == "3"
    assert run.nonce == "n"


def test_the_working_directory() -> None:
    assert launch.guest_run(IMAGE, SPEC, Options(), "n").cwd == "/"
    there = replace(SPEC, workdir="/srv")
    assert launch.guest_run(IMAGE, there, Options(), "n").cwd == "/srv"
    with pytest.raises(UsageError, match="working directory"):
        launch.check(Options(Guest(init="app")), there)


def test_only_a_small_kernel_takes_little_memory() -> None:
    launch.check(Options(), replace(SPEC, memory=64 << 20))
    launch.check(Options(), replace(SPEC, memory=11 << 20, profile="tiny"))
    with pytest.raises(UsageError, match="11M is too little memory"):
        launch.check(Options(), replace(SPEC, memory=11 << 20))


def test_a_kernel_that_stays_in_place_is_not_unpacked() -> None:
    def booted(image: Image) -> Path:
        machine = launch.machine(image, SPEC, Options(), Path("/initrd"), Accelerator.TCG)
        return machine.kernel

    assert booted(IMAGE) == IMAGE.bzimage
    assert booted(replace(IMAGE, relocatable=False)) == IMAGE.vmlinux


def test_an_entrypoint_is_started_instead_and_told_what_to_start() -> None:
    spec = replace(SPEC, entrypoint="/bin/prepare")
    run = launch.guest_run(IMAGE, spec, Options(), "n")
    assert run.path == "/bin/prepare"
    assert run.argv == ("/bin/prepare", "/ukl/hello", "-v", "two words")
    assert (
        launch.guest_run(IMAGE, spec, Options(Guest(mode=Mode.PROCESS)), "n").argv[1]
        == "/user/hello"
    )
    launch.check(Options(), spec)
    with pytest.raises(UsageError, match="/bin/prepare"):
        launch.check(Options(Guest(init="app")), spec)


def test_kernel_without_application_can_only_run_the_executable() -> None:
    bare = replace(IMAGE, marker=None)
    with pytest.raises(InputError):
        launch.guest_run(bare, SPEC, Options(), "n")
    assert (
        launch.guest_run(bare, SPEC, Options(Guest(mode=Mode.PROCESS)), "n").path == "/user/hello"
    )


def test_shell_is_an_interactive_companion() -> None:
    run = launch.guest_run(IMAGE, SPEC, Options(Guest(shell=True), input=0), "n")
    assert run.companion
    assert run.console.interactive
    assert not run.console.input


def test_a_program_with_a_terminal_gets_its_size_and_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "vt100")
    options = Options(streams=Streams("ttt", print, print))
    run = launch.guest_run(IMAGE, SPEC, options, "n")
    assert (run.console.streams, run.console.rows, run.console.columns) == ("ttt", 24, 80)
    assert run.env["TERM"] == "vt100"
    pipes = Options(streams=Streams("npp", print, print))
    run = launch.guest_run(IMAGE, SPEC, pipes, "n")
    assert (run.console.streams, run.console.rows, run.env["TERM"]) == ("npp", 0, "linux")


def test_files_must_fit_into_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = [
        Segment("PT_LOAD", 5, 0, 0, 0, 0, 20 << 20, 0),
        Segment("NOTE", 4, 0, 0, 0, 0, 9, 0),
    ]
    monkeypatch.setattr(reader, "segments", lambda path: segments)
    packed = gzip.compress(bytes(100 << 20), 1)
    launch.check_room(IMAGE, 256 << 20, bytes(16 << 20))  # does not look at the kernel
    launch.check_room(IMAGE, 256 << 20, packed)
    with pytest.raises(InputError, match="files take 100 MiB") as caught:
        launch.check_room(IMAGE, 200 << 20, packed)
    remedy = re.search(r"give it (\d+)M", str(caught.value.remedy))
    assert remedy is not None
    launch.check_room(IMAGE, int(remedy[1]) << 20, packed)
    # What cannot be compressed is in memory twice.
    with pytest.raises(InputError, match="files take 90 MiB"):
        launch.check_room(IMAGE, 256 << 20, bytes(90 << 20))


def test_command_line_with_our_init_names_no_program() -> None:
    line = launch.command_line(IMAGE, SPEC, Options(Guest(append=("nokaslr",))))
    assert "nokaslr" in line.split()
    assert "init=" not in line


def test_a_watched_kernel_lies_where_it_was_linked() -> None:
    line = launch.command_line(IMAGE, SPEC, Options(traced=((1, 2),)))
    assert "nokaslr" in line.split()
    assert "nokaslr" not in launch.command_line(IMAGE, SPEC, Options()).split()


def test_an_emulated_guest_is_told_how_fast_its_clocks_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tsc, "khz", lambda: 2_300_000)
    emulated, counting = Options(Guest(append=("nokaslr",))), Options(Guest(icount=True))
    timer, counter = "ukl.lapic_khz=1000000", "tsc_early_khz=2300000"
    assert launch.clock_words(Accelerator.TCG, emulated) == (timer, counter)
    assert launch.clock_words(Accelerator.TCG, counting) == (timer,)
    assert launch.clock_words(Accelerator.KVM, emulated) == ()
    line = launch.command_line(IMAGE, SPEC, emulated, (timer, counter))
    # The user's own words come last, and win.
    assert line.split()[-3:] == [timer, counter, "nokaslr"]
    assert "khz" not in launch.command_line(IMAGE, SPEC, emulated)


def test_command_line_with_the_application_as_init() -> None:
    words = shlex.split(launch.command_line(IMAGE, SPEC, Options(Guest(init="app"))))
    assert "rdinit=/ukl/hello" in words
    assert "init=/ukl/hello" in words
    assert "LEVEL=3" in words
    assert words[words.index("--") + 1 :] == ["-v", "two words"]


@pytest.mark.parametrize("word", ["--", 'say "hi"', "a\nb", "a\0b"])
def test_words_the_kernel_cannot_carry(word: str) -> None:
    with pytest.raises(InputError):
        launch.init_words((word,), {})


@pytest.mark.parametrize("key", ["debug", "a.b", "", "A-B", "Path"])
def test_variables_the_kernel_would_take(key: str) -> None:
    with pytest.raises(InputError):
        launch.init_words((), {key: "1"})


def test_command_line_has_an_end() -> None:
    long = replace(SPEC, args=("x" * 3000,))
    with pytest.raises(InputError, match="too long"):
        launch.command_line(IMAGE, long, Options(Guest(init="app")))
    launch.command_line(IMAGE, long, Options())  # init reads them from a file
    with pytest.raises(InputError, match="at most"):
        launch.init_words(("x",) * 31, {})


@pytest.mark.parametrize(
    "options",
    [
        Options(Guest(init="app", shell=True)),
        Options(Guest(init="app", companion=("/bin/sh",))),
        Options(Guest(init="app", uid=1000)),
        Options(Guest(shell=True, companion=("/bin/ps",))),
    ],
)
def test_options_that_do_not_go_together(options: Options) -> None:
    with pytest.raises(UsageError):
        launch.check(options, SPEC)


def test_what_is_saved_has_its_time(tmp_path: Path) -> None:
    spec = replace(SPEC, volumes=(Volume(tmp_path, "/data"),))
    run = launch.guest_run(IMAGE, spec, Options(), "n")
    assert [mount.target for mount in run.mounts] == ["/data"]
    assert run.stop.grace_ms > launch.guest_run(IMAGE, SPEC, Options(), "n").stop.grace_ms
    with pytest.raises(UsageError, match="no process mounts"):
        launch.check(Options(Guest(init="app")), spec)


def test_old_runs_are_forgotten(tmp_path: Path) -> None:
    for number in range(runs.KEEP_RUNS + 5):
        directory = tmp_path / f"run-{number:02}"
        directory.mkdir()
        (directory / "console.log").touch()
        age = 1_000_000_000 + number
        os.utime(directory, (age, age))
    made = runs.run_directory(tmp_path, "hello")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert made.name in left
    assert "run-04" not in left
    assert "run-05" in left
    assert len(left) == runs.KEEP_RUNS + 1
