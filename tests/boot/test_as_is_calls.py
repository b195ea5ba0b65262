# SPDX-License-Identifier: GPL-2.0
"""Programs that run as they are, with calls in the place of their `syscall` instructions."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Built, Lab
from tests.boot.test_as_is import spec_of
from ukl.base.model import AppSpec, Level, Outcome, Returns
from ukl.elf.reader import Elf

PROGRAMS = Path(__file__).parents[1] / "tool/programs"
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"
LOADED = Path("/lib/x86_64-linux-gnu/libgcc_s.so.1")
"""glibc loads it to cancel a thread."""

GO = r"""
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("child")
		return
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "served")
	}))
	var all sync.WaitGroup
	for i := 0; i < 40; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			answer, err := http.Get(server.URL)
			if err != nil {
				fmt.Println("wrong:", err)
				return
			}
			body, _ := io.ReadAll(answer.Body)
			if string(body) != "served" {
				fmt.Println("wrong:", string(body))
			}
		}()
	}
	all.Wait()
	time.Sleep(10 * time.Millisecond)
	output, err := exec.Command("/proc/self/exe", "child").Output()
	fmt.Printf("%s%v\n", output, err)
}
"""


def compiled(tmp_path: Path, source: str, compiler: str, *words: str) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    program = tmp_path / "program"
    subprocess.run(
        [compiler, "-O2", "-pthread", *words, PROGRAMS / source, "-o", program], check=True
    )
    return program


def dynamic(program: Path) -> AppSpec:
    return spec_of(program, files={str(LOADED): LOADED})


NUMBERS = itertools.count()


def build(lab: Lab, spec: AppSpec) -> Built:
    """Return what boots `spec`. The programs have the same name, by which `lab` keeps them."""
    return lab.build(replace(spec, name=f"calls-{next(NUMBERS)}"))


def is_rewritten(spec: AppSpec, path: str) -> bool:
    """Whether the guest has another file at `path` than this machine."""
    return Elf.open(spec.files[path]).section(".ukl.text") is not None


@pytest.mark.parametrize(
    "source",
    [
        ("calls.c", "gcc", ()),
        ("calls.c", "gcc", ("-static",)),
        ("calls.c", "gcc", ("-static-pie",)),
        ("calls.c", "musl-gcc", ("-static",)),
        ("destructors.cc", "g++", ()),
        ("destructors.cc", "g++", ("-static",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("returns", [Returns.IRET, Returns.RET])
def test_calls(
    lab: Lab, tmp_path: Path, source: tuple[str, str, tuple[str, ...]], returns: Returns
) -> None:
    name, compiler, words = source
    program = compiled(tmp_path, name, compiler, *words)
    built = build(lab, replace(dynamic(program), returns=returns))
    assert is_rewritten(built.spec, LIBC if not words else "/usr/local/bin/program")
    ran = lab.run(built)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 20), ran.text
    said = "done at 0" if name == "calls.c" else "40 destructors, 100 exceptions"
    assert said in ran.text
    assert "wrong" not in ran.text


@pytest.mark.parametrize("words", [(), ("-static",)], ids=str)
def test_the_same_file_as_a_normal_process(
    lab: Lab, tmp_path: Path, words: tuple[str, ...]
) -> None:
    program = compiled(tmp_path, "calls.c", "gcc", *words)
    built = build(lab, dynamic(program))
    assert is_rewritten(built.spec, LIBC if not words else "/usr/local/bin/program")
    ran = lab.script(built, '"$USER"; echo "status $?"')
    assert "done at 3" in ran.text
    assert "status 23" in ran.text
    assert "wrong" not in ran.text


def test_level_base_leaves_the_files_as_they_are(lab: Lab, tmp_path: Path) -> None:
    program = compiled(tmp_path, "calls.c", "gcc")
    built = build(lab, replace(dynamic(program), level=Level.BASE))
    assert not is_rewritten(built.spec, LIBC)
    ran = lab.run(built)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 20), ran.text


def test_go(lab: Lab, tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text(GO)
    program = tmp_path / "program"
    subprocess.run(
        ["go", "build", "-o", program, tmp_path / "main.go"],
        check=True,
        env={"CGO_ENABLED": "0", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GOFLAGS": "-p=1"},
    )
    built = build(lab, spec_of(program))
    assert is_rewritten(built.spec, "/usr/local/bin/program")
    ran = lab.run(built)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert "child" in ran.text
    assert "<nil>" in ran.text
    assert "wrong" not in ran.text


def test_a_process_in_a_call_can_be_traced(lab: Lab, tmp_path: Path) -> None:
    """strace shows its calls, as it would those by the instruction."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    program = compiled(tmp_path, "calls.c", "gcc")
    files = {"/usr/bin/strace": Path(strace), str(LOADED): LOADED}
    built = build(lab, spec_of(program, files=files))
    ran = lab.script(built, 'strace -f -o /tmp/trace "$UKL"; grep -c getppid /tmp/trace')
    assert "done at 0" in ran.text
    assert "wrong" not in ran.text
