# SPDX-License-Identifier: GPL-2.0
"""A flame graph as SVG: stacks side by side, their widths proportional to their counts. Pure.

The idea is Brendan Gregg's (https://www.brendangregg.com/flamegraphs.html). The file has no
scripts: a browser shows name and share of the box under the pointer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, ROW, MARGIN, HEAD = 1200, 17, 10, 40
LETTER = 6.6
"""Width of a letter, in units of the picture."""

NARROWEST = 0.4
"""The width below which a box is omitted, in units of the picture."""

KERNEL, APPLICATION, OTHER = "#f0a35e", "#7eb26d", "#b0b8c4"


@dataclass(slots=True)
class _Node:
    count: int = 0
    inner: dict[str, _Node] = field(default_factory=dict)


def _tree(stacks: Mapping[tuple[str, ...], int]) -> _Node:
    root = _Node()
    for frames, count in stacks.items():
        root.count += count
        node = root
        for name in frames:
            node = node.inner.setdefault(name, _Node())
            node.count += count
    return root


def _depth(node: _Node) -> int:
    return 1 + max((_depth(each) for each in node.inner.values()), default=0)


def svg(stacks: Mapping[tuple[str, ...], int], title: str, unit: str = "samples") -> str:
    """Return the picture of counts of `unit`; the outermost functions are at the bottom."""
    root = _tree(stacks)
    height = HEAD + _depth(root) * ROW + 2 * MARGIN
    scale = (WIDTH - 2 * MARGIN) / max(1, root.count)
    whole = (root.count, unit)
    boxes = "".join(_boxes("all", root, whole, (MARGIN, height - MARGIN - ROW), scale))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="monospace" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="{WIDTH / 2:.0f}" y="24" text-anchor="middle" font-size="15">'
        f"{escape(title)}</text>\n{boxes}</svg>\n"
    )


def _boxes(
    name: str, node: _Node, whole: tuple[int, str], corner: tuple[float, float], scale: float
) -> Iterator[str]:
    x, y = corner
    all_of_them, unit = whole
    width = node.count * scale
    if width < NARROWEST:
        return
    kernel = name.endswith("_[k]")
    shown = name.removesuffix("_[k]")
    colour = KERNEL if kernel else OTHER if name in {"all", "[unknown]"} else APPLICATION
    share = f"{100 * node.count / max(1, all_of_them):.1f}%"
    fits = int((width - 4) / LETTER)
    text = shown if len(shown) <= fits else f"{shown[: fits - 2]}.." if fits > 3 else ""
    yield (
        f"<g><title>{escape(shown)}{' (kernel)' if kernel else ''}: {node.count} {unit}, "
        f'{share}</title><rect x="{x:.1f}" y="{y:.0f}" width="{max(0.3, width - 0.5):.1f}" '
        f'height="{ROW - 1}" fill="{colour}"/>'
        f'<text x="{x + 3:.1f}" y="{y + 12:.0f}">{escape(text)}</text></g>\n'
    )
    for each, inner in sorted(node.inner.items()):
        yield from _boxes(each, inner, whole, (x, y - ROW), scale)
        x += inner.count * scale
