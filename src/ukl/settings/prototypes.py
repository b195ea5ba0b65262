# SPDX-License-Identifier: GPL-2.0
"""C prototypes of kernel functions: `imports` of [kernel]. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pycparser import c_ast, c_generator, c_parser

ARGUMENTS_MAX = 6
"""A kernel function does not run on its caller's stack: it gets arguments only in registers."""

STANDARD = (
    *("bool", "size_t", "ssize_t", "ptrdiff_t", "intptr_t", "uintptr_t"),
    *(f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("pid_t", "uid_t", "gid_t", "mode_t", "dev_t", "off_t"),
    *(f"__{sign}{bits}" for sign in "su" for bits in (8, 16, 32, 64)),
)
"""Types that need no declaration: the header made by app/imports.py includes theirs."""


@dataclass(frozen=True, slots=True)
class Import:
    """A kernel function: its name, and its parts as C text.

    `parameters` are declarations of `names`; `tags` are the struct and union tags in them.
    """

    name: str
    result: str
    parameters: tuple[str, ...]
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def parse(prototype: str, *, keep_names: bool = False) -> Import:
    """Return what a prototype like `unsigned long ktime_get_ns(void)` declares.

    The parameters are named a0, a1, ...; with `keep_names` only those without a name are.

    Raises ValueError if it is not a prototype, or an application cannot call the function.
    """
    prelude = "".join(f"typedef int {name};" for name in STANDARD)
    text = prototype.strip().rstrip(";")
    try:
        tree = c_parser.CParser().parse(f"{prelude}\n{text};")
    except Exception as error:  # its classes differ between versions
        raise ValueError(
            f"{prototype!r} is not a C prototype; use types of C and <stdint.h>, size_t "
            "and the like, and pointers"
        ) from error
    declared = tree.ext[len(STANDARD) :]
    if len(declared) != 1 or not isinstance(declared[0], c_ast.Decl):
        raise ValueError(f"{prototype!r} is not a single C prototype")
    [decl] = declared
    if not isinstance(decl.type, c_ast.FuncDecl):
        raise ValueError(f"{prototype!r} does not declare a function")
    function, name = decl.type, decl.name
    _scalar(function.type, f"the result of {name}", void=True)
    given = function.args.params if function.args else []
    if len(given) == 1 and _is_void(given[0]):
        given = []
    if len(given) > ARGUMENTS_MAX:
        raise ValueError(
            f"{name} has {len(given)} parameters; at most {ARGUMENTS_MAX} can be passed"
        )
    generator = c_generator.CGenerator()
    parameters, names = [], []
    for number, parameter in enumerate(given):
        if isinstance(parameter, c_ast.EllipsisParam):
            raise ValueError(f"{name} takes a variable number of arguments and cannot be called")
        _scalar(parameter.type, f"parameter {number + 1} of {name}")
        names.append((keep_names and parameter.name) or f"a{number}")
        parameters.append(generator.visit(_named(parameter, names[-1])))
    result = generator.visit(c_ast.Typename(None, [], None, _named_type(function.type, None)))
    tags = dict.fromkeys(_tags(function))
    return Import(name, result, tuple(parameters), tuple(tags), tuple(names))


def _is_void(parameter: c_ast.Node) -> bool:
    kind = getattr(parameter, "type", None)
    return (
        isinstance(kind, c_ast.TypeDecl)
        and isinstance(kind.type, c_ast.IdentifierType)
        and kind.type.names == ["void"]
    )


def _scalar(kind: c_ast.Node, what: str, *, void: bool = False) -> None:
    """Raise ValueError for a type that is not passed in one general-purpose register."""
    if isinstance(kind, (c_ast.PtrDecl, c_ast.ArrayDecl)):
        if isinstance(kind.type, c_ast.FuncDecl):
            raise ValueError(f"{what} is a function pointer: the kernel cannot call back")
        return
    inner = getattr(kind, "type", None)
    if isinstance(inner, (c_ast.Struct, c_ast.Union)):
        raise ValueError(f"{what} is a structure or union: pass a pointer to it instead")
    names = getattr(inner, "names", [])
    if names == ["void"] and not void:
        raise ValueError(f"{what} is void")
    if {"float", "double", "_Complex"} & set(names):
        raise ValueError(f"{what} is a floating-point number, which the kernel does not use")


def _named_type(kind: c_ast.Node, name: str | None) -> c_ast.Node:
    """Set the name in the declarator of `kind` and return `kind`."""
    inner = kind
    while not isinstance(inner, c_ast.TypeDecl):
        inner = inner.type
    inner.declname = name
    return kind


def _named(parameter: c_ast.Node, name: str) -> c_ast.Node:
    kind = _named_type(parameter.type, name)
    return c_ast.Decl(name, [], [], [], [], kind, None, None)


def _tags(node: c_ast.Node) -> Iterator[str]:
    if isinstance(node, (c_ast.Struct, c_ast.Union)) and node.name:
        yield f"{'struct' if isinstance(node, c_ast.Struct) else 'union'} {node.name}"
    for _, child in node.children():
        yield from _tags(child)
