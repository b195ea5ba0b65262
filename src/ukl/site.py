# SPDX-License-Identifier: GPL-2.0
"""Hooks of mkdocs: the parts of the site that are made from the code and from measurements.

    mkdocs build --strict

makes the site that mkdocs.yml describes in build/site. Of docs/ it takes the pages; from here
come the reference of all verbs (from their parser), of all keys (from the schemas), and the
gallery (from samples of `ukl bench` in docs/gallery). Links to files of the repository that are
no pages become their names: the site does not have them.
"""

from __future__ import annotations

import functools
import inspect
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from ukl.bench import plots, samples, table
from ukl.settings import compose, manifest

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
GALLERY = DOCS / "gallery"

_LINK = re.compile(r"\[((?:[^\]\[]|\[[^\]]*\])*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


# --- what mkdocs calls --------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that are no files."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - not needed by the tests of pages

    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    for file in list(files):
        if file.src_uri.startswith("gallery/") and file.src_uri.endswith(".json"):
            files.remove(file)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links to what is not in the site into plain text."""
    if page.file.src_uri == "gallery.md":
        markdown += "\n" + gallery(GALLERY)[0]
    return within(markdown, Path(page.file.src_uri).parent)


# --- pure -----------------------------------------------------------------------------------


def within(markdown: str, directory: Path) -> str:
    """Return a page whose links out of docs/ are plain text; `directory` is where it lies."""

    def plain(match: re.Match[str]) -> str:
        target = (DOCS / directory / match[2]).resolve()
        return match[0] if target.is_relative_to(DOCS) else match[1]

    return _LINK.sub(plain, markdown)


def generated() -> dict[str, str | bytes]:
    """Return all that is made here: path in the site -> content."""
    from ukl.cli.app import app  # noqa: PLC0415 - all verbs

    return {
        "reference/commands.md": commands(typer.main.get_command(app)),
        "reference/ukl-toml-keys.md": keys("ukl.toml", manifest.schema()),
        "reference/compose-toml-keys.md": keys("compose.toml", compose.schema()),
        **gallery(GALLERY)[1],
    }


def commands(root: Any) -> str:
    """Return the page of all verbs, from their parser."""
    lines = [
        "# All verbs and options",
        "",
        "Made from the parser, as `ukl VERB --help` and `ukl man VERB` are. "
        "[Command line](cli.md) explains them.",
    ]
    return "\n".join([*lines, *_verbs(root, "ukl", None), ""])


def _verbs(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    inner: dict[str, Any] = getattr(command, "commands", {})
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield from ("", f"## `{name}`", "", f"    {usage}", "")
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    rows = [record for each in shown if (record := each.get_help_record(context))]
    if rows:
        yield from ("", "| | |", "|---|---|")
        for words, text in rows:
            yield f"| {_code(words)} | {_cell(text)} |"
    for word, each in inner.items():
        if not each.hidden:
            yield from _verbs(each, f"{name} {word}", context)


def keys(name: str, schema: Mapping[str, Any]) -> str:
    """Return the page of all keys of a TOML file, from its schema."""
    page = name.replace(".", "-") + ".md"
    lines = [
        f"# Keys of {name}",
        "",
        f"Made from the schema (`ukl schema`). [{name}]({page}) explains them.",
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
def gallery(directory: Path) -> tuple[str, dict[str, bytes]]:
    """Return the tables and pictures of all samples in `directory`: a page's text, and files.

    MissingError without matplotlib.
    """
    made: dict[str, bytes] = {}
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        for file in sorted(directory.glob("*.json")):
            report = samples.load(file)
            place = Path(temporary, file.stem)
            place.mkdir()
            parts += [f"## {file.stem}", ""]
            for plot in plots.draw(report, place):
                name = f"gallery/{file.stem}/{plot.name}.svg"
                made[name] = (place / f"{plot.name}.svg").read_bytes()
                parts += [f"![{plot.title}]({name})", ""]
            parts += ["```text", *map(str, table.tables(report)), "```", "", "| | |", "|---|---|"]
            parts += [f"| {_cell(key)} | {_cell(str(each))} |" for key, each in _where(report)]
            parts.append("")
    return "\n".join(parts), made


def _where(report: samples.Report) -> Iterator[tuple[str, object]]:
    """Yield what was measured with."""
    for name, value in report.environment.items():
        if not isinstance(value, (dict, list)):
            yield name, value
