# SPDX-License-Identifier: GPL-2.0
"""Hooks of mkdocs: the parts of the site that are made from the code and from measurements.

    mkdocs build --strict

makes the site that mkdocs.yml describes in build/site. Of docs/ it takes the pages. From here
come the reference of all verbs (from their parser), of all keys (from the schemas), the parts of
the front page that README.md has too, and the gallery's tables and plots (from samples of
`ukl bench` in docs/gallery). Links to files of the repository that are no pages become their
names: the site does not have them.
"""

from __future__ import annotations

import functools
import inspect
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ukl.bench import plots, samples, stats, table
from ukl.bench.variants import VARIANTS
from ukl.settings import compose, manifest

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
GALLERY = DOCS / "gallery"

_LINK = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_PART = re.compile(r"(?m)^<!-- README: (.+) -->$")
_SAMPLES = re.compile(r"(?m)^<!-- samples: ([\w-]+) -->$")


# --- what mkdocs calls --------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that are no files."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - not needed by the tests of pages

    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in what a page takes from elsewhere; turn links out of the site into plain text."""
    markdown = _PART.sub(lambda match: section(match[1]), markdown)
    markdown = _SAMPLES.sub(lambda match: shown(GALLERY / f"{match[1]}.json")[0], markdown)
    return within(markdown, Path(page.file.src_uri).parent)


# --- pure -----------------------------------------------------------------------------------


def within(markdown: str, directory: Path) -> str:
    """Return a page whose links out of docs/ are plain text; `directory` is where it lies."""

    def plain(match: re.Match[str]) -> str:
        target = (DOCS / directory / match[2]).resolve()
        return match[0] if target.is_relative_to(DOCS) else match[1]

    return _LINK.sub(plain, markdown)


def section(title: str) -> str:
    """Return what README.md says below a heading, with links as a page in docs/ has them."""
    text = (TOP / "README.md").read_text()
    parts = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |^---$|\Z)", text))
    text = re.sub(r"\]\((?!docs/|#|\w+:)", "](../", parts[title].strip())
    return text.replace("](docs/", "](")


def generated() -> dict[str, str | bytes]:
    """Return all that is made here: path in the site -> content."""
    from ukl.cli.app import app  # noqa: PLC0415 - all verbs

    made: dict[str, str | bytes] = {
        "reference/commands.md": commands(typer.main.get_command(app)),
        "reference/ukl-toml-keys.md": keys("ukl.toml", manifest.schema()),
        "reference/compose-toml-keys.md": keys("compose.toml", compose.schema()),
    }
    for file in sorted(GALLERY.glob("*.json")):
        made |= shown(file)[1]
    return made


def commands(root: Any) -> str:
    """Return the page of all verbs, from their parser."""
    lines = [
        "# All verbs and options",
        "",
        "This page is made from the parser, as `ukl VERB --help` and `ukl man VERB` are. "
        "[The command line](cli.md) explains what the options do together.",
    ]
    return "\n".join([*lines, *_verbs(root, "ukl", None), ""])


def _verbs(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    inner: dict[str, Any] = getattr(command, "commands", {})
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield from ("", f"## `{name}`", "", f"    {_usage(usage)}", "")
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    yield from _options(command, context)
    first: dict[tuple[str, ...], str] = {}
    for word, each in inner.items():
        if each.hidden:
            continue
        below = typer.Context(each, info_name=word, parent=context)
        options = tuple(_options(each, below))
        if options in first and len(options) > _FEW:
            yield from ("", f"## `{name} {word}`", "", inspect.cleandoc(each.help or ""), "")
            yield f"Options: those of [`{first[options]}`](#{first[options].replace(' ', '-')})."
            continue
        first[options] = f"{name} {word}"
        yield from _verbs(each, f"{name} {word}", context)


_FEW = 6
"""Lines of a table that is short enough to be shown again."""


def _options(command: Any, context: Any) -> Iterator[str]:
    """Yield the table of a verb's arguments and options."""
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    rows = [record for each in shown if (record := each.get_help_record(context))]
    rows = [record for record in rows if record[0] != "--help"]
    if rows:
        yield from ("", "| | |", "|---|---|")
        for words, text in rows:
            yield f"| {_code(_words(words))} | {_cell(text)} |"


def _words(text: str) -> str:
    """Return the name of an argument without its type, which says nothing; options as they are."""
    return text if text.startswith("-") else re.sub(r" <[\w\[\]]+>$", "", text)


def _usage(text: str) -> str:
    """Return the line of usage without brackets around what is needed anyway."""
    text = re.sub(r"\{([^{}]*)\}(\.\.\.)?", r"\1", text)
    return re.sub(r"\[\[(.*?)\](?:\.\.\.)?\](?:\.\.\.)?", r"[\1]", text)


def keys(name: str, schema: Mapping[str, Any]) -> str:
    """Return the page of all keys of a TOML file, from its schema."""
    page = name.replace(".", "-") + ".md"
    lines = [
        f"# All keys of {name}",
        "",
        f"This page is made from the schema (`ukl schema`). [{name}]({page}) explains the keys.",
        "",
        "| key | type | |",
        "|---|---|---|",
    ]
    for key, node in _keys(schema, ""):
        lines.append(f"| `{key}` | {_cell(_type(node))} | {_cell(node.get('description', ''))} |")
    return "\n".join([*lines, ""])


def _keys(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, each in node.get("properties", {}).items():
        yield f"{prefix}{name}", each
        yield from _keys(each, f"{prefix}{name}.")
        if isinstance(values := each.get("additionalProperties"), dict):
            yield from _keys(values, f"{prefix}{name}.NAME.")


def _type(node: Mapping[str, Any]) -> str:
    if choices := node.get("anyOf"):
        return " or ".join(dict.fromkeys(_type(each) for each in choices))
    if "enum" in node:
        return ", ".join(f'`"{value}"`' for value in node["enum"])
    kind: Any = node.get("type", "")
    if kind == "array" and isinstance(node.get("items"), dict):
        return f"array of {_type(node['items'])}"
    words = kind if isinstance(kind, list) else [kind]
    return " or ".join("table" if each == "object" else str(each) for each in words)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`"  # a stroke between backticks parts no cells


# --- the gallery ------------------------------------------------------------------------------


@functools.cache  # pictures take seconds
def shown(file: Path) -> tuple[str, dict[str, bytes]]:
    """Return what the gallery shows of a file of samples: text, and the pictures in it.

    MissingError without matplotlib.
    """
    report = samples.load(file)
    made: dict[str, bytes] = {}
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        for plot in plots.draw(report, Path(place)):
            name = f"gallery/{file.stem}/{plot.name}.svg"
            made[name] = Path(place, f"{plot.name}.svg").read_bytes()
            parts += [f"[![{plot.title}]({name})]({name})", ""]
    for suite, meter in report.parts():
        parts += [*_figures(report, suite, meter), ""]
    parts += ['??? note "What the columns are, and what it was measured with"', ""]
    titles = {each.name: each.title for each in VARIANTS}
    rows = [(f"`{name}`", titles.get(name, "")) for name in report.variants()]
    rows += [(key, str(value)) for key, value in _where(report)]
    parts += [f"    {line}" for line in _table(("", ""), rows)]
    return "\n".join(parts), made


def _figures(report: samples.Report, suite: str, meter: samples.Meter) -> list[str]:
    found = stats.figures(report, suite, meter)
    variants = [name for name in report.variants() if any(name == key[1] for key in found)]
    rows = []
    for row in report.rows(suite, meter):
        cells = (found.get((row, name)) for name in variants)
        rows.append((row, *(table.figure(cell, meter) if cell else "" for cell in cells)))
    title = table.title(suite, meter, report.environment)
    return [f"{title}:", "", *_table(("", *variants), rows)]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---", *["--:" if len(head) > 2 else "---"] * (len(head) - 1)), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _where(report: samples.Report) -> Iterator[tuple[str, object]]:
    """Yield what was measured with."""
    for name, value in report.environment.items():
        if not isinstance(value, (dict, list)):
            yield name, value
