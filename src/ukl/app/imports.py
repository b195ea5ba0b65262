# SPDX-License-Identifier: GPL-2.0
"""C prototypes of the kernel's functions -> the header that calls them. Pure.

`imports` of [kernel] names what an application calls. The header, ukl-imports.h, has a
function kernel_NAME of the same type for each NAME, on top of ukl.h (in include/).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pycparser import c_ast, c_generator, c_parser

from ukl.elf.names import IMPORT
from ukl.lto.bodies import BODY

HEADER = "ukl-imports.h"

ARGUMENTS_MAX = 6
"""The kernel's function runs on another stack than its caller's: only registers reach it."""

_STANDARD = (
    *("bool", "size_t", "ssize_t", "ptrdiff_t", "intptr_t", "uintptr_t"),
    *(f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("pid_t", "uid_t", "gid_t", "mode_t", "dev_t", "off_t"),
    *(f"__{sign}{bits}" for sign in "su" for bits in (8, 16, 32, 64)),
)
"""Types that the header's own #include lines bring."""

_INCLUDES = ("stdbool.h", "stddef.h", "stdint.h", "sys/types.h", "linux/types.h", "ukl.h")


@dataclass(frozen=True, slots=True)
class Import:
    """A function of the kernel: its name, and C text of its parts.

    `parameters` are declarations of a0, a1, ...; `tags` the struct and union tags
    that they mention.
    """

    name: str
    result: str
    parameters: tuple[str, ...]
    tags: tuple[str, ...] = ()


def parse(prototype: str) -> Import:
    """Return what a prototype like `unsigned long ktime_get_ns(void)` declares.

    Raises ValueError for what is none, or cannot be called from an application.
    """
    prelude = "".join(f"typedef int {name};" for name in _STANDARD)
    text = prototype.strip().rstrip(";")
    try:
        tree = c_parser.CParser().parse(f"{prelude}\n{text};")
    except Exception as error:  # its classes differ between versions
        raise ValueError(
            f"{prototype!r} is not a C prototype; types are C's, those of <stdint.h>, size_t "
            "and the like, and pointers"
        ) from error
    declared = tree.ext[len(_STANDARD) :]
    if len(declared) != 1 or not isinstance(declared[0], c_ast.Decl):
        raise ValueError(f"{prototype!r} is not one C prototype")
    [decl] = declared
    if not isinstance(decl.type, c_ast.FuncDecl):
        raise ValueError(f"{prototype!r} declares no function")
    function, name = decl.type, decl.name
    _scalar(function.type, f"the result of {name}", void=True)
    given = function.args.params if function.args else []
    if len(given) == 1 and _is_void(given[0]):
        given = []
    if len(given) > ARGUMENTS_MAX:
        raise ValueError(
            f"{name} has {len(given)} parameters, and at most {ARGUMENTS_MAX} reach it"
        )
    generator = c_generator.CGenerator()
    parameters = []
    for number, parameter in enumerate(given):
        if isinstance(parameter, c_ast.EllipsisParam):
            raise ValueError(f"{name} takes a variable number of arguments: that cannot be called")
        _scalar(parameter.type, f"parameter {number + 1} of {name}")
        parameters.append(generator.visit(_named(parameter, f"a{number}")))
    result = generator.visit(c_ast.Typename(None, [], None, _named_type(function.type, None)))
    tags = dict.fromkeys(_tags(function))
    return Import(name, result, tuple(parameters), tuple(tags))


def header(prototypes: Sequence[str], inlined: Collection[str] = ()) -> str:
    """Return the text of ukl-imports.h. Raises ValueError as parse() does.

    Functions that are `inlined` are not called in the kernel: their bodies are compiled with
    the program (ukl.lto).
    """
    found = [parse(prototype) for prototype in prototypes]
    lines = [
        "/* SPDX-License-Identifier: GPL-2.0 */",
        "/* Made by ukl, of `imports` in [kernel] of ukl.toml. */",
        "#ifndef UKL_IMPORTS_H",
        "#define UKL_IMPORTS_H",
        *(f"#include <{name}>" for name in _INCLUDES),
    ]
    lines += [f"{tag};" for tag in dict.fromkeys(tag for each in found for tag in each.tags)]
    for each in found:
        lines += ["", *_function(each, inlined=each.name in inlined)]
    return "\n".join([*lines, "", "#endif", ""])


def _function(each: Import, *, inlined: bool) -> Iterator[str]:
    arguments = [f"(unsigned long)a{number}" for number in range(len(each.parameters))]
    arguments += ["0"] * (ARGUMENTS_MAX - len(arguments))
    symbol = f"{IMPORT}{each.name}"
    call = f"ukl_call_function({symbol}, {', '.join(arguments)})"
    parameters = ", ".join(each.parameters) or "void"
    yield f"UKL_IMPORT({each.name});"
    if inlined:
        yield f"extern {each.result} {BODY}{each.name}({parameters});"
    yield f"static inline {each.result} kernel_{each.name}({parameters})"
    yield "{"
    # In a normal process; who wants to go on asks ukl_in_kernel() before.
    yield f"\tif (!{symbol})"
    yield "\t\t__builtin_trap();"
    if inlined:
        names = ", ".join(f"a{number}" for number in range(len(each.parameters)))
        yield f"\t{'' if each.result == 'void' else 'return '}{BODY}{each.name}({names});"
    elif each.result == "void":
        yield f"\t{call};"
    elif each.result in {"bool", "_Bool"}:
        # The upper bits of the register are anything (psABI 3.2.3).
        yield f"\treturn (unsigned char){call};"
    else:
        yield f"\treturn ({each.result}){call};"
    yield "}"


def _is_void(parameter: c_ast.Node) -> bool:
    kind = getattr(parameter, "type", None)
    return (
        isinstance(kind, c_ast.TypeDecl)
        and isinstance(kind.type, c_ast.IdentifierType)
        and kind.type.names == ["void"]
    )


def _scalar(kind: c_ast.Node, what: str, *, void: bool = False) -> None:
    """Raise ValueError for a type that is not passed in one general register."""
    if isinstance(kind, (c_ast.PtrDecl, c_ast.ArrayDecl)):
        if isinstance(kind.type, c_ast.FuncDecl):
            raise ValueError(f"{what} is a pointer to a function: the kernel cannot call back")
        return
    inner = getattr(kind, "type", None)
    if isinstance(inner, (c_ast.Struct, c_ast.Union)):
        raise ValueError(f"{what} is a structure: only pointers to one can be passed")
    names = getattr(inner, "names", [])
    if names == ["void"] and not void:
        raise ValueError(f"{what} is void")
    if {"float", "double", "_Complex"} & set(names):
        raise ValueError(f"{what} is a floating-point number, which the kernel does not know")


def _named_type(kind: c_ast.Node, name: str | None) -> c_ast.Node:
    """Return the type with another name in its declarator."""
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
