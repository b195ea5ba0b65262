# SPDX-License-Identifier: GPL-2.0
"""`ukl check` on small objects, each with one hazard, and on the same without it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli
from ukl.app import toolchain
from ukl.base.errors import InputError, UsageError
from ukl.base.progress import Progress
from ukl.check import loading, target
from ukl.check.model import Kind, Report
from ukl.check.rules import Severity
from ukl.elf import archive
from ukl.elf.reader import Elf
from ukl.host.store import Store

OURS = ("-fPIC", "-mno-red-zone")


@pytest.fixture(autouse=True)
def tools(need: Callable[..., None]) -> None:
    need("gcc", "ld")


def compiled(directory: Path, source: str, *flags: str, name: str = "part") -> Path:
    path = directory / f"{name}.o"
    subprocess.run(
        ["gcc", "-O2", "-x", "c", *OURS, *flags, "-c", "-o", str(path), "-"],
        input=source.encode(),
        check=True,
    )
    return path


def checked(path: Path | str, store: Store, *rules: str) -> Report:
    return target.check(str(path), store, Progress.quiet(), rules)


def rules(report: Report, worst: Severity = Severity.WARNING) -> set[str]:
    """Return the rules of the findings that are warnings or errors (or whatever is asked)."""
    wanted = {Severity.ERROR, worst}
    return {item.rule for item in report.findings if item.severity in wanted}


def function(body: str) -> str:
    return f'long f(long a) {{ long r = a; __asm__ volatile("{body}" : "+a"(r)); return r; }}'


C_HAZARDS = {
    "dlopen": (
        "#include <dlfcn.h>\nvoid *f(const char *n) { return dlopen(n, RTLD_NOW); }",
        "f",
    ),
    "nss": ("#include <pwd.h>\nvoid *f(const char *n) { return getpwnam(n); }", "f"),
    "iconv": ('#include <iconv.h>\nvoid *f(void) { return iconv_open("UTF-8", "X"); }', "f"),
    "jit": (
        "#include <sys/mman.h>\nvoid *f(void) { return mmap(0, 4096, 5, MAP_PRIVATE | "
        "MAP_ANONYMOUS, -1, 0); }",
        "f",
    ),
    "gs": (function("mov %%gs:8, %%rax"), "f"),
    "gs-base": (function("wrgsbase %%rax"), "f"),
    "set-gs": (
        "int arch_prctl(int, unsigned long);\nint f(long a) { return arch_prctl(0x1001, a); }",
        "f",
    ),
    "privileged": (function("cli"), "f"),
    "far": (function("lretq"), "f"),
    "int80": (function("int $0x80"), "f"),
    "sysenter": (function("sysenter"), "f"),
    "vsyscall": ("long f(long *t) { return ((long (*)(long *))0xffffffffff600400)(t); }", "f"),
    "undefined": ("void nowhere_at_all(void);\nvoid f(void) { nowhere_at_all(); }", ""),
}

CLEAN = """
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <sys/syscall.h>
static __thread int counter;
int callee(int n) { return n + counter; }
int (*table[])(int) = { callee };
void *memory(void) { return mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, 0); }
int main(int argc, char **argv)
{
	counter = argc;
	printf("%d %p %ld\\n", table[0](argc), memory(), syscall(SYS_gettid));
	return 0;
}
"""


@pytest.mark.parametrize("rule", C_HAZARDS)
def test_hazard(rule: str, tmp_path: Path, store: Store) -> None:
    source, where = C_HAZARDS[rule]
    report = checked(compiled(tmp_path, source), store)
    assert rules(report) == {rule}
    [found] = [item for item in report.findings if item.rule == rule]
    assert found.places[0].function == where
    assert found.places[0].file == str(tmp_path / "part.o")
    assert found.happens
    assert found.remedy


def test_a_guest_without_locales(tmp_path: Path, store: Store) -> None:
    (tmp_path / "main.c").write_text(
        '#include <locale.h>\nint main(void) { return !setlocale(LC_ALL, "C.UTF-8"); }\n'
    )
    for line, expected in (("userspace = false", {"locale"}), ("userspace = true", set())):
        (tmp_path / "ukl.toml").write_text(
            f'[app]\nname = "x"\nsources = ["main.c"]\n[run]\n{line}\n'
        )
        assert rules(checked(tmp_path, store)) == expected


def test_no_hazard(tmp_path: Path, store: Store) -> None:
    report = checked(compiled(tmp_path, CLEAN), store)
    assert rules(report) == set()
    assert report.kind is Kind.OBJECT
    assert not report.failed


def test_stack_protector_of_the_kernel_model(tmp_path: Path, store: Store) -> None:
    source = "void g(char *);\nint f(void) { char b[64]; g(b); return b[0]; }\nvoid g(char *c) {}"
    flags = ("-fno-pic", "-mcmodel=kernel", "-fstack-protector-all", "-O0")
    report = checked(compiled(tmp_path, source, *flags), store)
    assert "gs" in rules(report, Severity.ERROR)
    guard = (
        "-mstack-protector-guard=tls",
        "-mstack-protector-guard-reg=fs",
        "-mstack-protector-guard-offset=40",
    )
    assert rules(checked(compiled(tmp_path, source, *flags, *guard), store)) == set()


def test_narrow_address(tmp_path: Path, store: Store) -> None:
    source = (
        "void take(void (*)(void));\nstatic void callee(void) {}\n"
        "void take(void (*f)(void)) { f(); }\nvoid caller(void) { take(callee); }"
    )
    report = checked(compiled(tmp_path, source, "-fno-pic", "-fno-inline"), store)
    [found] = [item for item in report.findings if item.rule == "narrow-address"]
    assert found.severity is Severity.ERROR
    assert {place.function for place in found.places} == {"caller"}
    assert rules(checked(compiled(tmp_path, source, "-fno-inline"), store)) == set()


def test_writable_code(tmp_path: Path, store: Store) -> None:
    source = '__asm__(".section both, \\"awx\\"\\nnop\\n.text");'
    [found] = checked(compiled(tmp_path, source), store, "writable-code").findings
    assert found.places[0].section == "both"


def test_executable_stack(tmp_path: Path, store: Store) -> None:
    source = (
        "int apply(int (*)(int));\n"
        "int f(int n) { int add(int m) { return n + m; } return apply(add); }\n"
        "int apply(int (*g)(int)) { return g(1); }"
    )
    assert rules(checked(compiled(tmp_path, source, "-fno-inline", "-O0"), store)) == {"exec-stack"}


def test_too_much_data(tmp_path: Path, store: Store) -> None:
    big = checked(compiled(tmp_path, "char big[1 << 30];"), store, "data-room")
    assert len(big.findings) == 1
    assert "1,073,741,824" in big.findings[0].happens
    assert not checked(compiled(tmp_path, "char small[1 << 20];"), store, "data-room").findings


def test_vector_code(tmp_path: Path, store: Store) -> None:
    source = "void f(float *a, float *b) { for (int n = 0; n < 999; n++) a[n] += b[n]; }"
    assert "vector-code" in rules(checked(compiled(tmp_path, source, "-O3", "-mavx2"), store))
    assert rules(checked(compiled(tmp_path, source, "-O3"), store)) == set()


def test_needed_processor(tmp_path: Path, store: Store) -> None:
    flags = ("-O3", "-mavx512f", "-Wa,-mx86-used-note=yes")
    source = "void f(float *a, float *b) { for (int n = 0; n < 999; n++) a[n] += b[n]; }"
    note = """
    __asm__(".section .note.gnu.property,\\"a\\"\\n.align 8\\n.long 4,16,5\\n.asciz \\"GNU\\"\\n"
            ".long 0xc0008002,4,8,0\\n.text");
    """
    assert not checked(compiled(tmp_path, source, *flags), store, "cpu-needed").findings
    [found] = checked(
        compiled(tmp_path, note, "-fcf-protection=none"), store, "cpu-needed"
    ).findings
    assert "x86-64-v4" in found.happens


def test_intermediate_code(tmp_path: Path, store: Store) -> None:
    path = compiled(tmp_path, "int f(void) { return 1; }", "-flto", "-fno-fat-lto-objects")
    assert "lto-only" in rules(checked(path, store), Severity.ERROR)


def test_ifunc(tmp_path: Path, store: Store) -> None:
    source = (
        "static void f_avx2(void) {}\nstatic void (*pick(void))(void) { return f_avx2; }\n"
        'void f(void) __attribute__((ifunc("pick")));'
    )
    [found] = checked(compiled(tmp_path, source), store, "ifunc").findings
    assert found.count == 1
    assert "avx2" in found.happens


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
def test_tls_models(dialect: str, tmp_path: Path, store: Store) -> None:
    path = compiled(
        tmp_path, "extern __thread int n; int *f(void) { return &n; }", f"-mtls-dialect={dialect}"
    )
    [found] = checked(path, store, "tls").findings
    assert {"gnu": "general-dynamic", "gnu2": "descriptor"}[dialect] in found.happens


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
def test_tls_models_become_local_exec(dialect: str, tmp_path: Path) -> None:
    """What the rule says of the final link, on the linker of this machine."""
    user = compiled(
        tmp_path,
        "extern __thread int n;\nint get(void) { return n; }",
        f"-mtls-dialect={dialect}",
        name="user",
    )
    owner = compiled(
        tmp_path,
        "__thread int n = 42;\nint get(void);\nint main(void) { return get(); }",
        name="owner",
    )
    program = tmp_path / "program"
    subprocess.run(["gcc", "-static", "-o", program, user, owner], check=True)
    assert subprocess.run([program], check=False).returncode == 42
    symbols = {symbol.name for symbol in Elf.open(program).symbols}
    assert "main" in symbols


def test_member_of_an_archive(tmp_path: Path, store: Store) -> None:
    bad = compiled(tmp_path, function("hlt"), name="bad")
    good = compiled(tmp_path, "int good(void) { return 1; }", name="good")
    path = tmp_path / "libx.a"
    subprocess.run(["ar", "cr", path, good, bad], check=True)
    report = checked(path, store)
    assert report.kind is Kind.ARCHIVE
    [found] = [item for item in report.findings if item.rule == "privileged"]
    assert (found.places[0].member, found.places[0].function) == ("bad.o", "f")


def test_libc_archive(store: Store) -> None:
    [path] = (path for path in toolchain.find().runtime if path.name == "libc.a")
    report = checked(path, store)
    assert not report.failed
    calls = report.syscalls
    # From glibc 2.41 on, calls that are cancellation points go through one function.
    assert calls.in_place > 3 * calls.stub > 15 * calls.kept
    assert "undefined" not in rules(report)


def test_names_that_need_services_are_those_that_glibc_warns_of() -> None:
    [path] = (path for path in toolchain.find().runtime if path.name == "libc.a")
    found = set()
    for name, data in archive.members(path):
        if b".gnu.warning." in data:
            elf = Elf(data, name)
            found |= {
                section.name.removeprefix(".gnu.warning.")
                for section in elf.sections
                if section.name.startswith(".gnu.warning.")
                and b"requires at runtime" in elf.content(section)
            }
    assert found - set(loading.DLOPEN) <= loading.NSS


def test_c_file(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "main.c"
    path.write_text(CLEAN)
    report = checked(path, store)
    assert report.kind is Kind.APPLICATION
    assert not report.failed
    assert rules(report) == set()
    assert report.syscalls.in_place > 50
    assert any("libc6-dev" in item.happens for item in report.findings) or not shutil.which("dpkg")


def test_c_file_with_pointers_to_nested_functions(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "main.c"
    path.write_text(
        "int main(int c, char **v)\n{ int inner(int x) { return x + c; } "
        "int (*volatile f)(int) = inner; return f(2); }\n"
    )
    assert rules(checked(path, store)) == {"exec-stack"}


def test_undefined_symbol_that_nothing_uses(tmp_path: Path, store: Store) -> None:
    source = 'asm(".globl nowhere_at_all");\nint f(void) { return 0; }'
    assert rules(checked(compiled(tmp_path, source), store)) == set()


def test_program_that_does_not_build(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "main.c"
    path.write_text("#include <math.h>\nint main(int c, char **v) { return cbrt(c); }\n")
    [found] = checked(path, store).findings
    assert found.rule == "build"
    assert "cbrt" in found.happens
    assert '"m"' in found.remedy


def test_executables(tmp_path: Path, store: Store) -> None:
    source = tmp_path / "main.c"
    source.write_text(CLEAN)
    for name, flags in (("dynamic", ()), ("static", ("-static",))):
        program = tmp_path / name
        subprocess.run(["gcc", *flags, "-o", program, source], check=True)
        report = checked(program, store)
        assert report.kind is Kind.EXECUTABLE
        assert not report.failed
        assert not {"code-jit", "code-wx"} & rules(report)
        subprocess.run(["strip", program], check=True)
        assert checked(program, store, "as-is").findings


def test_executables_that_need_leave(tmp_path: Path, store: Store) -> None:
    source = tmp_path / "main.c"
    source.write_text(
        "#include <sys/mman.h>\nint main(void) { return mprotect(0, 4096, PROT_EXEC); }\n"
    )
    program = tmp_path / "jit"
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    assert "code-jit" in rules(checked(program, store))
    subprocess.run(["gcc", "-z", "execstack", "-o", program, source], check=True)
    assert "code-wx" in rules(checked(program, store))
    subprocess.run(["gcc", "-Wl,-I/lib/ld-none.so", "-o", program, source], check=True)
    [found] = checked(program, store, "missing-file").findings
    assert found.severity is Severity.ERROR
    assert "/lib/ld-none.so" in found.happens


ENGINES = {
    "pcre2_jit_compile_8": ("PCRE2", Severity.WARNING, Severity.INFO),
    "ffi_prep_closure_loc": ("libffi", Severity.WARNING, Severity.INFO),
    "luaJIT_setmode": ("LuaJIT", Severity.WARNING, Severity.WARNING),
    "_ZN2v82V87GetInfoEv": ("V8", Severity.WARNING, Severity.WARNING),
}


@pytest.mark.parametrize("symbol", ENGINES)
def test_engines(symbol: str, tmp_path: Path, store: Store) -> None:
    name, linked, as_is = ENGINES[symbol]
    part = compiled(tmp_path, f"void {symbol}(void) {{}}\n", "-fPIC")
    source = tmp_path / "main.c"
    source.write_text(f"void {symbol}(void);\nint main(void) {{ {symbol}(); }}\n")
    subprocess.run(["gcc", "-shared", "-o", tmp_path / "libx.so", part], check=True)
    program = tmp_path / "program"
    subprocess.run(
        ["gcc", "-o", program, source, tmp_path / "libx.so", f"-Wl,-rpath,{tmp_path}"], check=True
    )
    for path, severity in ((part, linked), (program, as_is)):
        [found] = checked(path, store, "engine").findings
        assert found.happens.startswith(f"{name}: ")
        assert found.severity is severity
    # A program that is linked in has what it refers to.
    assert not checked(compiled(tmp_path, source.read_text()), store, "engine").findings


def test_an_engine_by_its_library(tmp_path: Path, store: Store) -> None:
    part = compiled(tmp_path, "void start(void) {}\n", "-fPIC")
    library = tmp_path / "libjli.so"
    subprocess.run(["gcc", "-shared", "-Wl,-soname,libjli.so", "-o", library, part], check=True)
    source = tmp_path / "main.c"
    source.write_text("void start(void);\nint main(void) { start(); }\n")
    program = tmp_path / "program"
    subprocess.run(["gcc", "-o", program, source, library], check=True)
    [found] = checked(program, store, "engine").findings
    assert found.happens.startswith("HotSpot: ")
    assert "--code wx" in found.remedy


def test_other_files(tmp_path: Path, store: Store) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(InputError, match="script"):
        checked(script, store)
    with pytest.raises(UsageError, match="unknown rule"):
        checked(script, store, "nonsense")


def test_command_line(tmp_path: Path, cli: Cli) -> None:
    bad = compiled(tmp_path, function("mov %%gs:8, %%rax"))
    done = cli("check", str(bad))
    assert done.returncode == 1
    assert "error    gs: " in done.stdout
    assert f"at {bad}: f" in done.stdout
    assert "syscall sites: 0 in place, 0 by stub, 0 kept; 1 errors" in done.stdout
    report = json.loads(cli("check", "--json", "--rule", "gs", str(bad)).stdout)
    assert report["failed"] is True
    [found] = report["findings"]
    assert (found["rule"], found["places"][0]["function"]) == ("gs", "f")
    assert cli("check", "--rule", "tls", str(bad)).returncode == 0
    assert cli("check", str(tmp_path / "absent")).returncode == 4
    assert cli("check", "--rule", "nonsense", str(bad)).returncode == 2
