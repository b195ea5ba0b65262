# SPDX-License-Identifier: GPL-2.0
"""Rewritten system calls do what the instructions did: as normal processes, nothing boots."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.tool import syscall_fuzz
from ukl.app import link
from ukl.app.build import build
from ukl.app.linking import SCRIPTS
from ukl.base import resources
from ukl.base.model import AppObject, AppSpec, Level
from ukl.base.progress import Progress
from ukl.elf.names import PLAIN, RESTART, SHORT, SYSCALL, fast_entry
from ukl.elf.reader import Elf
from ukl.host.store import Store
from ukl.syscalls.rewritable import LABELS

pytestmark = pytest.mark.tool

PROGRAMS = Path(__file__).parent / "programs"
FUNCTIONS = 500
Builder = Callable[..., AppObject]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    store = Store(tmp_path_factory.mktemp("store"))
    linked = tmp_path_factory.mktemp("linked")

    def make(
        *sources: Path,
        rewriting: bool = True,
        level: Level = Level.BASE,
        cflags: tuple[str, ...] = (),
    ) -> AppObject:
        """Return the application; its normal executable has the calls, if it is rewritten."""
        if sources[0].suffix == ".cpp":
            skip_without("g++")
        spec = AppSpec(
            name="probe",
            origin=sources[0],
            directory=sources[0].parent,
            sources=sources,
            rewrite_syscalls=rewriting,
            level=level,
            cflags=("-O2", *cflags),
        )
        app = build(spec, store, Progress.quiet())
        syscall = resources.path(SCRIPTS) / "syscall.S"
        return as_process(app, linked, syscall) if rewriting else app

    return make


def lines(app: AppObject) -> list[str]:
    done = subprocess.run([app.user], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    return done.stdout.splitlines()


def as_process(app: AppObject, directory: Path, syscall: Path) -> AppObject:
    """Return `app` with a normal executable that has the calls in place of `syscall`.

    A handler that recognizes a call by its address would see the process in ukl_syscall(), which
    is not between the labels: there the executable has a no-operation and `syscall`.
    """
    compiled, program = directory / "syscall.o", directory / f"rewritten-{app.key[:16]}"
    subprocess.run(["gcc", "-c", syscall, "-o", compiled], check=True)
    script = resources.path(SCRIPTS) / "user.lds"
    subprocess.run(link.user_argv("ld", app.path, compiled, script, program), check=True)
    elf = Elf.open(program)
    data = bytearray(elf.data[:])
    text = elf.section(".ukl.text")
    assert text is not None
    for address in elf.addresses(LABELS).values():
        at = text.offset + address - 5 - text.address
        if data[at] == 0xE8:
            data[at : at + 5] = bytes.fromhex("0f1f000f05")
    del elf
    program.write_bytes(data)
    return replace(app, user=program)


def disassembly(app: AppObject, function: str) -> str:
    argv = ["objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}", str(app.user)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_generated_functions_do_the_same(tmp_path: Path, made: Builder, seed: int) -> None:
    source, main = tmp_path / "functions.S", tmp_path / "main.c"
    source.write_text(syscall_fuzz.assembly(seed, FUNCTIONS))
    main.write_text(syscall_fuzz.MAIN)
    rewritten, plain = made(main, source), made(main, source, rewriting=False)
    counts = rewritten.facts.syscalls
    assert plain.facts.syscalls is None
    assert counts is not None
    # The functions have at least one site each; every way must have been tried.
    assert min(counts.in_place, counts.stub, counts.kept) > FUNCTIONS // 20
    assert counts.in_place + counts.stub + counts.kept > FUNCTIONS
    results = lines(rewritten)
    assert len(results) == FUNCTIONS * syscall_fuzz.TURNS
    assert results == lines(plain)


def test_halts_of_the_c_library(tmp_path: Path, made: Builder) -> None:
    """abort() of a process that ignores signals ends, in ring 0 too; others are the program's."""
    main = tmp_path / "main.c"
    main.write_text(
        '#include <stdlib.h>\nvoid own(void) { asm volatile("hlt"); }\n'
        "int main(int c, char **v) { if (c > 1) abort(); if (c > 2) own(); return 0; }\n"
    )
    app, process = made(main), made(main, rewriting=False)
    object_dump = ["objdump", "-dr", "--no-show-raw-insn", str(app.path)]
    in_kernel = subprocess.run(object_dump, capture_output=True, text=True, check=True).stdout
    functions = dict(re.findall(r"(?ms)^[0-9a-f]+ <(\w+)>:\n(.*?)(?:\n\n|\Z)", in_kernel))
    assert "hlt" not in functions["abort"]
    assert "(bad)" in functions["abort"]
    assert "hlt" in functions["own"]
    assert "hlt" in disassembly(process, "abort")
    assert "(bad)" not in disassembly(process, "abort")
    assert "hlt" in disassembly(process, "own")


def clobbering(text: str) -> str:
    """Return syscall.S with entries of single numbers that lose what the kernel's may lose."""
    short = " || ".join(f"\\nr == {number}" for number in SHORT)
    lost = "".join(f"\tmov $0x5ca1ab1e, %{name}\n" for name in ("rdi", "rsi", "r8", "r9", "r10"))
    return text.replace(
        "\tmov\t$\\nr, %eax\n\tjmp\tukl_syscall\n",
        "\tmov\t$\\nr, %eax\n\tcall\tukl_syscall\n"
        + lost
        + f"\t.if {short}\n\tmov $0x5ca1ab1e, %edx\n\t.endif\n\tret\n",
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_fast_calls_lose_is_not_looked_at(tmp_path: Path, made: Builder, seed: int) -> None:
    source, main = tmp_path / "functions.S", tmp_path / "main.c"
    source.write_text(syscall_fuzz.assembly(seed, FUNCTIONS))
    main.write_text(syscall_fuzz.MAIN)
    fast, plain = made(main, source, level=Level.FAST), made(main, source, rewriting=False)
    counts = fast.facts.syscalls
    assert counts is not None
    assert counts.direct > 20  # of the C library, most of them
    assert lines(fast) == lines(plain)

    hostile = tmp_path / "syscall.S"
    original = (resources.path(SCRIPTS) / "syscall.S").read_text()
    hostile.write_text(clobbering(original))
    assert hostile.read_text() != original
    assert lines(as_process(fast, tmp_path, hostile)) == lines(plain)


CALLERS = """
#include <stdio.h>
HOW int getppid_(void)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(110) : "rcx", "r11", "memory");
	return r;
}
int _getppid(void);
__attribute__((section(".text.b"), noinline, noclone))
long sum(long a, long b, long c, long d, long e)
{
	int p = getppid_();
	return a + 2 * b + 3 * c + 4 * d + 5 * e + (p & 0);
}
int main(int argc, char **argv)
{
	printf("%ld %d\\n", sum(argc, argc + 1, argc + 2, argc + 3, argc + 4), _getppid() > 0);
}
"""
OTHER = """
int _getppid(void)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(110) : "rcx", "r11", "memory");
	return r;
}
"""


@pytest.mark.parametrize(
    "how",
    [
        f"{kind}__attribute__(({words}))"
        for kind in ("static ", "")
        for words in ("noinline", 'noinline, section(".text.a")')
    ],
)
@pytest.mark.parametrize("words", [(), ("-fno-asynchronous-unwind-tables",)], ids=str)
def test_callers_that_know_what_a_call_changes(
    tmp_path: Path, made: Builder, how: str, words: tuple[str, ...]
) -> None:
    """gcc keeps the values in registers that `syscall` in the called function preserves."""
    program, other = tmp_path / "main.c", tmp_path / "other.c"
    program.write_text(CALLERS.replace("HOW", how))
    other.write_text(OTHER)
    app = made(program, other, level=Level.FAST, cflags=words)
    hostile = tmp_path / "syscall.S"
    hostile.write_text(clobbering((resources.path(SCRIPTS) / "syscall.S").read_text()))
    assert lines(as_process(app, tmp_path, hostile)) == ["55 1"]
    assert "ukl_fast_110" not in disassembly(app, "getppid_")
    if not words:
        assert "ukl_fast_110" in disassembly(app, "_getppid")


@pytest.mark.parametrize("level", Level)
def test_a_call_that_a_handler_recognizes_by_its_address(made: Builder, level: Level) -> None:
    app, plain = (
        made(PROGRAMS / "cancelled.c", level=level),
        made(PROGRAMS / "cancelled.c", rewriting=False),
    )
    assert lines(app) == lines(plain)
    assert lines(app) == [
        "blocked -125, caught 1, inside 1",
        "made 0, caught 2, inside 1",
        "before -125",
    ]
    argv = ["objdump", "-dr", "--no-show-raw-insn", "--disassemble=__syscall_cp_asm", str(app.path)]
    inside = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    entry = "ukl_syscall" if level is Level.BASE else "ukl_syscall_fast"
    assert re.search(rf"call .*\n.*{entry}-0x4\n+.*<__cp_end>:\n.*ret", inside), inside
    assert re.search(r"nopl .*\n.*syscall", disassembly(app, "__syscall_cp_asm"))


ONE_CALL = """
long tail(int file, long offset, int whence);
long kept(int file, long offset, int whence);
__asm__(".text\\n.globl tail, kept\\n"
        ".type tail, @function\\ntail:\\tmov $8, %eax\\n\\tsyscall\\n\\tret\\n"
        ".size tail, . - tail\\n"
        ".type kept, @function\\nkept:\\tmov $8, %eax\\n\\tsyscall\\n\\tneg %rax\\n\\tret\\n"
        ".size kept, . - kept\\n");
int main(void)
{
	return tail(-1, 0, 0) == -9 && kept(-1, 0, 0) == 9 ? 0 : 1; /* EBADF */
}
"""


def instructions(app: AppObject, function: str) -> list[str]:
    found = re.findall(r"^ +[0-9a-f]+:\t(.*)$", disassembly(app, function), re.MULTILINE)
    return [re.sub(r"\s+", " ", line).strip() for line in found]


def test_a_call_is_one_instruction(tmp_path: Path, made: Builder) -> None:
    """No nop beside it; and where RET is all that is left to do, the entry does it."""
    source = tmp_path / "one.c"
    source.write_text(ONE_CALL)
    base, fast = made(source), made(source, level=Level.FAST)
    for app in (base, fast):
        lines(app)
    called = re.compile(r"cs cs call [0-9a-f]+ <ukl_call_stubs\S*>")
    for function in ("tail", "kept"):
        assert called.fullmatch(instructions(base, function)[0]), function
    assert re.fullmatch(r"cs cs call [0-9a-f]+ <ukl_fast_8>", instructions(fast, "kept")[0])
    jumped = instructions(fast, "tail")
    assert re.fullmatch(r"jmp [0-9a-f]+ <ukl_fast_8>", jumped[0])
    assert jumped[-1] == "ret"


def test_a_stub_leads_to_the_entry_of_its_number(tmp_path: Path, made: Builder) -> None:
    """Of read(), whose number is loaded by an XOR: too short for a call in place."""
    source = tmp_path / "one.c"
    source.write_text("#include <unistd.h>\nint main(void) { return read(-1, 0, 0) != -1; }\n")
    base, fast = made(source), made(source, level=Level.FAST)
    for app in (base, fast):
        lines(app)
    names = [{each.name for each in Elf.open(app.path).raw_symbols()} for app in (base, fast)]
    assert [fast_entry(0) in each for each in names] == [False, True]


def test_calls_through_the_c_library(tmp_path: Path, made: Builder) -> None:
    source = tmp_path / "parent.c"
    source.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        'int main(void) { printf("%d\\n", getppid()); return 0; }\n'
    )
    app, plain = made(source), made(source, rewriting=False)
    assert lines(app) == lines(plain) == [str(os.getpid())]
    text = disassembly(app, "__getppid")
    assert re.search(r"call .*<ukl_call_stubs", text)
    assert "syscall\n" not in text
    assert "syscall" in disassembly(plain, "__getppid")
    # What unwinders know by its bytes.
    assert disassembly(app, "__restore_rt") == disassembly(plain, "__restore_rt").replace(
        str(plain.user), str(app.user)
    )


def test_unwinding_through_rewritten_calls(made: Builder) -> None:
    app = made(PROGRAMS / "unwind.cpp")
    assert lines(app) == [
        "cancelled 1, destroyed 2",
        "called: read 1, reached 1 1",
        "jumped to: read 1, reached 1 1",
    ]
    assert "jmp" in disassembly(app, "jumping_wait")
    assert "call" in disassembly(app, "calling_wait")


def test_the_object_is_one_that_others_read(made: Builder) -> None:
    app, plain = made(PROGRAMS / "unwind.cpp"), made(PROGRAMS / "unwind.cpp", rewriting=False)
    for path in (app.path, app.path.with_name("app.debug.o"), app.user):
        done = subprocess.run(["readelf", "-aW", path], capture_output=True, text=True, check=True)
        assert done.stderr == ""
    before, after = Elf.open(plain.path), Elf.open(app.path)
    old, new = (list(elf.relocations()) for elf in (before, after))
    # What was to be filled in still is, and nothing of it twice.
    places = {(r.section, r.offset) for r in old}
    still = [(r.section, r.offset, r.kind) for r in new if (r.section, r.offset) in places]
    assert still == [(r.section, r.offset, r.kind) for r in old]
    assert {s.name for s in after.symbols} - {s.name for s in before.symbols} == {
        SYSCALL,
        PLAIN,
        RESTART,
    }
    counts = app.facts.syscalls
    assert counts is not None
    named = after.raw_symbols()
    calls = [r for r in new if named[r.symbol].name == SYSCALL]
    # Equal stubs are shared.
    assert counts.stub < len(calls) < counts.in_place + counts.stub
