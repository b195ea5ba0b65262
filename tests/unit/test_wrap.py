# SPDX-License-Identifier: GPL-2.0
"""What the compiler wrapper makes of arguments: the compiler's, the linker's, the environment's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TOP
from ukl.base import pkgconfig
from ukl.base.cflags import (
    CANARY,
    KERNEL_MODEL,
    NO_LTO,
    NO_RED_ZONE,
    refused_sanitizers,
    sanitizers,
)
from ukl.host.store import Store
from ukl.wrap import arguments, driver, ld_arguments, linker, settings

OURS = [*NO_RED_ZONE, *CANARY, *NO_LTO]


def plan(text: str, *, clang: bool = False, **files: str) -> tuple[list[str], bool]:
    return arguments.plan(text.split(), clang=clang, linkers="/l", read=files.get)


@pytest.mark.parametrize(
    "text",
    [
        "-v",
        "--version",
        "-dumpmachine",
        "-print-file-name=libc.a",
        "--print-prog-name ld",
        "-m32 -c a.c",
        "-cc1 -triple x",
        "",
        "-O2 -Wall",
        "--target=aarch64-linux-gnu -c a.c",
        "-target aarch64-linux-gnu a.c",
    ],
)
def test_questions_stay_as_they_are(text: str) -> None:
    assert plan(text) == (text.split(), False)


@pytest.mark.parametrize(
    "text",
    ["-c a.c", "-S a.c", "-E a.c", "-M a.c", "-fsyntax-only a.c", "-c -x c -", "-O2 -c a.c -o a.o"],
)
def test_compilation_gets_the_flags_behind(text: str) -> None:
    assert plan(text) == ([*text.split(), *OURS, *KERNEL_MODEL], False)


@pytest.mark.parametrize("text", ["a.h", "-x c++-header all.hpp -o all.gch"])
def test_precompiled_header_is_no_link(text: str) -> None:
    assert not plan(text)[1]


@pytest.mark.parametrize(
    ("text", "pic"),
    [
        ("-fPIC -c a.c", True),
        ("-fPIE -fpic -c a.c", True),
        ("-fPIC -fno-PIC -c a.c", False),
        ("-fPIC -fPIE -c a.c", False),
        ("-fPIE -c a.c", False),
    ],
)
def test_position_independent_code_has_no_model(text: str, *, pic: bool) -> None:
    words, _ = plan(text)
    assert ("-mcmodel=kernel" in words) is not pic
    assert "-mno-red-zone" in words


@pytest.mark.parametrize("text", ["a.o -o prog", "a.c", "-o a -lfoo a.o", "-l foo", "a.c -xnone"])
def test_link_is_static_and_runs_our_linker(text: str) -> None:
    words, links = plan(text)
    assert links
    # A -B of the caller's (rustc has one) must not come first.
    assert words[0] == "-B/l/"
    assert words[-2:] == ["-no-pie", "-static"]


@pytest.mark.parametrize(
    "text", ["-shared a.o -o a.so", "-r a.o b.o -o c.o", "-Wl,-r a.o", "-Xlinker -shared a.o"]
)
def test_links_that_make_no_program(text: str) -> None:
    words, links = plan(text)
    assert not links
    assert "-static" not in words
    assert "-mcmodel=kernel" not in words


@pytest.mark.parametrize("option", ["-pie", "-static-pie", "-flto", "-flto=auto", "-Wl,-pie"])
def test_other_kinds_of_program_are_left_out(option: str) -> None:
    words, links = plan(f"{option} a.c -o a")
    assert option not in words
    assert links


def test_clang_gets_nothing_that_it_would_not_use() -> None:
    assert plan("a.o -o a", clang=True) == (["-B/l/", "a.o", "-o", "a", "-static"], True)
    assert "-static" not in plan("-c a.c", clang=True)[0]


def test_sanitizers() -> None:
    assert sanitizers(["-O2", "-fsanitize=undefined,leak", "-fno-sanitize=leak"]) == ["undefined"]
    assert sanitizers(["-fsanitize=bounds", "-fno-sanitize=all"]) == []
    assert refused_sanitizers(["-fsanitize=undefined"]) == ""
    text = refused_sanitizers(["-fsanitize=address,undefined", "-fsanitize=thread"])
    assert text.startswith("-fsanitize=address,thread is not possible: ")


def test_values_are_no_inputs() -> None:
    assert plan("-MF a.c -o b.c -include x.h")[0] == ["-MF", "a.c", "-o", "b.c", "-include", "x.h"]
    assert not plan("-c a.c -o -shared")[1]


def test_response_file_is_read_and_kept() -> None:
    words, links = plan("@all", all="a.o -lfoo\n'b c.o'")
    assert links
    assert "@all" in words
    words, _ = plan("@all", all="a.o -pie @more", more="-lm")
    assert words[1:3] == ["a.o", "-lm"]
    assert not plan("@all", all="-c a.c")[1]
    assert plan("@absent")[0][1] == "@absent"


def test_words_of_a_response_file() -> None:
    assert arguments.split("a 'b c' \"d\\\" e\" f\\ g '' \n h") == [
        "a",
        "b c",
        'd" e',
        "f g",
        "",
        "h",
    ]


# --- ld ---------------------------------------------------------------------

GCC = (
    "-plugin p.so -plugin-opt=x --build-id -m elf_x86_64 --as-needed -static -o prog"
    " /l/crt1.o /l/crti.o /g/crtbeginT.o -L/g -Ldir main.o --whole-archive libw.a"
    " --no-whole-archive --wrap=malloc --start-group -lgcc -lgcc_eh -lc --end-group"
    " /g/crtend.o /l/crtn.o"
)


def link(text: str) -> ld_arguments.Link:
    return ld_arguments.Link(text.split())


def test_what_a_link_makes() -> None:
    assert link(GCC).output == "prog"
    assert link(GCC).program
    assert link(GCC).static
    assert link("a.o").output == "a.out"
    assert link("-oprog a.o").output == "prog"
    assert link("--output=prog a.o").output == "prog"
    for text in ("-r a.o", "-shared a.o", "-Bshareable a.o", "--version", "-v", "-export-dynamic"):
        assert not link(text).program, text
    assert link("-export-dynamic -rpath -r -soname -shared -z now a.o").program


def test_partial_link_keeps_order_and_exchanges_the_start_files() -> None:
    words, left = ld_arguments.partial_inputs(link(GCC), "/t/crt.o", lambda path: False)
    expected = (
        "-m elf_x86_64 /l/crt1.o /l/crti.o /g/crtbeginS.o /t/crt.o -L/g -Ldir main.o"
        " --whole-archive libw.a --no-whole-archive --wrap=malloc"
        " --start-group -lgcc -lgcc_eh -lc --end-group /g/crtendS.o /l/crtn.o"
    )
    assert words == expected.split()
    assert "-plugin" in left
    assert "--as-needed" in left


def test_program_without_start_files_gets_ours() -> None:
    words, _ = ld_arguments.partial_inputs(link("-static a.o"), "/t/crt.o", lambda path: False)
    assert words == ["/t/crt.o", "a.o"]


def test_static_link_asks_for_nothing_shared() -> None:
    text = "-static -pie -Bdynamic a.o --fatal-warnings /x/libz.so /x/liby.so.1.2 -l:libw.so.3"
    words = ld_arguments.static_arguments(link(text), lambda path: path == "/x/libz.a")
    assert words == ["-static", "a.o", "/x/libz.a", "/x/liby.so.1.2", "-l:libw.a"]


def test_an_archive_brings_those_that_it_refers_to() -> None:
    needed = {"crypto": ["z", "zstd"]}
    text = "-static a.o -lssl -lcrypto -lc /usr/lib/libcrypto.so crtend.o"
    words = ld_arguments.static_arguments(
        link(text), lambda path: True, lambda library: needed.get(library, ())
    )
    assert " ".join(words).startswith(
        "-static a.o -lssl -lcrypto -lz -lzstd -lc /usr/lib/libcrypto.a -lz -lzstd "
    )


PC_FILES = {
    "libssl": "Requires.private: libcrypto\nLibs: -L${libdir} -lssl\n",
    "libcrypto": "a=b\nLibs: -lcrypto\nLibs.private: -lz -lzstd -ldl -pthread\n",
    "libzstd": "Libs: -lzstd\nLibs.private: -lother\n",
    "liblz4": "Libs: -llz4 -lxxhash\n",
    "circle": "Requires: circle, libssl\nLibs: -lcircle\n",
}


@pytest.mark.parametrize(
    ("library", "needed"),
    [
        ("ssl", ["crypto", "z", "zstd", "other"]),
        ("crypto", ["z", "zstd", "other"]),
        ("lz4", ["xxhash"]),
        ("xxhash", []),
        ("circle", ["ssl", "crypto", "z", "zstd", "other"]),
        ("unknown", []),
    ],
)
def test_what_an_archive_refers_to(library: str, needed: list[str]) -> None:
    table = pkgconfig.Table(PC_FILES)
    assert table.needed(library, lambda path: True) == needed


def test_an_archive_that_is_not_installed_is_not_asked_for() -> None:
    table = pkgconfig.Table(PC_FILES)
    there = {"/usr/lib/x86_64-linux-gnu/libz.a"}
    assert table.needed("crypto", there.__contains__) == ["z"]


def test_rusts_list_is_closed_by_the_group() -> None:
    text = "-static a.o -lgcc_s -lc crtend.o crtn.o"
    words = ld_arguments.static_arguments(link(text), lambda path: False)
    closed = "-static a.o -lgcc_eh -lgcc -lc --start-group -lgcc -lgcc_eh -lc --end-group"
    assert words == [*closed.split(), "crtend.o", "crtn.o"]
    assert ld_arguments.static_arguments(link(GCC), lambda path: False).count("-lc") == 1


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("libz.so", "libz.a"),
        ("/a/libz.so.1.2.13", "/a/libz.a"),
        ("libz.a", None),
        ("my.source.o", None),
    ],
)
def test_archive_of_a_shared_object(name: str, archive: str | None) -> None:
    assert ld_arguments.archive_of(name) == archive


def test_probes() -> None:
    patterns = linker.probes({})
    for name in (
        "conftest",
        "/b/conftest",
        "CMakeFiles/x/cmTC_1a2b3",
        "a.out",
        "b/meson-private/tmp1/output.exe",
        "target/release/build/x-1/build_script_build-1",
        "/tmp/ffconf.a1b2c3/test",
        "objs/autotest",
        ".conf_check_1/testprog",
    ):
        assert ld_arguments.is_probe(name, patterns), name
    for name in ("prog", "conftests", "/tmp/go-build1/b001/exe/a.out", "meson-private", "x.test"):
        assert not ld_arguments.is_probe(name, patterns), name
    skips = linker.probes({"UKL_WRAP_SKIP": "gen:helper-*:*.test"})
    assert ld_arguments.is_probe("helper-3", skips)
    assert ld_arguments.is_probe("/tmp/go-build1/b001/sync.test", skips)


def test_what_a_build_moves_away_is_known() -> None:
    for name in ("/tmp/go-build1/b001/exe/a.out", "/tmp/go-build1/b001/sync.test"):
        assert ld_arguments.is_temporary(name), name
    for name in ("tmp.Ab3dE", "/src/tmp.Ab3dE", "out/prog.tmp", ".tmp_prog.1"):
        assert ld_arguments.is_temporary(name), name
        assert not ld_arguments.is_probe(name, linker.probes({})), name
    for name in ("a.out", "/src/sync.test", "/tmp/go-build1/b001/_cgo_.o", "tmp/prog"):
        assert not ld_arguments.is_temporary(name), name
    assert linker.probes({"UKL_WRAP_ALL": "1"}) == []


# --- environment --------------------------------------------------------------


def test_environment_has_us_in_front_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = settings.environment({"PATH": "/usr/bin:/bin"}, store)
    again = settings.environment({**first}, store)
    assert again["PATH"] == first["PATH"]
    assert first["PATH"].endswith(":/usr/bin:/bin")
    assert first["PATH"].startswith(f"{settings.BIN}:")
    assert driver.without_wrappers(first["PATH"]) == "/usr/bin:/bin"
    for name in ("CC", "CXX", "CMAKE_TOOLCHAIN_FILE"):
        assert Path(first[name]).is_file()
    assert first["XDG_DATA_DIRS"] == f"{settings.SHARE}:/usr/local/share:/usr/share"


def test_the_compiler_behind_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UKL_CC_COMPILER", raising=False)
    assert driver.command("ukl-cc") == driver.command("cc") == ["gcc"]
    assert driver.command("ukl-c++") == ["g++"]
    monkeypatch.setenv("UKL_CC_COMPILER", "ccache clang")
    assert driver.command("cc") == ["ccache", "clang"]
    assert driver.command("gcc") == ["gcc"]


WRAPPED = [
    *(
        "cc",
        "c++",
        "c99",
        "gcc",
        "g++",
        "gcc-12",
        "gcc-4.9",
        "gfortran",
        "gfortran-12",
        "g77",
        "f77",
    ),
    *("x86_64-linux-gnu-g++-12", "x86_64-pc-linux-gnu-gcc", "gdc-12", "gccgo-12", "gnatmake-12"),
    *("clang", "clang++", "clang++-14", "musl-gcc", "x86_64-linux-musl-gcc"),
    *("x86_64-redhat-linux-gcc", "x86_64-conda-linux-gnu-gfortran", "musl-clang", "gm2"),
]
OTHERS = [
    *("gcc-ar", "gcc-nm-12", "gcov", "clang-format", "clang-cpp-14", "aarch64-linux-gnu-gcc"),
    *("x86_64-w64-mingw32-gcc", "x86_64-linux-gnux32-gcc", "x86_64-elf-gcc"),
]


def test_every_driver_of_the_families_is_wrapped(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (*WRAPPED, *OTHERS):
        (tools / name).touch(0o755)
    store = Store(tmp_path / "cache")
    made = settings.environment({"PATH": f"{tools}:/absent"}, store)
    directory = Path(made["PATH"].split(":")[2])
    assert {path.name for path in directory.iterdir()} == set(WRAPPED)
    assert {path.resolve() for path in directory.iterdir()} == {settings.BIN / "ukl-cc"}
    assert made["FC"] == made["F77"] == str(directory / "gfortran")
    assert settings.environment({**made}, store)["PATH"] == made["PATH"]
    assert driver.without_wrappers(made["PATH"]) == f"{tools}:/absent"
    assert "FC" not in settings.environment({"PATH": "/absent"}, store)


def test_gnats_tools_call_the_wrapper() -> None:
    assert driver.gnat("gnatmake-12", ["-O2", "a.adb"], "/w") == [
        "--GCC=/w/gcc-12",
        "--GNATLINK=gnatlink-12 --GCC=/w/gcc-12",
        *("-O2", "a.adb", "-bargs", "-static"),
    ]
    assert driver.gnat("gnatlink", ["a"], "/w") == ["--GCC=/w/gcc", "a"]
    assert driver.gnat("gnatbind", ["-x", "a"], "/w") == ["-x", "a", "-static"]


@pytest.mark.process
def test_start_imports_next_to_nothing() -> None:
    code = (
        "import os, sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]);"
        "from ukl.wrap import driver, linker; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, TOP / "src"], capture_output=True, text=True, check=True
    )
    assert all(name.startswith("ukl") for name in done.stdout.split()), done.stdout
