# SPDX-License-Identifier: GPL-2.0
"""Prototypes of the kernel's functions, and the header made of them."""

from __future__ import annotations

import pytest

from ukl.app import imports
from ukl.settings import prototypes


def test_a_prototype() -> None:
    found = prototypes.parse("ssize_t f(struct sock *sk, const char data[], size_t size);")
    assert found == prototypes.Import(
        "f",
        "ssize_t",
        ("struct sock *a0", "const char a1[]", "size_t a2"),
        ("struct sock",),
        ("a0", "a1", "a2"),
    )


@pytest.mark.parametrize(
    ("prototype", "result", "parameters"),
    [
        ("void f(void)", "void", ()),
        ("void f()", "void", ()),
        ("const char *f(int)", "const char *", ("int a0",)),
        ("unsigned long long f(unsigned)", "unsigned long long", ("unsigned a0",)),
        ("__u64 f(enum e x)", "__u64", ("enum e a0",)),
        ("struct a *f(union b **x)", "struct a *", ("union b **a0",)),
        ("int f(int a, int b, int c, int d, int e, int g)", "int", 6),
    ],
)
def test_types(prototype: str, result: str, parameters: tuple[str, ...] | int) -> None:
    found = prototypes.parse(prototype)
    assert found.result.replace(" ", "") == result.replace(" ", "")
    if isinstance(parameters, int):
        assert len(found.parameters) == parameters
    else:
        assert found.parameters == parameters


@pytest.mark.parametrize(
    ("prototype", "said"),
    [
        ("int f(double x)", "parameter 1 of f is a floating-point number"),
        ("float f(void)", "the result of f is a floating-point number"),
        ("struct a f(void)", "the result of f is a structure"),
        ("int f(int, struct a x)", "parameter 2 of f is a structure"),
        ("int f(const char *format, ...)", "variable number"),
        ("int f(void (*callback)(int))", "function pointer"),
        ("int f(int, int, int, int, int, int, int)", "7 parameters"),
        ("int f(int, void)", "parameter 2 of f is void"),
        ("int x", "does not declare a function"),
        ("typedef int f(void)", "not a single C prototype"),
        ("int f(void); int g(void)", "not a single C prototype"),
        ("int f(void) { return 1; }", "not a single C prototype"),
        ("int f(u64 x)", "not a C prototype"),
        ("int f(", "not a C prototype"),
        ("", "not a single C prototype"),
    ],
)
def test_refused(prototype: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        prototypes.parse(prototype)


def test_header() -> None:
    text = imports.header(["bool capable(int cap)", "void g(struct s *x, struct s *y)"])
    assert "#include <ukl.h>\nstruct s;\n" in text
    assert text.count("struct s;") == 1
    assert "static inline bool kernel_capable(int a0)\n" in text
    # psABI 3.2.3: a _Bool is one byte of the register.
    assert "return (unsigned char)ukl_call_function(ukl_import_capable, (unsigned long)a0, " in text
    assert "\tukl_call_function(ukl_import_g, (unsigned long)a0, (unsigned long)a1, 0" in text


def test_functions_that_are_part_of_the_program() -> None:
    text = imports.header(["int one(long a)", "void two(void)", "int three(void)"], {"one", "two"})
    assert "extern int ukl_body_one(long int a0);" in text.replace("long a0", "long int a0")
    assert "\treturn ukl_body_one(a0);" in text
    assert "\tukl_body_two();" in text
    assert "return (int)ukl_call_function(ukl_import_three" in text
    # In a normal process there is no kernel that they could look at.
    assert text.count("__builtin_trap();") == 3
