# SPDX-License-Identifier: GPL-2.0
"""Build systems that know nothing of us link programs with the compiler wrapper."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OPTIONAL
from tests.processes import without_locking
from ukl.app import captured
from ukl.base.errors import InputError
from ukl.base.model import AppObject
from ukl.base.progress import Progress
from ukl.host.store import Store
from ukl.settings import manifest
from ukl.wrap import settings

Run = Callable[..., "subprocess.CompletedProcess[str]"]

MAIN = (
    '#include <stdio.h>\nint part(void);\nint main(void) { printf("%d\\n", part()); return 0; }\n'
)
PART = "int part(void) { return 42; }\n"
CXX = (
    '#include <iostream>\nextern "C" int part(void);\n'
    "int main() { try { throw part(); } catch (int n) { std::cout << n << std::endl; } }\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    for name, text in (("main.c", MAIN), ("part.c", PART), ("main.cpp", CXX)):
        (directory / name).write_text(text)
    return directory


@pytest.fixture
def run(project: Path, store: Store) -> Run:
    """Return a function that runs a command in the project, in the environment of `ukl wrap`."""

    def run(*argv: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "UKL_CACHE_DIR": str(store.root)}
        environment |= {**settings.environment(store=store), "LC_ALL": "C.UTF-8", **env}
        done = subprocess.run(
            argv, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def taken(program: Path, store: Store, *, populate: bool = False) -> AppObject:
    """Return the application that `ukl run PROGRAM` would boot."""
    spec = replace(manifest.resolve(str(program)), populate=populate)
    return captured.build(spec, store, Progress.quiet())


def output(program: Path) -> str:
    return subprocess.run(
        [program], cwd=program.parent, capture_output=True, text=True, check=True
    ).stdout


def recorded(program: Path) -> dict[str, Any]:
    content = json.loads(captured.facts_path(program).read_text())
    assert isinstance(content, dict)
    return content


def works(program: Path, store: Store, text: str = "42\n") -> None:
    """Check the normal program, and the one made from the object for the kernel."""
    assert output(program) == text
    app = taken(program, store)
    assert output(app.user) == text
    assert app.facts.text_size
    refused = without_locking(taken(program, store, populate=True).user)
    assert (refused.returncode, refused.stdout) == (126, ""), refused


def test_make_that_calls_gcc_by_its_name(project: Path, run: Run, store: Store) -> None:
    (project / "Makefile").write_text(
        "CC = gcc\nprog: main.o libpart.a\n\t$(CC) -o $@ main.o -L. -lpart\n"
        "libpart.a: part.o\n\tar rcs $@ $^\n"
    )
    done = run("make")
    assert "ukl" not in done.stderr
    works(project / "prog", store)
    content = recorded(project / "prog")
    assert content["object"] == "prog.ukl.o"
    packages = {row["path"].rpartition("/")[2]: row["package"] for row in content["libraries"]}
    assert packages["libpart.a"] is None
    assert packages["libc.a"] in {"libc6-dev", None}
    assert "main.o" in content["inputs"]


def test_configure_script_with_probes(project: Path, run: Run, store: Store) -> None:
    (project / "configure").write_text(
        "#!/bin/sh\nset -e\necho 'int main(void) { return 0; }' >conftest.c\n"
        "$CC -o conftest conftest.c\n./conftest\n$CC conftest.c\n./a.out\nls conftest* a.out*\n"
        "$CC -fPIE -pie -o prog main.c part.c\n"
    )
    done = run("sh", "configure")
    assert done.stdout.split() == ["a.out", "conftest", "conftest.c"]
    works(project / "prog", store)


def test_cmake(project: Path, run: Run, store: Store) -> None:
    for program in ("cmake", "g++"):
        if not shutil.which(program):
            pytest.skip(f"{OPTIONAL} no {program} on this machine")
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(toy C CXX)\n"
        "find_package(Threads REQUIRED)\nadd_library(part part.c)\n"
        "add_executable(prog main.cpp)\ntarget_link_libraries(prog part Threads::Threads)\n"
    )
    run("cmake", "-S", ".", "-B", "out", "-G", "Unix Makefiles")
    run("cmake", "--build", "out")
    works(project / "out" / "prog", store)
    assert len(list(project.rglob("*.ukl.o"))) == 1


def test_meson(project: Path, run: Run, store: Store) -> None:
    if not shutil.which("meson") or not shutil.which("ninja"):
        pytest.skip(f"{OPTIONAL} no meson on this machine")
    (project / "meson.build").write_text(
        "project('toy', 'c', 'cpp')\nexecutable('prog', 'main.cpp',"
        " link_with: library('part', 'part.c'), dependencies: dependency('threads'))\n"
    )
    run("meson", "setup", "--native-file", "ukl", "out")
    run("meson", "compile", "-C", "out")
    works(project / "out" / "prog", store)
    assert len(list(project.rglob("*.ukl.o"))) == 1


FORTRAN = "program prog\n  print '(i0)', 42\nend program\n"
ADA = (
    "with Ada.Text_IO;\nprocedure Prog is\n   task T;\n"
    '   task body T is begin Ada.Text_IO.Put_Line ("42"); end T;\nbegin null; end Prog;\n'
)
D = 'extern(C): int puts(const char*);\nint main() { puts("42"); return 0; }\n'


@pytest.mark.parametrize(
    ("tool", "command"),
    [
        ("gfortran", "gfortran -O2 prog.f90 -o prog"),
        ("gfortran", "$FC -pie prog.f90 -o prog"),
        ("gfortran-12", "gfortran-12 -c prog.f90; gcc-12 prog.o -lgfortran -lquadmath -lm -o prog"),
        ("gnatmake", "gnatmake -q prog.adb"),
        ("gnatbind", "gcc -c prog.adb; gnatbind prog; gnatlink prog"),
        # Debian's libgphobos.a is not for static programs: without the runtime.
        ("gdc", "gdc -fno-druntime prog.d -o prog"),
        ("gdc-12", "gdc-12 -fno-druntime -c prog.d; gdc-12 -fno-druntime prog.o -o prog"),
        ("gcc-12", "gcc-12 main.c part.c -o prog"),
        ("clang-14", "clang-14 main.c part.c -o prog"),
        ("gcc", "gcc -pg main.c part.c -o prog"),  # gcrt1.o has undefined names that nothing uses
        ("c99", "c99 main.c part.c -o prog"),
    ],
)
def test_drivers_by_their_names(
    project: Path, run: Run, store: Store, tool: str, command: str
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{OPTIONAL} no {tool} on this machine")
    (project / "prog.f90").write_text(FORTRAN)
    (project / "prog.adb").write_text(ADA)
    (project / "prog.d").write_text(D)
    run("sh", "-ec", command)
    works(project / "prog", store)


@pytest.mark.parametrize("linker", ["", "-fuse-ld=lld"])
def test_clang(project: Path, run: Run, store: Store, linker: str) -> None:
    if not shutil.which("clang") or (linker and not shutil.which("ld.lld")):
        pytest.skip(f"{OPTIONAL} no clang or lld on this machine")
    clang = {"UKL_CC_COMPILER": "clang", "UKL_CXX_COMPILER": "clang++"}
    run("ukl-cc", "-Werror", "-flto", "-O2", "-c", "part.c", **clang)
    words = ["-Werror", "-O2", "-pie", *filter(None, [linker])]
    run("ukl-c++", *words, "main.cpp", "part.o", "-o", "prog", **clang)
    works(project / "prog", store)


def test_options_of_the_link_reach_the_partial_one(project: Path, run: Run, store: Store) -> None:
    (project / "wrapper.c").write_text(
        "int __real_part(void);\nint __wrap_part(void) { return __real_part() + 1; }\n"
    )
    (project / "extra.c").write_text(
        "#include <stdio.h>\n"
        '__attribute__((constructor)) static void first(void) { printf("first "); }\n'
    )
    for name in ("main", "part", "wrapper", "extra"):
        run("gcc", "-O2", "-c", f"{name}.c")
    run("ar", "rcs", "libextra.a", "extra.o")
    (project / "words").write_text(
        "main.o part.o wrapper.o -Wl,--wrap=part\n"
        "-Wl,--whole-archive libextra.a -Wl,--no-whole-archive"
    )
    run("gcc", "-o", "prog", "@words")
    works(project / "prog", store, "first 43\n")


def test_other_uses_of_the_compiler(project: Path, run: Run) -> None:
    assert run("ukl-cc", "-dumpmachine").stdout == run("/usr/bin/gcc", "-dumpmachine").stdout
    run("sh", "-c", "echo 'int x;' | ukl-cc -x c -c - -o x.o")
    run("ukl-cc", "-fPIC", "-shared", "part.c", "-o", "libpart.so")
    run("ukl-cc", "-c", "part.c")
    run("ukl-cc", "-r", "part.o", "x.o", "-o", "both.o")
    assert "puts" in run("sh", "-c", "echo '#include <stdio.h>' | ukl-cc -E -").stdout
    run("sh", "-c", "$LD -r part.o x.o -o both.o")
    (project / "bare.c").write_text("void _start(void) { for (;;); }\n")
    run("ukl-cc", "-c", "bare.c")
    assert run("sh", "-c", "$LD bare.o -o bare").stderr == ""
    assert not list(project.glob("*.ukl.*"))
    assert run("ukl-cc", "-c", "absent.c", check=False).returncode == 1


def test_sanitizers(project: Path, run: Run, store: Store) -> None:
    run("gcc", "-fsanitize=address", "-c", "part.c")
    for words in (["-fsanitize=address"], ["-fsanitize=undefined,thread"], ["@words"]):
        (project / "words").write_text("-fsanitize=leak")
        done = run("gcc", *words, "main.c", "part.c", "-o", "prog", check=False)
        assert done.returncode == 1
        assert "is not possible" in done.stderr
        assert "-fsanitize=undefined works" in done.stderr
        assert "-static" not in done.stderr
    run("gcc", "-fsanitize=undefined", "main.c", "part.c", "-o", "prog")
    works(project / "prog", store)


def test_missing_compiler(run: Run) -> None:
    done = run("ukl-cc", "-c", "part.c", check=False, UKL_CC_COMPILER="no-such-cc")
    assert done.returncode == 3
    assert "no-such-cc" in done.stderr


def test_library_that_is_shared_only(project: Path, run: Run) -> None:
    run("ukl-cc", "-fPIC", "-shared", "part.c", "-o", "libpart.so")
    for words in (["-L.", "-lpart"], ["./libpart.so"]):
        done = run("ukl-cc", "main.c", *words, "-o", "prog", check=False)
        assert done.returncode == 1
        assert "`part` is installed as a shared object only" in done.stderr
        assert "remedy:" in done.stderr
    run("ukl-cc", "-c", "part.c")
    run("ar", "rcs", "libpart.a", "part.o")
    assert run("ukl-cc", "main.c", "./libpart.so", "-o", "prog").returncode == 0


def test_program_without_unikernel_form(project: Path, run: Run, store: Store) -> None:
    (project / "low.c").write_text(
        "void take(void (*)(void));\nstatic void callee(void) {}\nvoid (*keep)(void);\n"
        "void take(void (*f)(void)) { keep = f; }\n"
        "int main(void) { take(callee); return 0; }\n"
    )
    run("/usr/bin/gcc", "-O0", "-fno-pie", "-mcmodel=small", "-c", "low.c")
    done = run("ukl-cc", "low.o", "-o", "prog")
    assert output(project / "prog") == ""
    assert done.stderr.count("no unikernel form") == 1
    with pytest.raises(InputError, match="`callee` in 32 unsigned bits") as caught:
        taken(project / "prog", store)
    assert caught.value.remedy is not None
    assert "-fPIC" in caught.value.remedy
    # The next link that succeeds takes the reason away.
    run("ukl-cc", "main.c", "part.c", "-o", "prog")
    works(project / "prog", store)


def test_program_that_was_moved_and_stripped(project: Path, run: Run, store: Store) -> None:
    run("ukl-cc", "-g", "main.c", "part.c", "-o", "prog")
    installed = project / "installed" / "server"
    installed.parent.mkdir()
    run("install", "-s", "prog", str(installed))
    works(installed, store)
    assert manifest.resolve(str(installed)).name == "server"
    (project / "part.c").write_text("int part(void) { return 43; }\n")
    run("ukl-cc", "main.c", "part.c", "-o", "prog")
    works(project / "prog", store, "43\n")
    run("cp", str(installed), "prog")  # an older program beside a newer object
    with pytest.raises(InputError):
        captured.find(project / "prog", Store(project / "empty"))


def test_form_of_a_temporary_program_is_in_the_cache(project: Path, run: Run, store: Store) -> None:
    before = set(project.iterdir())
    run("sh", "-ec", "ukl-cc main.c part.c -o tmp.Xy12; ./tmp.Xy12; rm tmp.Xy12")
    assert set(project.iterdir()) == before
    run("sh", "-ec", "ukl-cc main.c part.c -o prog.tmp; mv prog.tmp prog")
    assert set(project.iterdir()) == {*before, project / "prog"}
    works(project / "prog", store)


def test_program_whose_first_place_is_gone(project: Path, run: Run, store: Store) -> None:
    for place in ("build", "go-build1"):  # go deletes the second one when it has moved the program
        (project / place).mkdir()
        run("ukl-cc", "main.c", "part.c", "-o", f"{place}/prog.test")
        (project / place / "prog.test").rename(project / "prog")
        shutil.rmtree(project / place)
    works(project / "prog", store)


@pytest.mark.parametrize(("name", "same"), [(".go.fipsinfo", True), (".another", False)])
def test_what_go_writes_after_the_link(
    project: Path, run: Run, store: Store, name: str, *, same: bool
) -> None:
    section = f'__attribute__((section("{name}"), used)) static char sum[8] = "before";'
    (project / "part.c").write_text(f"{section}\n{PART}")
    run("ukl-cc", "main.c", "part.c", "-o", "prog")
    (project / "sum").write_bytes(b"later!!\0")
    run("objcopy", "--update-section", f"{name}=sum", "prog")
    assert b"later!!" in (project / "prog").read_bytes()
    if same:
        works(project / "prog", store)
    else:
        with pytest.raises(InputError, match="different links"):
            captured.find(project / "prog", store)


def test_program_of_another_compiler(project: Path, run: Run, store: Store) -> None:
    run("/usr/bin/gcc", "main.c", "part.c", "-o", "prog")
    with pytest.raises(InputError, match="not linked by ukl-cc") as caught:
        taken(project / "prog", store)
    assert caught.value.remedy is not None
    assert "ukl wrap" in caught.value.remedy


def test_the_object_itself_is_taken(project: Path, run: Run, store: Store) -> None:
    run("ukl-cc", "main.c", "part.c", "-o", "prog")
    app = taken(project / "prog.ukl.o", store)
    assert output(app.user) == "42\n"
    assert app.name == "prog"
    (project / "ukl.toml").write_text('[app]\nname = "named"\nprogram = "prog"\n')
    assert manifest.load(project).program == project / "prog"


def test_script_that_libtool_puts_in_the_place_of_the_program(
    project: Path, run: Run, store: Store
) -> None:
    (project / ".libs").mkdir()
    run("ukl-cc", "-fPIC", "-shared", "part.c", "-o", ".libs/libpart.so")
    run("ukl-cc", "-fPIC", "-c", "part.c")
    run("ar", "rcs", ".libs/libpart.a", "part.o")
    run("ukl-cc", "main.c", "./.libs/libpart.so", "-Wl,-rpath", "-Wl,/x", "-o", ".libs/prog")
    (project / "prog").write_text("#!/bin/sh\nexec .libs/prog\n")
    assert output(taken(project / "prog", store).user) == "42\n"
    (project / "other").write_text("#!/bin/sh\n")
    with pytest.raises(InputError, match="nor a program"):
        manifest.resolve(str(project / "other"))


def test_same_inputs_give_the_same_object(project: Path, run: Run) -> None:
    run("ukl-cc", "-c", "main.c")
    run("ukl-cc", "-c", "part.c")
    made = []
    for _ in range(2):
        run("ukl-cc", "main.o", "part.o", "-o", "prog")
        made.append((project / "prog.ukl.o").read_bytes())
    assert made[0] == made[1]


def test_go(project: Path, run: Run, store: Store) -> None:
    if not shutil.which("go"):
        pytest.skip(f"{OPTIONAL} no go on this machine")
    for path in project.glob("*.c*"):
        path.unlink()
    (project / "go.mod").write_text("module example.org/prog\n\ngo 1.19\n")
    (project / "main.go").write_text(
        'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println(42) }\n'
    )
    run("go", "build", "-o", "prog", ".", GOCACHE=str(project / "cache"))
    works(project / "prog", store)
    (project / "main_test.go").write_text(
        'package main\n\nimport (\n"fmt"\n"testing"\n)\n\n'
        "func TestMain(m *testing.M) { fmt.Println(42) }\n"
    )
    run("go", "test", "-c", "-o", "tests", ".", GOCACHE=str(project / "cache"))
    works(project / "tests", store)


def test_rust(project: Path, run: Run, store: Store) -> None:
    if not shutil.which("cargo"):
        pytest.skip(f"{OPTIONAL} no cargo on this machine")
    (project / "src").mkdir()
    (project / "src" / "main.rs").write_text(
        "fn main() {\n    let caught = std::panic::catch_unwind(|| panic!());\n"
        '    println!("{}", if caught.is_err() { 42 } else { 0 });\n}\n'
    )
    (project / "Cargo.toml").write_text(
        '[package]\nname = "prog"\nversion = "0.1.0"\nedition = "2021"\n'
    )
    run("cargo", "build", "--offline", "--release")
    works(project / "target" / "release" / "prog", store)
