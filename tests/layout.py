# SPDX-License-Identifier: GPL-2.0
"""The modules of src/ukl: who imports whom, and a picture of the packages.

    python -m tests.layout

writes docs/design/layout.svg. Each package has its place in ROWS by hand; the arrows are
made of the imports. tests/unit/test_shape.py fails when an import leads up, and when the
picture is not that of the code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path

TOP = Path(__file__).parents[1]
SOURCE = TOP / "src/ukl"
PICTURE = TOP / "docs/design/layout.svg"

Graph = Mapping[str, frozenset[str]]

# --- imports ----------------------------------------------------------------------


def files() -> list[Path]:
    """Return the Python files that are ours; what `ukl new` copies is its user's."""
    templates = SOURCE / "scaffold"
    return sorted(
        file
        for file in SOURCE.rglob("*.py")
        if templates not in file.parents or file.parent == templates
    )


def module_of(file: Path) -> str:
    """Return a module's name without `ukl.`; the root of all is `ukl`."""
    parts = file.relative_to(SOURCE).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or "ukl"


def package_of(module: str) -> str:
    """Return the package that a module is in; a module beside the packages is one itself."""
    return module.partition(".")[0]


def imported(tree: ast.AST, known: Iterable[str]) -> Iterator[str]:
    """Yield what is imported anywhere in a file: in functions, and for types alone, too."""
    modules = {"ukl" if each == "ukl" else f"ukl.{each}": each for each in known}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in full]
        else:
            continue
        yield from (modules[name] for name in names if name in modules)


@cache
def trees() -> Mapping[str, ast.Module]:
    """Return module -> its syntax."""
    return {module_of(file): ast.parse(file.read_bytes()) for file in files()}


@cache
def modules() -> Graph:
    """Return module -> modules that it imports."""
    known = trees()
    return {module: frozenset(imported(tree, known)) - {module} for module, tree in known.items()}


@cache
def packages() -> Graph:
    """Return package -> packages that it imports."""
    found: dict[str, set[str]] = {}
    for module, others in modules().items():
        own = found.setdefault(package_of(module), set())
        own.update(map(package_of, others))
    return {package: frozenset(others - {package}) for package, others in found.items()}


def circle(graph: Graph) -> list[str]:
    """Return modules or packages that import each other in a circle; nothing if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def reduced(graph: Graph) -> dict[str, list[str]]:
    """Return a graph without what follows: no a -> c where a -> b and b -> c."""
    reach: dict[str, frozenset[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        direct = graph.get(name, frozenset())
        reach[name] = direct.union(*(reach[other] for other in direct))
    return {
        name: sorted(other for other in direct if not any(other in reach[each] for each in direct))
        for name, direct in graph.items()
    }


# --- the picture --------------------------------------------------------------------

ROWS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("cli", 3),),
    (("package", 2),),
    (("check", 2), ("compose", 3), ("observe", 4)),
    (("flow", 3),),
    (("recipe", 2),),
    (("wrap", 2), ("vm", 4)),
    (("scaffold", 0), ("app", 2), ("trim", 3), ("image", 4)),
    (("settings", 1), ("kernel", 3), ("container", 5)),
    (("syscalls", 1), ("lto", 2), ("pgo", 3), ("guest", 4), ("debug", 5), ("bench", 6)),
    (("elf", 2), ("host", 4)),
    (("base", 3),),
)
"""The packages from top to bottom, and the column of each: imports lead down."""

AROUND: Mapping[tuple[str, str], float] = {
    ("cli", "scaffold"): 0,
    ("flow", "bench"): 6,
    ("flow", "container"): 5,
    ("container", "host"): 4.5,
    ("vm", "debug"): 4.5,
    ("app", "syscalls"): 1.5,
    ("app", "pgo"): 2.5,
    ("kernel", "elf"): 2.5,
}
"""Arrows past other boxes, and the column in which they go down."""

WIDTH, HEIGHT = 92, 28
"""Of a box."""
ACROSS, DOWN = 112, 62
"""From one box to the next."""
MARGIN = 10


@dataclass(frozen=True, slots=True)
class Box:
    """A package in the picture: its row, and the middle of its box."""

    row: int
    x: float
    y: float


def rows() -> dict[str, int]:
    """Return package -> its row, from the top."""
    return {name: number for number, row in enumerate(ROWS) for name, _ in row}


def _column(column: float) -> float:
    return MARGIN + WIDTH / 2 + column * ACROSS


def _row(row: int) -> float:
    return MARGIN + HEIGHT / 2 + row * DOWN


def _arrow(one: Box, other: Box, around: float | None) -> str:
    """Return the path of an arrow from the bottom of a box to the top of another."""
    begin, end = one.y + HEIGHT / 2, other.y - HEIGHT / 2
    if around is None:
        return f"M{one.x:g} {begin:g}{_curve(one.x, begin, other.x, end)}"
    # To the column, down in it, and to the box.
    x, top, bottom = _column(around), _row(one.row + 1), _row(other.row - 1)
    first = _curve(one.x, begin, x, top - HEIGHT / 2)
    second = _curve(x, bottom + HEIGHT / 2, other.x, end)
    return f"M{one.x:g} {begin:g}{first}V{bottom + HEIGHT / 2:g}{second}"


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a curve that begins and ends upright."""
    bend = (DOWN - HEIGHT) * 0.6
    return f"C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"


STYLE = """
text { font: 13px system-ui, sans-serif; text-anchor: middle; fill: #1f2328; }
rect { fill: #eef2f6; stroke: #768390; }
path { fill: none; stroke: #768390; }
marker path { fill: #768390; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  rect { fill: #21262d; }
}
"""
"""The lines can be seen on white and on black: a page may have another scheme than the picture."""


def picture() -> str:
    """Return the picture of the packages."""
    boxes = {
        name: Box(number, _column(column), _row(number))
        for number, row in enumerate(ROWS)
        for name, column in row
    }
    width = max(box.x for box in boxes.values()) + WIDTH / 2 + MARGIN
    height = max(box.y for box in boxes.values()) + HEIGHT / 2 + MARGIN
    shown = {name: packages()[name] & boxes.keys() for name in boxes}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        "<title>The packages of src/ukl; an arrow is an import</title>",
        f"<style>{STYLE}</style>",
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker>',
    ]
    for name, others in sorted(reduced(shown).items()):
        for other in others:
            path = _arrow(boxes[name], boxes[other], AROUND.get((name, other)))
            lines.append(f'<path d="{path}" marker-end="url(#head)"/>')
    for name, box in boxes.items():
        x, y = box.x - WIDTH / 2, box.y - HEIGHT / 2
        lines.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>')
        lines.append(f'<text x="{box.x:g}" y="{box.y + 4.5:g}">{escape(name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
