# SPDX-License-Identifier: GPL-2.0
"""Programs that nobody has linked anew run in ring 0: dynamic, static, with code that they make."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Lab
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec, Code, Level, Outcome
from ukl.flow import learning
from ukl.settings import manifest
from ukl.settings.table import overridden

SOURCE = r"""
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int level(void)
{
	unsigned long cs;

	asm volatile("mov %%cs, %0" : "=r" (cs));
	return cs & 3;
}

int main(int argc, char **argv)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	double (*cosine)(double);
	int status;
	void *at;

	setvbuf(stdout, NULL, _IONBF, 0);
	printf("%s at CPL %d with %d arguments\n", argv[0], level(), argc);
	if (argc > 1 && !strcmp(argv[1], "child"))
		return 7;
	at = dlopen("libm.so.6", RTLD_NOW);
	cosine = at ? (double (*)(double))dlsym(at, "cos") : NULL;
	printf("cos(0) = %.1f\n", cosine ? cosine(0) : -1);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(at, code, sizeof(code));
	if (mprotect(at, 4096, PROT_READ | PROT_EXEC))
		perror("mprotect");
	else
		printf("made code: %d\n", ((int (*)(void))at)());
	if (fork() == 0) {
		execl("/proc/self/exe", argv[0], "child", NULL);
		_exit(1);
	}
	wait(&status);
	printf("child: %d\n", WEXITSTATUS(status));
	return 0;
}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the program's source."""
    made = tmp_path_factory.mktemp("as-is")
    (made / "prog.c").write_text(SOURCE)
    return made


def spec_of(program: Path, code: Code = Code.NONE, **more: object) -> AppSpec:
    return AppSpec(
        name=program.name,
        origin=program,
        directory=program.parent,
        program=program,
        code=code,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("prog-pie", ()),
        ("prog-no-pie", ("-no-pie",)),
    ],
)
@pytest.mark.parametrize("code", [Code.FILES, Code.JIT])
def test_dynamic(lab: Lab, directory: Path, name: str, words: tuple[str, ...], code: Code) -> None:
    program = directory / f"{name}-{code}"
    subprocess.run(
        ["gcc", "-O2", *words, str(directory / "prog.c"), "-o", str(program)], check=True
    )
    libm = Path("/lib/x86_64-linux-gnu/libm.so.6")
    ran = lab.run(lab.build(spec_of(program, code, files={str(libm): libm})), "a", "b")
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 0), ran.text
    assert f"{program.name} at CPL 0 with 3 arguments" in ran.text
    assert "cos(0) = 1.0" in ran.text
    # What it executes is a normal process, unless a marker file starts it.
    assert f"{program.name} at CPL 3 with 2 arguments" in ran.text
    assert "child: 7" in ran.text
    if code is Code.JIT:
        assert "made code: 42" in ran.text
    else:
        assert "mprotect: Permission denied" in ran.text


@pytest.mark.parametrize("words", [("-static",), ("-static-pie",)], ids=str)
def test_static(lab: Lab, directory: Path, words: tuple[str, ...]) -> None:
    program = directory / f"prog{words[0]}"
    source = directory / "level.c"
    source.write_text(
        'int main(void){unsigned long c; asm("mov %%cs,%0":"=r"(c)); return 20+(c&3);}'
    )
    subprocess.run(["gcc", *words, str(source), "-o", str(program)], check=True)
    ran = lab.run(lab.build(spec_of(program)))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 20), ran.text


def test_a_thread_that_ends_itself(lab: Lab, directory: Path) -> None:
    """glibc opens libgcc_s.so.1 then, which the program does not name."""
    source, program = directory / "thread.c", directory / "thread"
    source.write_text(
        "#include <pthread.h>\n"
        "void *run(void *at) { pthread_exit(at); }\n"
        "int main(void) { pthread_t thread; void *at = 0;\n"
        "  pthread_create(&thread, 0, run, &thread); pthread_join(thread, &at);\n"
        "  return at == &thread ? 5 : 1; }\n"
    )
    subprocess.run(["gcc", str(source), "-o", str(program)], check=True)
    ran = lab.run(lab.build(spec_of(program)))
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 5), ran.text


def test_as_a_normal_process(lab: Lab, directory: Path) -> None:
    """The same files, started without the marker file."""
    program = directory / "prog-user"
    subprocess.run(["gcc", str(directory / "prog.c"), "-o", str(program)], check=True)
    ran = lab.script(lab.build(spec_of(program)), '"$USER"')
    assert f"{program.name} at CPL 3 with 1 arguments" in ran.text
    assert "made code: 42" in ran.text


def test_a_link_decides_what_a_program_does(lab: Lab, directory: Path) -> None:
    """busybox is many programs, by the name that it is started with."""
    link = directory / "readlink"
    link.symlink_to("/bin/busybox")
    ran = lab.run(lab.build(spec_of(link)), "-f", "/usr/local/bin/readlink")
    assert ran.lines[-1:] == ["/bin/busybox"], ran.text


def test_a_debian_program(lab: Lab) -> None:
    """An interpreter with shared objects of several packages."""
    built = lab.build(spec_of(Path("/usr/bin/perl").resolve(), level=Level.FAST))
    ran = lab.run(built, "-e", 'print 6 * 7, "\\n"; exit 3')
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 3), ran.text
    assert "42" in ran.lines


@pytest.mark.skipif(shutil.which("strace") is None, reason=f"{OPTIONAL} no strace on this machine")
def test_what_a_run_here_has_learned(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with plug-ins and data works in the guest with the manifest of `--learn`."""
    top = Path(tempfile.mkdtemp(prefix=".ukl-test-", dir=Path.home()))  # the guest hides /tmp
    try:
        monkeypatch.chdir(top)
        (top / "data").write_text("some data\n")
        script = 'use POSIX; open(F, "data"); print floor(1.5), <F>; exit 3'
        overrides = {"args": ("-e", script)}
        spec = overridden(manifest.resolve("/usr/bin/perl"), overrides)
        learned = learning.run(spec)
        assert learned.status == 3
        file = learning.write(spec, learned, overrides, top / "learned-perl")
        built = lab.build(replace(manifest.load(file), name="learned"))
        ran = lab.run(built, *built.spec.args)
    finally:
        shutil.rmtree(top)
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 3), ran.text
    assert "1some data" in ran.lines


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (Code.FILES, "code was refused: .* may not execute memory: it is writable; --code wx"),
        (Code.WX, ""),
    ],
)
def test_writable_code_without_leave(lab: Lab, directory: Path, code: Code, why: str) -> None:
    """An executable stack is one: the program is killed, and `ukl run` says why."""
    program = directory / f"stack-{code}"
    (directory / "stack.c").write_text("int main(void) { return 3; }")
    words = ["-z", "execstack", str(directory / "stack.c"), "-o", str(program)]
    subprocess.run(["gcc", *words], check=True)
    ran = lab.run(lab.build(spec_of(program, code)))
    if why:
        assert ran.result.outcome is Outcome.SIGNALED
        assert re.search(why, ran.result.detail)
    else:
        assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 3), ran.text
