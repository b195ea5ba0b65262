# SPDX-License-Identifier: GPL-2.0
"""Programs linked from their application objects run as normal processes.

The object is the one that goes into the kernel; what the C and C++ runtimes need
of the link (constructors, thread-local storage, unwinding, IFUNCs, relocation
read-only) shows here without booting anything.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.processes import without_locking
from ukl.app.build import build
from ukl.base.model import AppObject, AppSpec
from ukl.base.progress import Progress
from ukl.elf.names import FAST_RETURN, PLAIN, RESTART
from ukl.elf.reader import STB_LOCAL, Elf, Segment
from ukl.host.store import Store

pytestmark = pytest.mark.tool

PROGRAMS = Path(__file__).parent / "programs"
Builder = Callable[..., AppObject]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    store = Store(tmp_path_factory.mktemp("store"))

    def make(*names: str, cflags: tuple[str, ...] = (), **fields: object) -> AppObject:
        sources = tuple(PROGRAMS / name for name in names)
        if names[0].endswith(".cpp"):
            skip_without("g++")
        spec = AppSpec(
            name=sources[0].stem,
            origin=sources[0],
            directory=PROGRAMS,
            sources=sources,
            cflags=("-Wall", "-Werror", *cflags),
            **fields,  # type: ignore[arg-type]
        )
        return build(spec, store, Progress.quiet())

    return make


def run(app: AppObject, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [app.user, *args], capture_output=True, text=True, timeout=60, check=False
    )


def lines(app: AppObject, *args: str) -> list[str]:
    done = run(app, *args)
    assert done.returncode == 0, done
    return done.stdout.splitlines()


def test_constructors_destructors_and_flush_at_exit(program: Builder) -> None:
    done = run(program("order.c"), "word")
    assert done.stdout.splitlines() == [
        "order 1 2 3 4",
        "arguments 2 word 1",
        "atexit",
        "destructor",
        "destructor 200",
    ]
    assert done.returncode == 7


def test_exceptions_threads_and_cancellation(program: Builder) -> None:
    app = program("exceptions.cpp")
    assert lines(app) == [
        "before main: 1, constructed",
        "caught: from the depth, unwound 51",
        "caught in thread",
        "thread-local destroyed 2",
        "cancelled: 1, unwound 1",
        "5 1.5 ff",
        "thread-local destroyed 1",
        "global destroyed",
    ]


def test_unique_symbols_of_cxx_become_local(program: Builder) -> None:
    elf = Elf.open(program("exceptions.cpp").path)
    counters = [s for s in elf.symbols if s.name == "_ZN7CounterIiE5valueE"]
    assert [s.binding for s in counters] == [STB_LOCAL]


@pytest.mark.parametrize("data", [0, 1, 64, 4096])
@pytest.mark.parametrize("bss", [0, 1, 64, 4096])
def test_thread_local_storage(program: Builder, data: int, bss: int) -> None:
    app = program("tls.c", cflags=(f"-DDATA={data}", f"-DBSS={bss}"))
    assert lines(app) == ["0"]
    assert app.facts.tls_align >= max(data, bss)


def test_sections_of_the_programs_own(program: Builder) -> None:
    app = program("own.c")
    assert lines(app) == [
        "table 2 3",
        "constants 42",
        "code 2 1",
        "data 3 4 0",
        "zeroes 1000 1000 0",
        "tls 77",
        "note 123",
    ]
    stray = [
        section.name
        for section in Elf.open(app.path).sections
        if section.allocated and not section.name.startswith(".ukl.")
    ]
    assert stray == []


def test_ifuncs(program: Builder) -> None:
    app = program("ifunc.c")
    assert lines(app) == ["4 6 8 0 1"]
    assert app.facts.ifuncs >= 2


def test_common_symbols_boundaries_and_names_of_the_kernel(program: Builder) -> None:
    flags = ("-fcommon", "-Wno-array-bounds")
    app = program("common.c", "common_other.c", cflags=flags)
    assert lines(app) == ["42 9 0 0", "1"]


def test_stack_protector_takes_its_canary_from_fs(program: Builder) -> None:
    app = program("smash.c", cflags=("-fstack-protector-all",))
    assert lines(app) == ["102"]
    smashed = run(app, "x" * 64)
    assert smashed.returncode == -6
    assert "stack smashing detected" in smashed.stderr
    code = subprocess.run(
        ["objdump", "-d", "--disassemble=main", app.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "%fs:0x28" in code
    assert "%gs" not in code


def test_system_calls_by_call(program: Builder) -> None:
    app = program("call.c")
    assert "ukl_syscall" in app.facts.imports
    assert lines(app) == [
        "getpid 1",
        "EBADF -9",
        "clone 5 1",
        "fork 5 1",
        "clone3 5 2",
        "unchanged 1",
        "clone3 shared 5 3",
        "vfork 6 4",
    ]


@pytest.mark.parametrize("rewrite", [False, True])
def test_populate_locks_memory_before_all_else(program: Builder, rewrite: bool) -> None:
    app = program("order.c", populate=True, rewrite_syscalls=rewrite)
    refused = without_locking(app.user)
    assert (refused.returncode, refused.stdout) == (126, "")
    assert refused.stderr == (
        "populate: mlockall() failed with errno 01: "
        "it takes CAP_IPC_LOCK, or a larger RLIMIT_MEMLOCK\n"
    )


# --- the object and the executable as such ---------------------------------


@pytest.mark.parametrize(("name", "populate"), [("order.c", False), ("exceptions.cpp", True)])
def test_only_the_entry_point_is_global(program: Builder, name: str, populate: bool) -> None:
    elf = Elf.open(program(name, populate=populate).path)
    defined = {s.name for s in elf.symbols if not s.undefined and s.binding != STB_LOCAL}
    assert defined == {"ukl_app_start"}
    names = {s.name for s in elf.symbols}
    # Names by which the kernel's scripts find their own boundaries.
    assert not names & {"_end", "_etext", "_edata", "__bss_start", "_text", "_stext"}


def test_what_stays_undefined_is_declared(program: Builder) -> None:
    facts = program("order.c").facts
    others = {
        name
        for name in facts.imports
        if not re.fullmatch(r"ukl_fast_(\d+|ret)|ukl_syscall_fast", name)
    }
    assert others <= {"ukl_syscall", "ukl_ehdr_start", "_GLOBAL_OFFSET_TABLE_"}
    undeclared = {
        name
        for name in facts.weak_undefined
        # Thread-local: nothing in a kernel can bind to them.
        if not name.startswith("_nl_current_LC_")
    }
    assert undeclared <= {"__rela_iplt_start", "__rela_iplt_end", PLAIN, RESTART, FAST_RETURN}


@pytest.mark.parametrize("populate", [False, True])
def test_relocation_read_only_data_is_not_an_init_array(program: Builder, populate: bool) -> None:
    elf = Elf.open(program("order.c", populate=populate).path)
    kinds = {section.name: section.kind for section in elf.sections if section.allocated}
    assert kinds == {
        ".ukl.text": "SHT_PROGBITS",
        ".ukl.rodata": "SHT_PROGBITS",
        ".ukl.eh_frame": "SHT_PROGBITS",
        ".ukl.tdata": "SHT_PROGBITS",
        ".ukl.tbss": "SHT_NOBITS",
        ".ukl.relro": "SHT_PROGBITS",
        ".ukl.data": "SHT_PROGBITS",
        ".ukl.bss": "SHT_NOBITS",
    }
    assert all(section.address == 0 for section in elf.sections)


def test_the_executable_keeps_writable_and_executable_apart(program: Builder) -> None:
    segments = Elf.open(program("tls.c", cflags=("-DDATA=64", "-DBSS=64")).user).segments

    def one(kind: str) -> Segment:
        (segment,) = (s for s in segments if s.kind == kind)
        return segment

    assert [s.flags for s in segments if s.kind == "PT_LOAD"] == [4, 5, 4, 6]
    assert one("PT_GNU_STACK").flags == 6
    assert one("PT_TLS").align == 64
    relro = one("PT_GNU_RELRO")
    assert (relro.address + relro.memory_size) % 4096 == 0
    tls = one("PT_TLS")
    assert relro.address <= tls.address < relro.address + relro.memory_size


def test_debug_information_is_in_the_debuggers_copy_only(program: Builder) -> None:
    app = program("order.c")
    assert Elf.open(app.path).section(".debug_info") is None
    assert Elf.open(app.path.with_name("app.debug.o")).section(".debug_info") is not None


def test_unwind_table_has_no_terminator_in_the_middle(program: Builder) -> None:
    app = program("exceptions.cpp")
    elf = Elf.open(app.path)
    section = elf.section(".ukl.eh_frame")
    assert section is not None
    data, position = elf.content(section), 0
    while (size := int.from_bytes(data[position : position + 4], "little")) != 0:
        position += 4 + size
    assert set(data[position:]) == {0}
    assert len(data) - position <= 16
