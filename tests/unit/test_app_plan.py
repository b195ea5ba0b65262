# SPDX-License-Identifier: GPL-2.0
"""Plans of the app room: argument lists, script parts, and how messages are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.app import compile as plan
from ukl.app import link, sections
from ukl.base.errors import InputError
from ukl.elf.reader import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_TLS,
    SHF_WRITE,
    STB_GLOBAL,
    STB_WEAK,
    STT_TLS,
    Section,
    Symbol,
)

HERE = Path("/home/me/app")
TOOLS = link.Toolchain(
    cc="/usr/bin/gcc",
    cxx="/usr/bin/g++",
    ld="/usr/bin/ld",
    objcopy="/usr/bin/objcopy",
    identity="gcc 12; ld 2.40",
    crt_before=(Path("/l/crt1.o"),),
    crt_after=(Path("/l/crtn.o"),),
    runtime=(Path("/l/libc.a"),),
)


# --- compile ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "compiler"),
    [("a.c", "gcc"), ("a.cc", "g++"), ("a.cpp", "g++"), ("a.C", "g++"), ("a.S", "gcc")],
)
def test_compiler_by_suffix(name: str, compiler: str) -> None:
    assert plan.unit(HERE / name, HERE, (), "gcc", "g++").compiler == compiler


def test_our_flags_come_last() -> None:
    unit = plan.unit(HERE / "a.c", HERE, ("-O3", "-fPIC", "-mcmodel=large"), "gcc", "g++")
    flags = list(unit.flags)
    assert flags.index("-O2") < flags.index("-O3")
    assert flags.index("-fPIC") < flags.index("-fno-pic")
    assert flags.index("-mcmodel=large") < flags.index("-mcmodel=kernel")


def test_no_absolute_path_reaches_the_object() -> None:
    unit = plan.unit(HERE / ".." / "lib" / "a.c", HERE, (), "gcc", "g++")
    argv = unit.compile_argv(Path("/cache/out.o"), Path("/cache/out.d"))
    assert unit.source == "../lib/a.c"
    assert f"-ffile-prefix-map={HERE}=/ukl" in argv
    assert [word for word in argv if word.endswith("a.c")] == [
        "-frandom-seed=../lib/a.c",
        "../lib/a.c",
    ]


def test_plain_assembler_is_not_preprocessed() -> None:
    assert not plan.unit(HERE / "a.s", HERE, (), "gcc", "g++").preprocessed
    assert plan.unit(HERE / "a.S", HERE, (), "gcc", "g++").preprocessed


def test_dependencies_of_a_depfile() -> None:
    text = "out.o: main.c \\\n my\\ header.h /usr/include/stdio.h \\\n a$$b.h\n"
    assert list(plan.dependencies(text)) == [
        "main.c",
        "my header.h",
        "/usr/include/stdio.h",
        "a$b.h",
    ]


def test_included_binaries() -> None:
    text = b'.incbin "one.bin"\n__asm__(".incbin \\"two.bin\\"\\n"); .incbin "one.bin"'
    assert plan.included_binaries(text) == ("one.bin", "two.bin")


def test_an_error_keeps_its_place() -> None:
    output = (
        "a.c: In function 'main':\na.c:3:9: error: 'x' undeclared (first use)\n"
        "    3 |  x\na.c:9:1: error: expected ';'\n"
    )
    error = plan.explain(HERE / "a.c", output, None)
    assert error.where == "a.c:3:9"
    assert error.message == "'x' undeclared (first use)\na.c:9:1: expected ';'"
    assert error.remedy == plan.REMEDY


def test_an_error_without_a_place() -> None:
    error = plan.explain(HERE / "a.c", "cc1: error: bad value 'x' for '-march='\n", None)
    assert error.where == str(HERE / "a.c")
    assert "-march=" in error.message


def test_a_compiler_that_dies_without_a_word() -> None:
    error = plan.explain(HERE / "a.c", "", None)
    assert "no message" in error.message
    assert error.remedy == plan.REMEDY


# --- sections ---------------------------------------------------------------


def section(flags: int, kind: str = "SHT_PROGBITS") -> Section:
    return Section("s", kind, flags | SHF_ALLOC, 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (section(0), "rodata"),
        (section(0, "SHT_NOTE"), "rodata"),
        (section(SHF_EXECINSTR), "text"),
        (section(SHF_WRITE), "data"),
        (section(SHF_WRITE, "SHT_NOBITS"), "bss"),
        (section(SHF_WRITE | SHF_TLS), "tdata"),
        (section(SHF_WRITE | SHF_TLS, "SHT_NOBITS"), "tbss"),
    ],
)
def test_place_by_flags(given: Section, part: str) -> None:
    assert sections.part_of(given) == part


def test_writable_text_is_refused() -> None:
    with pytest.raises(InputError, match="writable and executable"):
        sections.part_of(section(SHF_WRITE | SHF_EXECINSTR))


def test_the_first_pass_has_empty_parts() -> None:
    parts = sections.parts(None)
    assert set(parts) == {f"own-{name}.lds" for name in sections.PARTS}
    assert {name for name, text in parts.items() if text} == {"own-symbols.lds"}
    assert "*(.note.GNU-stack)" in parts["own-symbols.lds"]


def symbol(name: str, binding: int, kind: int = 0, index: int = 0) -> Symbol:
    return Symbol(name, 0, 0, kind, binding, index)


def test_undefined_names_are_sorted_out() -> None:
    symbols = [
        symbol("zebra", STB_GLOBAL),
        symbol("ant", STB_GLOBAL),
        symbol("there", STB_GLOBAL, index=3),
        symbol("ukl_syscall", STB_GLOBAL),
        symbol("perhaps", STB_WEAK),
        symbol("__rela_iplt_start", STB_WEAK),
        symbol("local_to_thread", STB_WEAK, STT_TLS),
    ]
    assert sections.missing_names(symbols) == ("ant", "zebra")
    assert sections.null_names(symbols) == ("perhaps",)


# --- link -------------------------------------------------------------------


def inputs() -> link.Inputs:
    objects, libraries = (Path("/o/a.o"), Path("/o/b.o")), (Path("/l/libm.a"),)
    return link.Inputs(objects, libraries, Path("/o/crt.o"))


def test_order_of_the_partial_link() -> None:
    words = link.ld_inputs(TOOLS, inputs())
    argv = link.partial_argv("ld", words, script=Path("s"), parts=Path("p"), output=Path("o"))
    files = argv[argv.index("/l/crt1.o") :]
    assert files == [
        "/l/crt1.o",
        "/o/crt.o",
        "/o/a.o",
        "/o/b.o",
        "--start-group",
        "/l/libm.a",
        "/l/libc.a",
        "--end-group",
        "/l/crtn.o",
    ]


def test_names_that_the_kernels_scripts_look_for_are_renamed() -> None:
    argv = link.localise_argv("objcopy", Path("a"), Path("b"))
    for name in ("_end", "_etext", "__bss_start"):
        assert f"--redefine-sym={name}=ukl_app_{name}" in argv
    assert "--keep-global-symbol=ukl_app_start" in argv


def test_who_wants_a_symbol() -> None:
    output = (
        "/usr/bin/ld: /c/1/out.o: reference to lost\n"
        "ld: /l/libx.a(y.o): reference to lost\n/l/libx.a(y.o): reference to gone\n"
        "/l/libx.a(z.o): definition of main\n"
    )
    used_by = link.referrers(output, ("lost", "gone", "main"), {"/c/1/out.o": "main.c"})
    assert used_by == {"lost": "main.c", "gone": "/l/libx.a(y.o)"}


def test_two_definitions() -> None:
    output = (
        "/usr/bin/ld: /c/2/out.o: in function `f':\n"
        "b.c:(.text+0x0): multiple definition of `f'; /c/1/out.o:a.c:(.text+0x0): "
        "first defined here\n"
        "/usr/bin/ld: /c/2/out.o:(.data+0x0): multiple definition of `v'; "
        "/c/1/out.o:(.data+0x0): first defined here\n"
    )
    error = link.explain(output, {"/c/1/out.o": "a.c", "/c/2/out.o": "b.c"}, None)
    assert error.message == "`f` is defined twice: in a.c and in b.c; so are `v`"


def test_a_start_of_its_own_is_explained_where_it_is() -> None:
    output = (
        "/usr/bin/ld: /c/1/out.o: in function `_start':\n"
        "/ukl/sub/a.c:3: multiple definition of `_start'; "
        "/usr/lib/x86_64-linux-gnu/crt1.o:(.text+0x0): first defined here\n"
    )
    error = link.explain(output, {"/c/1/out.o": "sub/a.c"}, None)
    assert error.where == "sub/a.c:3"
    assert error.message == (
        "`_start` is defined twice: in /usr/lib/x86_64-linux-gnu/crt1.o and in sub/a.c:3"
    )
    assert "-nostdlib" in str(error.remedy)


def test_many_undefined_symbols_are_cut() -> None:
    names = tuple(f"name{number}" for number in range(9))
    error = link.undefined(names, {"name0": "a.c"}, None, Path("ukl.toml"), None)
    assert "`name0` (used by a.c), `name1`" in error.message
    assert error.message.endswith("and 4 more")


def test_a_known_library_names_its_package() -> None:
    error = link.missing_library("ssl", Path("/usr/lib/libssl.so"), Path("ukl.toml"))
    assert "shared object only" in error.message
    assert error.remedy is not None
    assert error.remedy.endswith("libssl-dev")


@pytest.mark.parametrize(
    ("text", "flags", "alone"),
    [
        (b"#define A 1\n\tmov $A, %eax\n", ("-O2",), True),
        (b'#include "a.h"\n', (), False),
        (b"#if __has_include(<a.h>)\n#endif\n", (), False),
        (b'\t.incbin "a"\n', (), True),
        (b"int a;\n", ("-include", "a.h"), False),
        (b"int a;\n", ("-imacros=a.h",), False),
    ],
)
def test_what_needs_no_preprocessor_for_its_key(
    text: bytes, flags: tuple[str, ...], alone: bool
) -> None:
    assert plan.is_alone(text, flags) is alone
