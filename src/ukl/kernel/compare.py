# SPDX-License-Identifier: GPL-2.0
"""Compare the object code of the patched kernel with CONFIG_UKL=n and the unpatched kernel.

Both trees are configured alike and compiled; then each function and each data section is
compared, with symbols in place of addresses, so that a function which grew does not make
those after it differ. Line numbers (of BUG() and WARN()) and debug sections do not count.
`kernel/VERSION/compare.toml` lists the objects, and the differences that are intended.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukl.base.errors import InputError
from ukl.base.model import KernelSpec
from ukl.base.progress import Progress
from ukl.host.exec import run
from ukl.host.store import Store, digest
from ukl.kernel import kconfig, make_args
from ukl.kernel.build import OPTION, compiler_identity, is_series_option, requests
from ukl.kernel.kconfig import Request
from ukl.kernel.source import fingerprint
from ukl.kernel.tree import prepare

FILENAME = "compare.toml"

_FUNCTION = re.compile(r"^<(.+)>:$")
_SECTION = re.compile(r"^Disassembly of section (\S+):$")
_RELOCATION = re.compile(r"^\s*(?:[0-9a-f]+:? )?\s*(R_X86_64_\w+)\s+(\S+)$")
_PLACE = re.compile(r"^(\.\S*?)([+-]0x[0-9a-f]+)?$")
_COUNTER = re.compile(r"(?<=[A-Za-z_])\.\d+\b|(?<=__UNIQUE_ID_)\w+?\d+\b|(?<=__already_done)\.\d+")
_GUESS = re.compile(r"\s*(?:#\s*)?<[^>]*>$")
"""The target that objdump shows of an instruction that the linker has not filled in."""
_IGNORED = re.compile(r"\.(debug|comment|note|eh_frame)")
"""Sections for debuggers, or that the kernel's linker script discards."""
_STRINGS = re.compile(r"\.rodata\.str|\.init\.rodata\.str|\.rodata\..*\.str1")
_TREE = re.compile(rb"(^|(?<= at ))(\.\./)*(/.*/)?(source|tree)/[0-9a-f]+/linux/")
"""The path of a tree in the cache, as in __FILE__ when ccache runs the compiler."""
_FORTIFIED = re.compile(rb'^(field ".*" at \S+):\d+$')
"""The message of __fortify_memcpy_chk() (include/linux/fortify-string.h), with a line number."""

_BUG_TABLE = "__bug_table"


def _without_lines(rows: list[str]) -> list[str]:
    """Return a table of struct bug_entry, content and relocations, without its line numbers."""
    # Two or, in newer kernels, three places (instruction, format, file) are in front of it.
    line = 12 if any(int(row.split()[0], 16) == 8 for row in rows[1:]) else 8
    content = bytearray.fromhex(rows[0])
    for start in range(0, len(content), line + 4):
        content[start + line : start + line + 2] = b"\0\0"
    return [content.hex(), *rows[1:]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The objects to compare, and the differences allowed in them: object -> place -> why."""

    objects: tuple[str, ...]
    options: Mapping[str, str]
    justified: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A function or section that differs, and why that is allowed; empty if it is not."""

    object: str
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result: number of objects, their differences, and justifications that match none."""

    objects: int
    differences: tuple[Difference, ...]
    stale: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether each difference is justified, and each justification needed."""
        return not self.stale and all(found.why for found in self.differences)


def load(file: Path) -> Plan:
    """Read compare.toml; raises InputError if it is malformed."""
    try:
        data = tomllib.loads(file.read_text())
        justified: dict[str, dict[str, str]] = {}
        for row in data.get("difference", []):
            for name in row["objects"]:
                places = justified.setdefault(name, {})
                places.update(dict.fromkeys(row["places"], row["why"]))
        return Plan(tuple(data["objects"]), dict(data.get("options", {})), justified)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"cannot read the list of objects to compare: {error}", where=file
        ) from None


# --- reading an object: pure, from objdump's output ---------------------------------


class Symbols:
    """The functions and strings of an object, to name places in its sections."""

    def __init__(self, table: str, contents: Mapping[str, bytes]) -> None:
        self._strings = {name: raw for name, raw in contents.items() if _STRINGS.match(name)}
        self._starts: dict[str, list[tuple[int, str]]] = {}
        self._labels: dict[str, tuple[str, int]] = {}
        for line in table.splitlines():
            head, tab, tail = line.partition("\t")
            words = head.split()
            if not tab or len(words) < 3:
                continue
            name, section, value = tail.split()[-1], words[-1], int(words[0], 16)
            if section in self._strings:
                self._labels[name] = (section, value)
            elif "F" in words[1:-1]:
                self._starts.setdefault(section, []).append((value, name))
        for starts in self._starts.values():
            starts.sort()

    def place(self, section: str, offset: int) -> str:
        """Return `function+offset` for a place, `section+offset` if it is in no function."""
        found = [entry for entry in self._starts.get(section, []) if entry[0] <= offset]
        if not found:
            return f"{section}+{offset:#x}"
        start, name = found[-1]
        return f"{name}+{offset - start:#x}"

    def target(self, text: str, bias: int = 0) -> str:
        """Return the target of a relocation, with a function or string in place of an offset.

        `bias`, in bytes, is added to the addend to get the distance from the target's start.
        """
        match = _PLACE.match(text)
        if match and (match[1] in self._strings or match[1] in self._labels):
            section, value = self._labels.get(match[1], (match[1], 0))
            start = value + int(match[2] or "0", 16) + bias
            string = self._strings[section][start:].partition(b"\0")[0]
            return repr(_FORTIFIED.sub(rb"\1", _TREE.sub(b"", string)))
        if match is None or match[1] not in self._starts:
            return _COUNTER.sub("", text)
        return self.place(match[1], int(match[2] or "0", 16) + bias)


def functions(disassembly: str, symbols: Symbols) -> dict[str, list[str]]:
    """Return the lines of each function of an object, from `objdump -dr --no-addresses`."""
    found: dict[str, list[str]] = {}
    section, lines = "", []
    for line in disassembly.splitlines():
        if match := _SECTION.match(line):
            section = match[1]
        elif match := _FUNCTION.match(line):
            lines = found.setdefault(f"{_COUNTER.sub('', match[1])} ({section})", [])
        elif match := _RELOCATION.match(line):
            # The processor adds the displacement to the address after its four bytes.
            bias = 4 if match[1] in {"R_X86_64_PC32", "R_X86_64_PLT32"} else 0
            lines[-1:] = [_GUESS.sub("", text) for text in lines[-1:]]
            lines.append(f"{match[1]} {symbols.target(match[2], bias)}")
        elif line.strip():
            lines.append(_COUNTER.sub("", line.strip()))
    return found


def contents(dump: str) -> dict[str, bytes]:
    """Return the bytes of each section, from `objdump -s`."""
    raw: dict[str, bytearray] = {}
    name = ""
    for line in dump.splitlines():
        if match := re.match(r"^Contents of section (\S+):$", line):
            name = match[1]
            raw[name] = bytearray()
        elif match := re.match(r"^ [0-9a-f]+ ((?:[0-9a-f]+ ){1,4})", line):
            raw[name] += bytes.fromhex(match[1].replace(" ", ""))
    return {name: bytes(content) for name, content in raw.items()}


def data(raw: Mapping[str, bytes], relocations: str, symbols: Symbols) -> dict[str, list[str]]:
    """Return bytes and relocations (from `objdump -r`) of each data section."""
    found: dict[str, list[str]] = {}
    name = ""
    for name, fixed in raw.items():
        found[name] = [bytes(fixed).hex()]
    for line in relocations.splitlines():
        if match := re.match(r"^RELOCATION RECORDS FOR \[(\S+)\]:$", line):
            name = match[1]
        elif (match := re.match(r"^([0-9a-f]+) (R_X86_64_\w+)\s+(\S+)$", line)) and name in found:
            found[name].append(f"{match[1]} {match[2]} {symbols.target(match[3])}")
    return {
        name: _without_lines(rows) if name.startswith(_BUG_TABLE) else rows
        for name, rows in found.items()
    }


def read(file: Path) -> dict[str, list[str]]:
    """Return the functions and sections of an object file in a form that can be compared."""

    def objdump(*options: str) -> str:
        return run(["objdump", *options, file]).stdout

    raw = contents(objdump("-s"))
    symbols = Symbols(objdump("-t", "-w"), raw)
    found = functions(objdump("-dr", "--no-show-raw-insn", "--no-addresses"), symbols)
    headers = objdump("-h", "-w")
    code = {line.split()[1] for line in headers.splitlines() if " CODE" in line}
    sections = data(raw, objdump("-r", "-w"), symbols)
    for name, content in sections.items():
        # A string is compared where it is referred to.
        if name not in code and not _IGNORED.match(name) and not _STRINGS.match(name):
            found[name] = content
    return found


def differences(
    name: str,
    old: Mapping[str, Sequence[str]],
    new: Mapping[str, Sequence[str]],
    justified: Mapping[str, str],
) -> list[Difference]:
    """Return the places in which two versions of an object differ."""
    places = sorted(place for place in {*old, *new} if old.get(place) != new.get(place))
    return [Difference(name, place, justified.get(place, "")) for place in places]


# --- making them -------------------------------------------------------------------


def asked_of(spec: KernelSpec, plan: Plan, *, patched: bool) -> dict[str, Request]:
    """Return the requests for one of the two configurations; only CONFIG_UKL=n differs."""
    asked = requests(spec)
    asked.update(kconfig.merge(kconfig.parse_options(plan.options, FILENAME)))
    # The unpatched tree does not define these options.
    asked = {name: request for name, request in asked.items() if not is_series_option(name)}
    if patched:
        asked[OPTION] = Request(OPTION, "n", FILENAME)
    return asked


def _objects(
    spec: KernelSpec, plan: Plan, store: Store, progress: Progress, jobs: int, *, patched: bool
) -> Path:
    """Return the directory with the objects of one of the two trees; compile them if needed."""
    if patched:
        tree = prepare(spec.source, spec.series, store, progress)
        name = tree.parent.name
    else:
        tree = spec.source.directory
        name = spec.source.key or fingerprint(tree)
    asked = asked_of(spec, plan, patched=patched)
    lines = sorted(request.line() for request in asked.values())
    identity = compiler_identity(spec.compiler)
    key = digest("compare", make_args.FORMAT, name, lines, plan.objects, identity)

    def compile_into(directory: Path) -> None:
        make = make_args.make_command(tree, directory / "objects", spec.compiler, jobs, store.root)
        log = directory / "build.log"
        kconfig.configure(make, asked, log)
        make.run(*plan.objects, log=log)
        for file in sorted((directory / "objects").rglob("*.o")):
            if os.fspath(file.relative_to(directory / "objects")) not in plan.objects:
                file.unlink()

    which = "patched" if patched else "unpatched"
    with progress.stage(f"{len(plan.objects)} objects of the {which} kernel"):
        return store.make("compare", key, {"tree": name}, compile_into) / "objects"


def compare(
    spec: KernelSpec, store: Store, progress: Progress, jobs: int | None = None
) -> Comparison:
    """Compile the objects of both trees and return their differences.

    Raises InputError for a series without a compare.toml, UklError if an object does not
    compile.
    """
    plan = load(spec.series.parent / FILENAME)
    workers = jobs or len(os.sched_getaffinity(0))
    before, after = (
        _objects(spec, plan, store, progress, workers, patched=patched) for patched in (False, True)
    )
    found: list[Difference] = []
    with progress.stage("compare"):
        for name in plan.objects:
            old, new = read(before / name), read(after / name)
            found += differences(name, old, new, plan.justified.get(name, {}))
    seen = {(each.object, each.place) for each in found}
    stale = [
        f"{name}: {place}"
        for name, places in plan.justified.items()
        for place in places
        if (name, place) not in seen
    ]
    return Comparison(len(plan.objects), tuple(found), tuple(stale))
