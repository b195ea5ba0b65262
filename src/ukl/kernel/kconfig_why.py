# SPDX-License-Identifier: GPL-2.0
"""Why Kconfig dropped an option: the conditions of its definition, looked up in a `.config`.

Used only when an option was lost. This parses only as much of the Kconfig language as an
explanation needs (config, menu, if, depends, select); the kernel's own tool decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SYMBOL = re.compile(r"\b[A-Z0-9][A-Z0-9_a-z]*\b")
_STATEMENT = re.compile(
    r"^\s*(?P<word>config|menuconfig|menu|endmenu|if|endif|choice|endchoice|comment|source"
    r"|depends on|select|imply|default|prompt|help|bool|tristate|int|hex|string"
    r"|def_bool|def_tristate)\b(?P<rest>.*)$"
)
_PROMPT = re.compile(r"""(["']).*?\1(?:\s+if\s+(?P<condition>.*))?$""")
_TYPES = {"bool", "tristate", "int", "hex", "string", "def_bool", "def_tristate", "prompt"}


@dataclass(slots=True)
class Definition:
    """One `config` block: its conditions with those around it, and whether it has a prompt."""

    file: str
    conditions: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    """The conditions of its defaults."""
    prompt: bool = False
    choice: bool = False
    prompt_condition: str = ""
    """The condition under which its prompt is visible; otherwise the default holds."""


@dataclass(slots=True)
class Definitions:
    """All `config` blocks of a tree, and the symbols that select or imply others."""

    blocks: dict[str, list[Definition]] = field(default_factory=dict)
    selects: dict[str, list[str]] = field(default_factory=dict)
    implies: dict[str, list[str]] = field(default_factory=dict)
    """As `selects`, for `imply`."""
    sourced: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """File -> the files that source it, each with the conditions around the `source`."""

    @classmethod
    def scan(cls, tree: Path) -> Definitions:
        """Read every Kconfig file that an x86 configuration can see."""
        found = cls()
        for file in sorted(tree.rglob("Kconfig*")):
            name = file.relative_to(tree).as_posix()
            other = name.startswith("arch/") and not name.startswith(("arch/x86/", "arch/Kconfig"))
            if not other and file.is_file():
                found.add(name, file.read_text(errors="replace"))
        return found

    def add(self, file: str, text: str) -> None:
        """Read one file. The conditions of files that source it are not included."""
        around: list[tuple[str, list[str]]] = []
        block: Definition | None = None
        symbol = ""
        for line in _statements(text):
            match = _STATEMENT.match(line)
            if match is None:
                continue
            word, rest = match["word"], match["rest"].strip()
            if word in {"config", "menuconfig"}:
                symbol = rest
                conditions = [condition for _, level in around for condition in level]
                block = Definition(file, conditions, choice=any(k == "choice" for k, _ in around))
                self.blocks.setdefault(symbol, []).append(block)
            elif word in {"menu", "if", "choice"}:
                around.append((word, [rest] if word == "if" else []))
                block = None
            elif word in {"endmenu", "endif", "endchoice"}:
                if around:
                    around.pop()
                block = None
            elif word == "source":
                about = " && ".join(condition for _, level in around for condition in level)
                name = rest.strip("\"'").replace("$(SRCARCH)", "x86")
                self.sourced.setdefault(name, []).append((file, about))
            elif word == "depends on":
                (block.conditions if block else around[-1][1] if around else []).append(rest)
            elif word == "select" and block is not None:
                self.selects.setdefault(rest.split()[0], []).append(symbol)
            elif word == "imply" and block is not None:
                self.implies.setdefault(rest.split()[0], []).append(symbol)
            elif word == "default" and block is not None:
                block.defaults.append(rest.partition(" if ")[2])
            elif word in _TYPES and block is not None and (asked := _PROMPT.search(rest)):
                block.prompt = True
                block.prompt_condition = asked["condition"] or ""

    def reason(self, name: str, value: str, config: Mapping[str, str]) -> str:
        """Explain why `name` (with CONFIG_) is not `value` in `config`."""
        symbol = name.removeprefix("CONFIG_")
        blocks = self.blocks.get(symbol)
        if not blocks:
            return "this kernel has no such option"
        if value == "n":
            by = [who for who in self.selects.get(symbol, []) if config.get(f"CONFIG_{who}") == "y"]
            if by:
                return f"selected by {', '.join(by[:4])}"
            return _no_prompt(blocks, config) or "another option turns it on"
        unmet = []
        for block in blocks:
            for condition in block.conditions:
                unmet += [
                    f"{other}={state}"
                    for other in dict.fromkeys(_SYMBOL.findall(re.sub(r'"[^"]*"', "", condition)))
                    if (state := config.get(f"CONFIG_{other}", "n")) == "n" and other in self.blocks
                ]
        depends = " && ".join(
            f"({condition})" if "|" in condition else condition
            for condition in dict.fromkeys(blocks[0].conditions)
        )
        if depends:
            text = f"depends on {depends}"
            return f"{text} ({', '.join(dict.fromkeys(unmet))})" if unmet else text
        if limited := _no_prompt(blocks, config):
            return limited
        if blocks[0].choice:
            return "another member of its choice is set"
        return f"see {blocks[0].file}"

    def selectors(self, symbol: str, config: Mapping[str, str]) -> list[str]:
        """Return the symbols that select this one and are on in `config`, without CONFIG_."""
        selecting = dict.fromkeys(self.selects.get(symbol, []))
        return [who for who in selecting if config.get(f"CONFIG_{who}", "n") != "n"]

    def influences(self, symbol: str) -> set[str]:
        """Return the symbols that may be why this one is off.

        It depends on them, they select or imply it, or its defaults name them. Includes the
        conditions around the `source` of its file.
        """
        texts = []
        files: set[str] = set()
        for block in self.blocks.get(symbol, []):
            texts += [*block.conditions, block.prompt_condition, *block.defaults]
            files.add(block.file)
        seen: set[str] = set()
        while files := files - seen:
            seen |= files
            around = [place for file in files for place in self.sourced.get(file, [])]
            texts += [condition for _, condition in around]
            files = {file for file, _ in around}
        names = {name for text in texts for name in _SYMBOL.findall(re.sub(r'"[^"]*"', "", text))}
        others = {*self.selects.get(symbol, []), *self.implies.get(symbol, [])}
        return {name for name in names | others if name != symbol}


def _no_prompt(blocks: list[Definition], config: Mapping[str, str]) -> str:
    """Say why the user cannot set the value; empty if possible."""
    if not any(block.prompt for block in blocks):
        return "it has no prompt: only other options set it (select, default)"
    limits = [block.prompt_condition for block in blocks if block.prompt]
    if all(limits):
        names = _SYMBOL.findall(limits[0])
        if not any(config.get(f"CONFIG_{name}", "n") != "n" for name in names):
            return f"it can be set only if {limits[0]}"
    return ""


def _statements(text: str) -> Iterator[str]:
    """Yield the lines of a Kconfig file without help texts; continued lines are joined."""
    in_help, indent = False, 0
    for line in text.expandtabs().replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        column = len(line) - len(line.lstrip())
        if in_help:
            # A help text goes on as long as its lines are indented like its first.
            indent = indent or column
            if column >= indent > 0:
                continue
            in_help = False
        in_help, indent = line.strip() in {"help", "---help---"}, 0
        yield line
