# SPDX-License-Identifier: GPL-2.0
"""An application's own kernel code: what it exports, its header, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukl.app import exported
from ukl.base.errors import InputError
from ukl.kernel import side, side_checks
from ukl.settings import exports

SOURCE = Path("/home/me/fast.c")


def names(text: str) -> list[tuple[str, int]]:
    return [(each.name, each.line) for each in exports.find(SOURCE, text)]


def test_exports_are_found_with_their_lines() -> None:
    text = """\
#define UKL_EXPORT_OTHER UKL_EXPORT(int hidden, (void))
/* UKL_EXPORT(int comment, (void)) */
// UKL_EXPORT(int comment, (void)) \\
   UKL_EXPORT(int continued, (void))
static const char *text = "UKL_EXPORT(int text, (void))", c = '"';
UKL_EXPORT(long serve,
\t   (int fd, void __user *data, /* bytes */ u32 size))
{
\treturn 0;
}
UKL_EXPORT(struct sock *first, (void)) { return NULL; }
"""
    assert names(text) == [("serve", 6), ("first", 11)]


def test_a_prototype_is_that_of_c() -> None:
    [found] = exports.find(SOURCE, "UKL_EXPORT(s64 f, (u8 a, const struct q __user *, char b[4]))")
    assert found.prototype.result == "__s64"
    assert found.prototype.parameters == ("__u8 a", "const struct q *a1", "char b[4]")
    assert found.prototype.tags == ("struct q",)


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("\nUKL_EXPORT(long f)", "takes the type and name", 2),
        ("UKL_EXPORT(long f, int a)", "takes the type and name", 1),
        ("UKL_EXPORT(long f, (int a)", "takes the type and name", 1),
        ("UKL_EXPORT(double f, (void))", "floating-point", 1),
        ("UKL_EXPORT(long f, (struct a b))", "is a structure or union", 1),
        ("UKL_EXPORT(long f, (int a, int b, int c, int d, int e, int f, int g))", "at most 6", 1),
        ("UKL_EXPORT(long f, (void (*g)(void)))", "function pointer", 1),
        ("UKL_EXPORT(gfp_t f, (void))", "not a C prototype", 1),
        ("UKL_EXPORT(int f, (void)) {}\n\nUKL_EXPORT(int f, (void)) {}", "exported twice", 3),
        ("/*\n*/ static __thread int a;", "no thread-local variables", 2),
    ],
)
def test_what_cannot_be_exported(text: str, said: str, line: int) -> None:
    with pytest.raises(InputError, match=said) as error:
        exports.find(SOURCE, text)
    assert str(error.value.where) == f"{SOURCE}:{line}"


def test_two_files_cannot_have_or_export_one_name(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.c", "b.c", "sub/a.c"))
    third.parent.mkdir()
    for file in (first, second, third):
        file.write_text("UKL_EXPORT(int f, (void)) {}")
    (empty := tmp_path / "empty.c").write_text("int f(void) { return 0; }")
    with pytest.raises(InputError, match=r"exported twice, also in .*a\.c:1"):
        exports.all_of((first, second))
    with pytest.raises(InputError, match="exports no function"):
        exports.all_of((empty,))
    with pytest.raises(InputError, match="another source has the same name"):
        exports.all_of((first, third))
    with pytest.raises(InputError, match="names have letters"):
        exports.all_of((tmp_path / "a b.c",))


def test_the_header_calls_the_kernel_or_the_fallback() -> None:
    text = (
        "UKL_EXPORT(long f, (int a)) {} UKL_EXPORT(void g, (void)) {} UKL_EXPORT(bool h, (void)) {}"
    )
    header = exported.header(SOURCE, exports.find(SOURCE, text))
    assert "long ukl_kernel_f(int a) __attribute__((weak));" in header
    assert "#define UKL_FALLBACK_f long ukl_fallback_f(int a)\n" in header
    f, g, h = header.split("static inline ")[1:]
    assert "return ukl_kernel_f(a);" in f
    assert "return (long)-ENOSYS;" in f
    assert "ENOSYS" not in g + h


def test_a_changed_header_counts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    texts = {
        "a.c": '#include <ukl/kernel.h>\n # include "sub/b.h"\n#include "missing.h"\n',
        "sub/b.h": '#include "c.h"\n#include "a.h"\n',
        "sub/c.h": '#include "b.h"\n',
        "a.h": "",
        "other.h": "",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = side.headers([tmp_path / "a.c"])
    assert found == [tmp_path / name for name in ("a.h", "sub/b.h", "sub/c.h")]


SOURCES = {"ukl/fast.c": SOURCE}


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("SSE register return with SSE disabled", "no floating point"),
        ("the frame size of 4096 bytes is larger than 2048 bytes", "16 KiB"),
        ("ISO C90 forbids variable length array 'a' [-Werror=vla]", "kmalloc"),
        ("stdio.h: No such file or directory", "kernel's headers"),
        ("implicit declaration of function 'printf'", "not of the C library"),
        ("expected ';' before '}' token", "compiled as kernel code"),
    ],
)
def test_errors_name_the_users_line_and_what_to_do(message: str, remedy: str) -> None:
    output = (
        f"  CC      ukl/fast.o\nukl/fast.c:7:12: error: {message}\n    7 | x\nmake: *** Error 1\n"
    )
    error = side_checks.explain(output, SOURCES, None)
    assert error.where == f"{SOURCE}:7"
    assert error.message == message.removesuffix(" [-Werror=vla]")
    assert error.remedy is not None
    assert remedy in error.remedy


GRAPH = """\
graph: { title: "ukl/fast.c"
node: { title: "serve" label: "serve\\nukl/fast.c:9:6" }
edge: { sourcename: "serve" targetname: "ukl/fast.c:walk" label: "ukl/fast.c:11:9" }
edge: { sourcename: "serve" targetname: "sprintf" label: "ukl/fast.c:12:9" }
edge: { sourcename: "ukl/fast.c:walk" targetname: "__indirect_call" label: "ukl/fast.c:4:9" }
"""
RECURSIVE = 'edge: { sourcename: "ukl/fast.c:walk" targetname: "serve" label: "ukl/fast.c:5:2" }\n'


def test_recursion_is_refused() -> None:
    side_checks.check_recursion(side_checks.calls([GRAPH], SOURCES))
    graph = side_checks.calls([GRAPH, RECURSIVE], SOURCES)
    with pytest.raises(InputError, match="serve calls walk calls serve") as error:
        side_checks.check_recursion(graph)
    assert error.value.where == f"{SOURCE}:5"


def test_a_function_that_the_kernel_lacks_is_named_with_its_call() -> None:
    graph = side_checks.calls([GRAPH], SOURCES)
    side_checks.check_undefined([], graph, SOURCE)
    with pytest.raises(InputError, match="no sprintf, environ") as error:
        side_checks.check_undefined(["environ", "sprintf"], graph, SOURCE)
    assert error.value.where == f"{SOURCE}:12"


def test_warnings_name_the_users_file() -> None:
    output = "ukl/fast.c:3:1: warning: unused\nukl/fast.o: warning: objtool: f()\n"
    assert list(side_checks.warnings(output, SOURCES)) == [
        f"{SOURCE}:3:1: warning: unused",
        "ukl/fast.o: warning: objtool: f()",
    ]
