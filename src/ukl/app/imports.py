# SPDX-License-Identifier: GPL-2.0
"""C prototypes of the kernel's functions -> the header that calls them. Pure.

`imports` of [kernel] names what an application calls. The header, ukl-imports.h, has a
function kernel_NAME of the same type for each NAME, on top of ukl.h (in include/).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ukl.elf.names import IMPORT
from ukl.lto.bodies import BODY
from ukl.settings.prototypes import ARGUMENTS_MAX, Import, parse

HEADER = "ukl-imports.h"

_INCLUDES = ("stdbool.h", "stddef.h", "stdint.h", "sys/types.h", "linux/types.h", "ukl.h")


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
