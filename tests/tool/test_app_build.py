# SPDX-License-Identifier: GPL-2.0
"""Building applications: the cache, reproducible bytes, and what goes wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ukl.app import sections, toolchain
from ukl.app.build import build
from ukl.base.cflags import UKL_FLAGS
from ukl.base.errors import ExitCode, InputError, UklError
from ukl.base.model import AppObject, AppSpec
from ukl.base.progress import Progress
from ukl.elf.reader import Elf
from ukl.host.store import Store

HELLO = '#include <stdio.h>\n#include "word.h"\nint main(void) { puts(WORD); return 0; }\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "main.c").write_text(HELLO)
    (directory / "word.h").write_text('#define WORD "one"\n')
    return directory


def spec(directory: Path, *sources: str, **fields: object) -> AppSpec:
    return AppSpec(
        name="probe",
        origin=directory / "ukl.toml",
        directory=directory,
        sources=tuple(directory / name for name in sources or ("main.c",)),
        **fields,  # type: ignore[arg-type]
    )


def made(directory: Path, store: Store, *sources: str, **fields: object) -> AppObject:
    return build(spec(directory, *sources, **fields), store, Progress.quiet())


def output(app: AppObject) -> str:
    return subprocess.run([app.user], capture_output=True, text=True, check=True).stdout


def failure(directory: Path, store: Store, *sources: str, **fields: object) -> InputError:
    with pytest.raises(InputError) as caught:
        made(directory, store, *sources, **fields)
    assert caught.value.code == ExitCode.BAD_INPUT
    # Nothing half-made: the entry of the failed step is not there.
    assert not list((store.root).glob("*/.*.tmp"))
    return caught.value


def compile_object(source: str, path: Path, *flags: str) -> Path:
    subprocess.run(
        ["gcc", "-x", "c", *UKL_FLAGS, *flags, "-c", "-o", path, "-"],
        input=source.encode(),
        check=True,
    )
    return path


# --- cache and bytes --------------------------------------------------------


@pytest.mark.parametrize(
    "name", [*toolchain.CRT_BEFORE, *toolchain.CRT_AFTER, *toolchain.RUNTIME, "libm.a", "libno.a"]
)
def test_files_are_found_where_the_compiler_finds_them(name: str) -> None:
    argv = ["gcc", f"-print-file-name={name}"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    expected = Path(said).resolve() if Path(said).is_absolute() else None
    assert (expected is None) == (name == "libno.a")
    assert toolchain.search("gcc", name) == expected


def test_the_second_build_does_nothing(project: Path, store: Store) -> None:
    first = made(project, store)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.o")}
    assert made(project, store) == first
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.o")} == before


def test_a_changed_header_changes_the_program(project: Path, store: Store) -> None:
    first = made(project, store)
    assert output(first) == "one\n"
    (project / "word.h").write_text('#define WORD "two"\n')
    second = made(project, store)
    assert output(second) == "two\n"
    assert second.key != first.key


def test_flags_change_the_program(project: Path, store: Store) -> None:
    (project / "main.c").write_text("#include <stdio.h>\nint main(void) { return puts(W) < 0; }\n")
    assert output(made(project, store, cflags=('-DW="x"',))) == "x\n"
    assert output(made(project, store, cflags=('-DW="y"',))) == "y\n"


def test_included_binary_changes_the_program(project: Path, store: Store) -> None:
    (project / "main.c").write_text(
        "#include <stdio.h>\nextern char text[];\n"
        '__asm__(".data\\ntext: .incbin \\"blob\\"\\n.byte 0\\n.text");\n'
        "int main(void) { puts(text); return 0; }\n"
    )
    for text in ("first", "second"):
        (project / "blob").write_text(text)
        assert output(made(project, store)) == f"{text}\n"


def test_same_inputs_give_same_bytes(
    project: Path, tmp_path: Path, need: Callable[..., None]
) -> None:
    need("g++")
    (project / "more.cpp").write_text(
        "#include <cassert>\n#include <cstdio>\n"
        "namespace { struct S { S() { std::puts(__FILE__ __DATE__); } } s; }\n"
        "void check(int n) { assert(n); }\n"
    )
    elsewhere = tmp_path / "some" / "other-place"
    elsewhere.parent.mkdir()
    subprocess.run(["cp", "-r", project, elsewhere], check=True)
    apps = [
        made(directory, Store(tmp_path / f"cache{number}"), "main.c", "more.cpp")
        for number, directory in enumerate((project, elsewhere))
    ]
    for name in ("app.o", "app.debug.o", "user"):
        first, second = (app.path.with_name(name).read_bytes() for app in apps)
        assert first == second, name
    for app in apps:
        assert str(tmp_path).encode() not in app.path.with_name("app.debug.o").read_bytes()


def test_the_callers_environment_is_not_an_input(
    project: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(project, store)
    monkeypatch.setenv("CPATH", "/nonexistent")
    monkeypatch.setenv("CFLAGS", "-DWORD=nonsense")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert made(project, store).key == first.key


# --- what goes wrong --------------------------------------------------------


def test_compiler_error_shows_the_compilers_words(project: Path, store: Store) -> None:
    (project / "main.c").write_text("int main(void)\n{\n\treturn nothing;\n}\n")
    error = failure(project, store)
    assert error.where == "main.c:3:16"
    assert "nothing" in error.message
    assert "undeclared" in error.message
    assert error.log is not None
    assert "undeclared" in error.log.read_text()
    assert not list((store.root / "object").glob("*/compile.log"))[1:]  # only crt.S's or none


def test_many_compiler_errors_are_counted(project: Path, store: Store) -> None:
    (project / "main.c").write_text("".join(f"int f{n} = x{n};\n" for n in range(9)))
    error = failure(project, store)
    assert error.message.count("undeclared") == 3
    assert "6 more" in error.message


def test_missing_header_names_it(project: Path, store: Store) -> None:
    (project / "main.c").write_text("#include <no/such.h>\nint main(void) { return 0; }\n")
    error = failure(project, store)
    assert error.where == "main.c:1:10"
    assert "no/such.h" in error.message
    assert error.remedy is not None
    assert "-I" in error.remedy


def test_unknown_flag_is_the_compilers_error(project: Path, store: Store) -> None:
    error = failure(project, store, cflags=("-fno-such-flag",))
    assert "no-such-flag" in error.message


def test_missing_source(project: Path, store: Store) -> None:
    error = failure(project, store, "absent.c")
    assert error.where == str(project / "absent.c")


def test_unknown_suffix(project: Path, store: Store) -> None:
    (project / "main.rs").write_text("fn main() {}\n")
    error = failure(project, store, "main.rs")
    assert "main.rs" in error.message
    assert error.remedy is not None


def test_undefined_symbol_names_user_and_library(project: Path, store: Store) -> None:
    (project / "main.c").write_text(
        "#include <math.h>\n#include <stdlib.h>\nvoid nowhere(double);\n"
        "int main(int c, char **v) { nowhere(cbrt(atof(v[c - 1]))); return 0; }\n"
    )
    error = failure(project, store)
    assert "`cbrt` (used by main.c)" in error.message
    assert "`nowhere` (used by main.c)" in error.message
    assert error.remedy is not None
    assert '"m"' in error.remedy
    assert error.where == str(project / "ukl.toml")


def test_sanitizers(project: Path, store: Store) -> None:
    (project / "main.c").write_text(
        "#include <stdio.h>\nint main(int c, char **v) { c += 2147483647; puts(v[0] + c); }\n"
    )
    error = failure(project, store, cflags=("-fsanitize=address",))
    assert "-fsanitize=address is not possible" in error.message
    assert error.remedy is not None
    app = made(project, store, cflags=("-fsanitize=undefined",))
    ran = subprocess.run([app.user], capture_output=True, text=True, check=False)
    assert "signed integer overflow" in ran.stderr


@pytest.mark.parametrize("populate", [False, True])
@pytest.mark.parametrize("use", ["int (*volatile f)(int) = inner;", "int f(int x) { return 2; }"])
def test_note_about_the_stack(project: Path, store: Store, use: str, *, populate: bool) -> None:
    (project / "main.c").write_text(
        f"int main(int c, char **v) {{ int inner(int x) {{ return x + c; }} {use} return f(2); }}\n"
    )
    app = made(project, store, populate=populate)
    assert sections.needs_executable_stack(Elf.open(app.path)) is ("inner;" in use)


def test_undefined_symbol_that_nothing_uses(project: Path, store: Store) -> None:
    """ld -static does not ask for it either; gcrt1.o of -pg has some."""
    (project / "main.c").write_text(
        '#include <stdio.h>\nasm(".globl nowhere_at_all");\nint main(void) { puts("linked"); }\n'
    )
    app = made(project, store)
    assert output(app) == "linked\n"
    assert "nowhere_at_all" not in app.facts.imports


def test_undefined_symbol_of_an_archive_member(project: Path, store: Store) -> None:
    part = compile_object("void lost(void); void f(void) { lost(); }", project / "part.o")
    archive = project / "libpart.a"
    subprocess.run(["ar", "cr", archive, part], check=True)
    (project / "main.c").write_text("void f(void);\nint main(void) { f(); return 0; }\n")
    error = failure(project, store, objects=(archive,))
    assert "`lost`" in error.message
    assert "libpart.a(part.o)" in error.message


def test_no_main(project: Path, store: Store) -> None:
    (project / "main.c").write_text("int other(void) { return 0; }\n")
    error = failure(project, store)
    assert "main" in error.message
    assert error.remedy is not None


def test_double_definition_names_both(project: Path, store: Store) -> None:
    for name in ("a.c", "b.c"):
        (project / name).write_text("int twice(void) { return 1; }\n")
    error = failure(project, store, "main.c", "a.c", "b.c")
    assert "`twice`" in error.message
    assert "a.c" in error.message
    assert "b.c" in error.message
    assert error.remedy is not None
    assert str(store.root) not in error.message


def test_missing_library(project: Path, store: Store) -> None:
    error = failure(project, store, libraries=("nosuchthing",))
    assert "libnosuchthing.a" in error.message
    assert error.remedy is not None
    assert "nosuchthing-dev" in error.remedy


def test_object_that_is_none(project: Path, store: Store) -> None:
    (project / "bad.o").write_text("text")
    error = failure(project, store, objects=(project / "bad.o",))
    assert error.where == str(project / "bad.o")


def test_object_of_another_machine(project: Path, store: Store) -> None:
    (project / "bad.o").write_bytes(
        compile_object("int x;", project / "x.o").read_bytes()[:18]
        + b"\xb7\0"  # EM_AARCH64
        + (project / "x.o").read_bytes()[20:]
    )
    error = failure(project, store, objects=(project / "bad.o",))
    assert "AARCH64" in error.message


def test_writable_text(project: Path, store: Store) -> None:
    (project / "main.c").write_text(
        '__asm__(".section both, \\"awx\\"\\nnop\\n.text");\nint main(void) { return 0; }\n'
    )
    error = failure(project, store)
    assert "both" in error.message


def test_lto_objects_are_refused(project: Path, store: Store) -> None:
    part = project / "part.o"
    compile_object("int part(void) { return 1; }", part, "-flto", "-fno-fat-lto-objects")
    (project / "main.c").write_text("int part(void);\nint main(void) { return part(); }\n")
    error = failure(project, store, objects=(part,))
    assert "part" in error.message


def test_code_for_the_low_addresses_is_refused(project: Path, store: Store) -> None:
    part = project / "part.o"
    source = (
        "void take(void (*)(void));\nstatic void callee(void) {}\n"
        "int number;\nint *data(void) { return &number; }\n"
        "void caller(void) { take(callee); }\n"
    )
    (project / "main.c").write_text(
        "void take(void (*f)(void)) { f(); }\nvoid caller(void);\n"
        "int main(void) { caller(); return 0; }\n"
    )
    compile_object(source, part, "-mcmodel=small", "-O2")
    error = failure(project, store, objects=(part,))
    assert "`caller` holds the address of `callee`" in error.message
    assert error.remedy is not None
    assert "-fPIC" in error.remedy
    compile_object(source, part, "-mcmodel=small", "-fPIC", "-O2")
    made(project, store, objects=(part,))


def test_nothing_to_build(project: Path, store: Store) -> None:
    empty = AppSpec(name="empty", origin=project, directory=project, sources=())
    with pytest.raises(UklError, match="nothing to build"):
        build(empty, store, Progress.quiet())
