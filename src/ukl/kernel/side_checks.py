# SPDX-License-Identifier: GPL-2.0
"""What an application's kernel code must not do, explained before the link. Pure.

The compiler finds most of it, by options of the kernel and of MAKEFILE. Recursion is read from
its call graph (-fcallgraph-info), and functions that the kernel lacks from the object.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import InputError

REMEDY = "correct the source; it is compiled as kernel code"

_ERROR = re.compile(
    r"^(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*?)(?: \[-W\S*\])?$"
)
_REMEDIES: Sequence[tuple[str, str]] = (
    (
        r"SSE|x87|80387|floating.point",
        "kernel code has no floating point: use integers, or compute in the application",
    ),
    (
        r"frame size of",
        "the kernel's stack has 16 KiB for all functions together: allocate large variables by "
        "kmalloc()",
    ),
    (
        r"variable.length array|alloca",
        "the kernel's stack is small: allocate by kmalloc() what has no fixed size",
    ),
    (
        r"No such file or directory",
        "kernel code includes the kernel's headers, such as <linux/slab.h>; those of the C "
        "library are not there",
    ),
    (
        r"implicit declaration of function",
        "kernel code calls functions of the kernel and not of the C library: include the header "
        "that declares it; pr_info() prints, kmalloc() allocates",
    ),
)
_NODE = re.compile(r'^node: \{ title: "(?P<title>[^"]+)" label: "[^"]*?\\n(?P<place>[^"\\]*)')
_EDGE = re.compile(
    r'^edge: \{ sourcename: "(?P<source>[^"]+)" targetname: "(?P<target>[^"]+)"'
    r'(?: label: "(?P<place>[^"\\]*))?'
)


def explain(output: str, sources: Mapping[str, Path], log: Path | None) -> InputError:
    """Turn the output of a failed compilation into the error for the user.

    `sources` names each file that was compiled -> the user's file.
    """
    found = [match for line in output.splitlines() if (match := _ERROR.match(line))]
    if not found:
        tail = "\n".join(output.strip().splitlines()[-5:])
        origin = next(iter(sources.values()))
        return InputError(
            f"the kernel code did not compile:\n{tail}", where=origin, remedy=REMEDY, log=log
        )
    shown = [f"{_place(match, sources)}: {match['text']}" for match in found[:5]]
    text = "\n".join([found[0]["text"], *shown[1:]])
    remedies = (remedy for what, remedy in _REMEDIES if re.search(what, found[0]["text"]))
    where = _place(found[0], sources)
    return InputError(text, where=where, remedy=next(remedies, REMEDY), log=log)


def warnings(output: str, sources: Mapping[str, Path]) -> Iterator[str]:
    """Yield the warnings of compiler and objtool, with the user's names of the files."""
    for line in output.splitlines():
        if ": warning: " in line:
            name = line.partition(":")[0]
            yield line.replace(name, str(sources.get(name, name)), 1)


def _place(match: re.Match[str], sources: Mapping[str, Path]) -> str:
    return f"{sources.get(match['file'], match['file'])}:{match['line']}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call in the source: `FILE:LINE` of the call, and the function that is called."""

    target: str
    place: str


def calls(graphs: Sequence[str], sources: Mapping[str, Path]) -> dict[str, list[Call]]:
    """Return function -> its calls, from the compiler's call graphs of all files."""
    found: dict[str, list[Call]] = {}
    for line in "\n".join(graphs).splitlines():
        if match := _EDGE.match(line):
            name, _, rest = (match["place"] or "").partition(":")
            place = f"{sources.get(name, name)}:{rest.partition(':')[0]}"
            found.setdefault(match["source"], []).append(Call(match["target"], place))
    return found


def check_recursion(graph: Mapping[str, Sequence[Call]]) -> None:
    """Raise InputError if a function can call itself, directly or through others."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        for call in graph.get(name, ()):
            if call.target in path:
                cycle = [*path[path.index(call.target) :], call.target]
                raise InputError(
                    f"recursion: {' calls '.join(map(_plain, cycle))}",
                    where=call.place,
                    remedy="the kernel's stack has 16 KiB: use a loop, with a stack of your own "
                    "in memory of kmalloc() if necessary",
                )
            if call.target not in done:
                visit(call.target, [*path, call.target])
        done.add(name)

    for name in graph:
        if name not in done:
            visit(name, [name])


def _plain(title: str) -> str:
    """Return a function's name; the titles of static ones begin with their file."""
    return title.rpartition(":")[2]


def check_undefined(
    missing: Collection[str], graph: Mapping[str, Sequence[Call]], origin: Path
) -> None:
    """Raise InputError for names that neither the kernel code nor the kernel defines."""
    if not missing:
        return
    places = {call.target: call.place for each in graph.values() for call in each}
    first = min(missing, key=lambda name: (name not in places, name))
    raise InputError(
        f"the kernel has no {', '.join([first, *sorted(set(missing) - {first})])}",
        where=places.get(first, origin),
        remedy="kernel code uses what is global in the kernel: functions of the C library and "
        "of the application are not there, and `static` ones of the kernel are not seen. A kernel "
        "option may provide it",
    )
