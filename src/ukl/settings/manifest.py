# SPDX-License-Identifier: GPL-2.0
"""`ukl.toml` -> AppSpec. An error names file, line, key and what to write instead."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Level, PortForward, Protocol, PythonSpec, Returns
from ukl.recipe import python
from ukl.settings import recipe
from ukl.settings.volumes import parse_disk, parse_volume

FILENAME = "ukl.toml"

NAME_LIMIT = 31
"""Characters of a name: the marker file has room for 32, one of them NUL."""

PAGE_SIZES = (*(f"{kib}K" for kib in (16, 32, 64, 128, 256, 512)), "1M", "2M")
"""Of anonymous memory on x86-64: orders 2 to 9 (THP_ORDERS_ALL_ANON in linux/huge_mm.h)."""

MEMORY_MIN = 11 << 20
"""Bytes below which no kernel of ours boots, not even that of the profile `tiny`."""

CPUS_MAX = 64
"""What the kernel configuration allows (CONFIG_NR_CPUS)."""

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


# --- values, shared with the options of the command line ---------------------


def parse_memory(text: str) -> int:
    """Return the bytes that `256M` or `2G` stands for; ValueError says what is wrong."""
    match = re.fullmatch(r"(\d+)([KMG])(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory; write it like 256M or 2G")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size < MEMORY_MIN:
        raise ValueError(f"{text!r} is too little memory; at least {MEMORY_MIN >> 20}M is needed")
    return size


LOG_MIN, LOG_MAX = 64 << 10, 1 << 40
"""Bytes of one file of a console: what is looked at of its end fits, and a size is no typo."""


def parse_log_size(text: str) -> int:
    """Return the bytes that `16M` stands for as the size of a log; ValueError if it is none."""
    match = re.fullmatch(r"(\d+)([KMG])(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not LOG_MIN <= size <= LOG_MAX:
        raise ValueError(
            f"{text!r} is no size of a log; write it like 16M, from {LOG_MIN >> 10}K "
            f"to {LOG_MAX >> 30}G"
        )
    return size


def parse_page_size(text: str) -> int:
    """Return the bytes that `64K` or `2M` stands for; ValueError if no page has that size."""
    if text not in PAGE_SIZES:
        raise ValueError(f"{text!r} is no size of pages; there are {', '.join(PAGE_SIZES)}")
    return int(text[:-1]) * _UNITS[text[-1]]


def parse_port(text: str) -> PortForward:
    """Return the forward that `[ADDRESS:]HOST:GUEST[/udp]` stands for, else ValueError."""
    plain, slash, protocol = text.partition("/")
    if slash and protocol not in set(Protocol):
        raise ValueError(
            f"{text!r} is not a port forward: {protocol!r} is neither tcp nor udp; "
            "write it like 5353:53/udp"
        )
    *address, host, guest = plain.split(":") if ":" in plain else (plain, plain)
    numbers = []
    for word in (host, guest):
        if not re.fullmatch(r"\d{1,5}", word) or not 0 < int(word) < 1 << 16:
            raise ValueError(
                f"{text!r} is not a port forward: {word!r} is not a port (1 to 65535); "
                "write it like 5555:5555 or 0.0.0.0:5555:5555"
            )
        numbers.append(int(word))
    where = ":".join(address) or "127.0.0.1"
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", where) or any(
        int(byte) > 255 for byte in where.split(".")
    ):
        raise ValueError(f"{text!r} is not a port forward: {where!r} is not an IPv4 address")
    return PortForward(numbers[0], numbers[1], where, Protocol(protocol or "tcp"))


def parse_env(text: str) -> tuple[str, str]:
    """Return the name and value of `KEY=VALUE`, else ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{text!r} does not set a variable; write it like KEY=VALUE")
    return name, value


def parse_option(text: str) -> tuple[str, str]:
    """Return the name and value of the kernel option `CONFIG_X=VALUE`, else ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ValueError(f"{text!r} sets no kernel option; write it like CONFIG_TMPFS=y")
    return _option_name(name), value


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) or len(text) > NAME_LIMIT:
        raise ValueError(
            f"{text!r} cannot be a name; use letters, digits and . _ -, "
            f"at most {NAME_LIMIT} of them"
        )
    return text


def _option_value(value: object) -> object:
    if isinstance(value, bool):
        return "y" if value else "n"
    return str(value) if isinstance(value, int) else value


def _option_name(text: str) -> str:
    if not re.fullmatch(r"(CONFIG_)?[A-Z0-9][A-Za-z0-9_]*", text):
        raise ValueError(f"{text!r} is not the name of a kernel option, like CONFIG_TMPFS")
    return text if text.startswith("CONFIG_") else f"CONFIG_{text}"


def _library(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.+-]+", text) or text.startswith("-"):
        raise ValueError(f'{text!r} is not the name of a library; write "m" for -lm')
    return text


def _prototype(text: str) -> str:
    from ukl.app import imports  # noqa: PLC0415 - pycparser takes 0.1 s that others do not need

    imports.parse(text)
    return text


def _variable(text: str) -> str:
    return parse_env(f"{text}=")[0]


def _source(text: str, info: ValidationInfo) -> str:
    """Return the absolute path of a file named in the manifest; it must be there."""
    path = Path((info.context or {})["directory"], text)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise ValueError(f"the file {text!r} {what} (looked for {path})")
    return os.path.normpath(path.absolute())


def _host_path(text: str, info: ValidationInfo) -> str:
    path = Path((info.context or {})["directory"], text)
    if not path.exists():
        raise ValueError(f"the file {text!r} does not exist (looked for {path})")
    return os.path.normpath(path.absolute())


def _host_directory(text: str, info: ValidationInfo) -> str:
    path = _host_path(text, info)
    if not Path(path).is_dir():
        raise ValueError(f"{text!r} is not a directory")
    return path


def _script(text: str, info: ValidationInfo) -> str:
    path = _host_path(text, info)
    if Path(path).is_dir() and not Path(path, "__main__.py").is_file():
        raise ValueError(f"the directory {text!r} has no __main__.py")
    return path


def _port(value: object) -> str:
    parse_port(str(value))
    return str(value)


def _guest_path(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/") or text.endswith("/"):
        raise ValueError(f"{text!r} is not the absolute path of a file in the guest")
    return text


# --- the schema; docs/reference/ukl-toml.md describes it for people ------------


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _checked(parse: Callable[[str], object]) -> Callable[[object], str]:
    """Return what refuses a text that `parse` does not take, and else gives it back."""

    def check(value: object) -> str:
        parse(str(value))
        return str(value)

    return check


_Source = Annotated[str, AfterValidator(_source)]

VolumeText = Annotated[str, AfterValidator(_checked(parse_volume))]
DiskText = Annotated[str, AfterValidator(_checked(parse_disk))]
MemoryText = Annotated[str, BeforeValidator(_checked(parse_memory))]
LogSizeText = Annotated[str, BeforeValidator(_checked(parse_log_size))]
"""What several files have in the same form: `compose.toml` too."""


class _App(_Table):
    name: Annotated[str, AfterValidator(_name)] | None = None
    sources: list[_Source] = []
    program: _Source | None = None
    args: list[str] = []
    env: dict[Annotated[str, AfterValidator(_variable)], str] = {}
    entrypoint: Annotated[str, AfterValidator(_guest_path)] | None = None


class _Python(_Table):
    script: Annotated[str, AfterValidator(_script)]
    path: list[Annotated[str, AfterValidator(_host_directory)]] = []


class _Compile(_Table):
    cflags: list[str] = []


class _Link(_Table):
    libraries: list[Annotated[str, AfterValidator(_library)]] = []
    objects: list[_Source] = []
    rewrite_syscalls: bool = True
    level: Annotated[Level, Field(strict=False)] = Level.BASE
    lto: bool = False


class _Run(_Table):
    ports: list[Annotated[str, BeforeValidator(_port)]] = []
    volumes: list[VolumeText] = []
    disks: list[DiskText] = []
    memory: MemoryText = "256M"
    cpus: Annotated[int, Field(ge=1, le=CPUS_MAX)] = 1
    returns: Annotated[Returns, Field(strict=False)] = Returns.IRET
    page_size: Annotated[str, AfterValidator(_checked(parse_page_size))] | None = None
    populate: bool = False
    userspace: bool | None = None
    files: dict[
        Annotated[str, AfterValidator(_guest_path)], Annotated[str, AfterValidator(_host_path)]
    ] = {}


class _Kernel(_Table):
    applications: list[str] = []
    profile: str = ""
    pgo: Annotated[str, AfterValidator(_host_path)] | None = None
    imports: list[Annotated[str, AfterValidator(_prototype)]] = []
    options: dict[
        Annotated[str, AfterValidator(_option_name)],
        Annotated[str, BeforeValidator(_option_value)],
    ] = {}


class _Manifest(_Table):
    app: _App = _App()
    build: recipe.BuildTable | None = None
    python: _Python | None = None
    test: recipe.TestTable | None = None
    compile: _Compile = _Compile()
    link: _Link = _Link()
    run: _Run = _Run()
    kernel: _Kernel = _Kernel()


MODEL: type[BaseModel] = _Manifest
"""What checks the file; schema.py makes a JSON schema of it."""


# --- loading -----------------------------------------------------------------


def load(path: Path, *, alone: bool = False) -> AppSpec:
    """Return the specification in `path`: a `ukl.toml`, its directory, a C file,
    a Python script or a program.

    `alone` leaves out the applications that it wants in its kernel too. Raises
    InputError when there is none, or when something in it is wrong.
    """
    if path.is_dir():
        if not (path / FILENAME).is_file():
            raise InputError(
                f"the directory has no {FILENAME}",
                where=path,
                remedy=f'write one; the least is:\n[app]\nsources = ["{path.name}.c"]',
            )
        path = path / FILENAME
    if not path.is_file():
        raise InputError(
            "there is no such file",
            where=path,
            remedy=f"name a directory with a {FILENAME}, a C file, a Python script, or an example "
            f"({', '.join(example_names()) or 'none installed'})",
        )
    if path.suffix == ".c":
        path = path.absolute()
        name = name_of(path.stem)
        return AppSpec(name=name, origin=path, directory=path.parent, sources=(path,))
    if path.suffix == ".py":
        path = path.absolute()
        script = PythonSpec(path)
        return _with_python(
            # One name for all scripts: they share the kernel with the interpreter.
            AppSpec(name=python.EXAMPLE, origin=path, directory=path.parent, sources=()),
            script,
            memory=None,
        )
    if path.suffix != ".toml":
        return _load_program(path.absolute())
    return _load_toml(path.absolute(), alone=alone)


def _with_python(spec: AppSpec, script: PythonSpec, memory: int | None) -> AppSpec:
    """Return `spec` as the interpreter that runs the script; `memory` None is its own."""
    interpreter = load(resources.root() / "examples" / python.EXAMPLE)
    spec = python.applied(interpreter, script, spec)
    return replace(spec, memory=memory or interpreter.memory)


def name_of(text: str) -> str:
    """Return a name for an application that comes from a file called `text`. Pure."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip("-._")[:NAME_LIMIT] or "app"


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _load_program(path: Path) -> AppSpec:
    """Return the specification of a program that ukl-cc linked, or of its object."""
    hidden = path.parent / ".libs" / path.name
    if not _is_elf(path) and hidden.is_file():
        path = hidden  # libtool puts a script in the place of the program
    if not _is_elf(path):
        raise InputError(
            f"`{path.suffix or path.name}` is neither a {FILENAME} nor a C file, nor a program, "
            "nor a Python script that ends in .py",
            where=path,
            remedy=f"name a directory with a {FILENAME}, a file that ends in .c, or a program "
            "that ukl-cc linked",
        )
    name = name_of(path.name.removesuffix(".o").removesuffix(".ukl"))
    return AppSpec(name=name, origin=path, directory=path.parent, sources=(), program=path)


def find_example(name: str) -> Path | None:
    """Return the directory of the shipped example `name`, if there is one."""
    directory = resources.root() / "examples" / name
    return directory if "/" not in name and (directory / FILENAME).is_file() else None


def example_names() -> list[str]:
    """Return the names of the shipped examples."""
    return sorted(file.parent.name for file in resources.root().glob(f"examples/*/{FILENAME}"))


def resolve(target: str, *, alone: bool = False) -> AppSpec:
    """Return the specification of what a person named: an example, a directory or a file.

    A word without a slash that is an example means the example; `./word` is the
    directory of that name. Raises InputError.
    """
    example = find_example(target)
    if example is not None:
        return load(example, alone=alone)
    path = Path(target).expanduser()
    if path.exists() or "/" in target or path.suffix in {".c", ".py", ".toml"}:
        return load(path, alone=alone)
    names = example_names()
    near = difflib.get_close_matches(target, names, 1)
    raise InputError(
        f"there is no example, file or directory `{target}`"
        + (f"; did you mean `{near[0]}`?" if near else ""),
        remedy=f"name a directory with a {FILENAME}, a C file, a Python script, "
        f"or one of the examples: {', '.join(names)}",
    )


def resolve_all(target: str, others: Sequence[str]) -> AppSpec:
    """Return the specification of `target`, with `others` for the same kernel. InputError."""
    spec = resolve(target)
    return replace(spec, others=(*spec.others, *map(resolve, others)))


def _load_toml(path: Path, *, alone: bool) -> AppSpec:
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"the file is not UTF-8 text (byte {error.start})",
            where=path,
            remedy="save it as UTF-8",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(path, text, error) from error
    try:
        manifest = _Manifest.model_validate(data, context={"directory": path.parent})
    except ValidationError as error:
        raise explained(
            path, text, error, model=MODEL, remedies=_REMEDIES, document=_DOC
        ) from error
    if manifest.build and (manifest.app.program or manifest.app.sources or manifest.link.objects):
        raise InputError(
            "[build] makes the program: it goes without [app] sources, program and [link] objects",
            where=path,
            remedy="let the source's own build system name them, or leave [build] out",
        )
    if manifest.app.program and (manifest.app.sources or manifest.link.objects):
        raise InputError(
            "[app] program is linked already: it goes without sources and [link] objects",
            where=path,
            remedy="name the program, or what it is made of",
        )
    made_of = (manifest.build, manifest.app.program, manifest.app.sources, manifest.link.objects)
    if manifest.python and any(made_of):
        raise InputError(
            "[python] runs a script by the interpreter: it goes without [build], [app] sources "
            "and program, and [link] objects",
            where=path,
            remedy="leave them out, or leave [python] out",
        )
    if manifest.kernel.imports and not manifest.app.sources:
        raise InputError(
            "[kernel] imports makes a header for [app] sources, and there are none",
            where=path,
            remedy="name sources, or use UKL_IMPORT() and ukl_call_function() of ukl.h",
        )
    if not manifest.python and not any(made_of):
        raise InputError(
            "nothing to build: neither [app] sources nor [link] objects names a file, "
            "and there is no [build]",
            where=path,
            remedy='add to [app]: sources = ["main.c"]',
        )
    directory = path.parent
    name = manifest.app.name
    if name is None:
        try:
            name = _name(directory.name)
        except ValueError as error:
            raise InputError(
                f"the directory's name cannot be the application's: {error}",
                where=path,
                remedy='add to [app]: name = "..."',
            ) from error
    spec = AppSpec(
        name=name,
        origin=path,
        directory=directory,
        sources=tuple(map(Path, manifest.app.sources)),
        program=Path(manifest.app.program) if manifest.app.program else None,
        build=recipe.build_spec(manifest.build, directory) if manifest.build else None,
        suite=recipe.suite_spec(manifest.test, directory) if manifest.test else None,
        cflags=tuple(manifest.compile.cflags),
        libraries=tuple(manifest.link.libraries),
        objects=tuple(map(Path, manifest.link.objects)),
        rewrite_syscalls=manifest.link.rewrite_syscalls,
        level=manifest.link.level,
        lto=manifest.link.lto,
        returns=manifest.run.returns,
        page_size=parse_page_size(manifest.run.page_size) if manifest.run.page_size else 0,
        populate=manifest.run.populate,
        userspace=manifest.run.userspace,
        args=tuple(manifest.app.args),
        env=manifest.app.env,
        entrypoint=manifest.app.entrypoint or "",
        ports=tuple(map(parse_port, manifest.run.ports)),
        volumes=tuple(parse_volume(text, directory) for text in manifest.run.volumes),
        disks=tuple(parse_disk(text, directory) for text in manifest.run.disks),
        files={guest: Path(host) for guest, host in manifest.run.files.items()},
        memory=parse_memory(manifest.run.memory),
        cpus=manifest.run.cpus,
        kernel_options=manifest.kernel.options,
        kernel_profile=manifest.kernel.profile,
        counts=Path(manifest.kernel.pgo) if manifest.kernel.pgo else None,
        kernel_imports=tuple(manifest.kernel.imports),
        others=tuple(
            _neighbour(path, each) for each in (() if alone else manifest.kernel.applications)
        ),
    )
    if manifest.python is None:
        return spec
    memory = spec.memory if "memory" in manifest.run.model_fields_set else None
    paths = tuple(map(Path, manifest.python.path))
    return _with_python(spec, PythonSpec(Path(manifest.python.script), paths), memory)


def _neighbour(path: Path, target: str) -> AppSpec:
    """Return an application that the manifest `path` wants in its kernel too.

    Those that this one in turn names do not count: nothing goes round in circles.
    """
    if find_example(target) is None:
        target = os.path.normpath(path.parent / target)
    return resolve(target, alone=True)


# --- errors --------------------------------------------------------------------


def syntax_error(path: Path, text: str, error: tomllib.TOMLDecodeError) -> InputError:
    """Return the error about a file that is no TOML."""
    reason, line = _syntax(str(error), text)
    return InputError(
        f"not valid TOML: {reason}",
        where=f"{path}:{line}" if line else path,
        remedy="correct that line; https://toml.io describes the format",
    )


def _syntax(message: str, text: str) -> tuple[str, int | None]:
    """Split tomllib's message into reason and line."""
    if match := re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", message, re.DOTALL):
        return match[1], int(match[2])
    if message.endswith("(at end of document)"):
        return message, len(text.splitlines())
    return message, None


def explained(
    path: Path,
    text: str,
    error: ValidationError,
    *,
    model: type[BaseModel],
    remedies: Mapping[tuple[str, ...], str],
    document: str,
    named: Sequence[str] = (),
) -> InputError:
    """Turn the first of pydantic's complaints into one that names place and remedy.

    `model` has checked the file, and `document` describes it. `remedies` are by the first
    keys of a path; below the tables in `named` people choose the names, which do not count.
    """
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"] if isinstance(part, str) and part != "[key]"]
    keys = [key for key in keys if not _of_a_union(key)]
    line = find_line(text, keys)
    where = f"{path}:{line}" if line else str(path)
    table = f" in [{'.'.join(keys[:-1])}]" if keys[1:] else ""
    key = keys[-1] if keys else "?"
    if first["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1], model)
        near = difflib.get_close_matches(key, known, 1, 0.5)
        what = "key" if table else "table"
        return InputError(
            f"unknown {what} `{key}`{table}" + (f"; did you mean `{near[0]}`?" if near else ""),
            where=where,
            remedy=f"known here: {', '.join(known)}",
        )
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
    else:
        kind = _KINDS.get(first["type"])
        must = f"must be {kind}" if kind else f"{first['msg'][0].lower()}{first['msg'][1:]}"
        reason = f"{must}, not {first['input']!r}"
    return InputError(
        f"`{key}`{table}: {reason}",
        where=where,
        remedy=remedies.get(_unnamed(keys, named)[:2])
        or remedies.get(_unnamed(keys, named)[:1], f"see docs/reference/{document}"),
    )


def _of_a_union(key: str) -> bool:
    """Tell whether pydantic put the key into a path to say which of several types it tried."""
    return "[" in key or key in {"bool", "str"} or key.startswith("constrained-")


def _unnamed(keys: list[str], named: Sequence[str]) -> tuple[str, ...]:
    """Return a path without the names that people chose."""
    return tuple(key for before, key in zip(["", *keys], keys, strict=False) if before not in named)


_DOC = "ukl-toml.md"
_KINDS = {
    "dict_type": "a table",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "a string",
}
_REMEDIES: dict[tuple[str, ...], str] = {
    ("app",): "write a table: [app], and its keys below",
    ("app", "name"): 'write it like name = "tcp-echo"',
    ("app", "sources"): f"name C files, relative to the directory of {FILENAME}",
    ("app", "program"): "name an executable that ukl-cc linked",
    ("build", "source"): 'write one of source = { directory = "." }, '
    'source = { url = "https://...", sha256 = "..." }, source = { debian = "redis" }',
    ("build", "commands"): 'write a list of shell commands: commands = ["make -j$JOBS"]',
    ("build", "program"): "name the executable that the commands make, relative to the source",
    ("python", "script"): 'name the program: script = "app.py", or a directory with __main__.py',
    ("python", "path"): 'write a list of directories: path = ["lib"]',
    ("app", "args"): 'write a list of strings: args = ["-p", "5555"]',
    ("app", "env"): 'write a table of strings: env = { KEY = "value" }',
    ("compile", "cflags"): 'write a list of strings: cflags = ["-O2", "-DNDEBUG"]',
    ("link", "libraries"): 'write a list of names: libraries = ["m", "event"]',
    ("link", "rewrite_syscalls"): "write rewrite_syscalls = false to keep the instructions",
    ("link", "level"): 'write it like level = "fast", or "base"',
    ("link", "lto"): "write lto = true, or false",
    ("link", "objects"): f".o and .a files, relative to the directory of {FILENAME}",
    ("run", "ports"): 'write a list like ports = ["5555:5555"] (host, then guest)',
    ("run", "volumes"): 'write a list like volumes = ["data:/data", "conf:/etc/app:ro"]',
    ("run", "disks"): 'write a list like disks = ["data.img:/data,size=1G"]',
    ("run", "memory"): 'write it like memory = "256M"',
    ("run", "cpus"): f"write a number from 1 to {CPUS_MAX}",
    ("run", "returns"): 'write it like returns = "ret", or "iret"',
    ("run", "page_size"): f"write one of {', '.join(PAGE_SIZES)}",
    ("run", "populate"): "write populate = true, or false",
    ("run", "userspace"): "write userspace = true, or false",
    ("run", "files"): 'write it like files = { "/etc/app.conf" = "app.conf" }',
    ("kernel", "applications"): 'write a list like applications = ["../other", "hello"]',
    ("kernel", "profile"): 'write it like profile = "debug"',
    ("kernel", "pgo"): 'name the file that `ukl build --pgo` made: pgo = "app.pgo"',
    ("kernel", "imports"): 'write C prototypes: imports = ["unsigned long ktime_get_ns(void)"]',
    ("kernel", "options"): 'write it like options = { CONFIG_TMPFS = "y" }',
}


def _known_keys(tables: list[str], model: type[BaseModel] = _Manifest) -> list[str]:
    names = iter(tables)
    for table in names:
        annotation = model.model_fields[table].annotation
        candidates = (annotation, *get_args(annotation))
        inner = next(
            (item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)),
            None,
        )
        if inner is None:
            return []
        if get_origin(annotation) is dict:
            next(names, None)  # a name that people chose
        model = inner
    return list(model.model_fields)


def find_line(text: str, keys: list[str]) -> int | None:
    """Return the line (from 1) where the TOML `text` sets the key path `keys`, if found.

    tomllib does not tell; this looks for the `[table]` header and then for the
    key's assignment, and settles for the deepest part of the path it finds.
    """
    found: int | None = None
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line):
            table = [part.strip().strip("\"'") for part in header[1].split(".")]
            if table == keys[: len(table)] and (found is None or len(table) == len(keys)):
                found = number
            continue
        if assignment := re.match(r"\s*([A-Za-z0-9_.\"'/+-]+)\s*=", line):
            full = [*table, *(part.strip("\"'") for part in assignment[1].split("."))]
            if full == keys[: len(full)]:
                return number
    return found
