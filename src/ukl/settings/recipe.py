# SPDX-License-Identifier: GPL-2.0
"""[build], [python] and [test] of `ukl.toml`; see docs/reference/ukl-toml.md."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ukl.base.model import BuildSpec, PythonSpec, Source, SuiteSpec
from ukl.settings import values
from ukl.settings.models import Table, item
from ukl.settings.python import packages_of


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"https", "http", "file"} or not parts.path.strip("/"):
        raise ValueError(f"{text!r} is not the address of a tarball, like https://host/x.tar.xz")
    return text


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise ValueError(f"{text!r} is not a SHA-256 sum: 64 hexadecimal digits")
    return text.lower()


def _package(text: str) -> str:
    """Check a package's name (Debian Policy 5.6.7), in which one `*` stands for digits."""
    if text.count("*") > 1 or not re.fullmatch(r"[a-z0-9][a-z0-9+.*-]+", text):
        raise ValueError(f"{text!r} is not the name of a Debian package")
    return text


def _below(text: str) -> str:
    path = os.path.normpath(text)
    if not text or path.startswith(("/", "..")):
        raise ValueError(f"{text!r} is not a path inside the source")
    return path


def _pattern(text: str) -> str:
    try:
        if re.compile(text).groups != 1:
            raise ValueError(f"{text!r} must have one group, around the test's name")
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    return text


if TYPE_CHECKING:
    Script: TypeAlias = Path
    Directory: TypeAlias = Path
    Venv: TypeAlias = Path
else:
    Script, Directory = item(values.python_script), item(values.host_directory)
    Venv = item(values.python_venv)
Package = Annotated[str, AfterValidator(_package)]
Below = Annotated[str, AfterValidator(_below)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Command = Annotated[str, Field(min_length=1)]


class SourceTable(Table):
    """One of: a directory, a tarball with its SHA-256 sum, a Debian source package."""

    directory: str | None = Field(
        None, description="A directory, relative to this file. It is copied.", examples=['"."']
    )
    inputs: list[str] = Field(
        [], description="Copy only these files of the directory.", examples=['["src/**"]']
    )
    url: Annotated[str, AfterValidator(_url)] | None = Field(
        None, description="Address of a tarball.", examples=['"https://host/x.tar.xz"']
    )
    sha256: Annotated[str, AfterValidator(_sha256)] | None = Field(
        None, description="SHA-256 sum of the tarball."
    )
    debian: Package | None = Field(
        None,
        description="Name of a source package of the host's distribution. `*` stands for digits, "
        "also in the recipe's `packages` and `files`: those of the newest such package.",
        examples=['"redis"', '"python3.*"'],
    )
    version: str | list[str] = Field(
        [],
        description="The version of the Debian package must begin with this, or with one of these.",
        examples=['"7."', '["7.", "8."]'],
    )

    @model_validator(mode="after")
    def _one(self) -> SourceTable:
        kinds = [name for name in ("directory", "url", "debian") if getattr(self, name)]
        if len(kinds) != 1:
            raise ValueError("write one of directory, url and debian")
        if (self.url is None) != (self.sha256 is None):
            raise ValueError("url and sha256 require each other")
        if self.version and not self.debian:
            raise ValueError("version is only for a debian source")
        if self.inputs and not self.directory:
            raise ValueError("inputs is only for a directory")
        return self


class BuildTable(Table):
    """How a program's own build system builds it."""

    source: SourceTable = Field(
        description="Where the source is: a directory, a tarball or a Debian source package.",
        examples=[
            '{ directory = "." }, { url = "https://...", sha256 = "..." } or { debian = "redis" }'
        ],
    )
    commands: Annotated[list[Command], Field(min_length=1)] = Field(
        description="Commands, each run by `sh -e -c` in the top directory of the source.",
        examples=['["make -j$JOBS"]'],
    )
    program: Below = Field(
        description="The executable that the commands build, relative to the source.",
        examples=['"src/server"'],
    )
    packages: list[Package] = Field(
        [],
        description="Debian packages that the build needs. Missing ones are installed.",
        examples=['["libevent-dev"]'],
    )
    patches: list[str] = Field(
        [], description="Patches, applied by `patch -p1`.", examples=['["fix.patch"]']
    )
    overlay: list[str] = Field(
        [],
        description="Files that are copied into the top directory of the source before the build.",
        examples=['["extra.c"]'],
    )
    files: dict[str, Below] = Field(
        {},
        description="Path in the guest = file in the built source.",
        examples=['{ "/etc/app.conf" = "app.conf" }'],
    )
    env: dict[str, str] = Field(
        {}, description="Environment variables of the commands.", examples=['{ KEY = "value" }']
    )


class TestTable(Table):
    """The program's own tests: network clients of it, or runs of it."""

    commands: list[Command] = Field(
        [],
        description="Commands that run on the host, by `sh -c`, in a copy of the built source. "
        "The variables HOST, PORT (the first TCP port) and PORT_N (for the guest's port N) are the "
        "guest's address, RECIPE is this file's directory.",
        examples=['["make test"]'],
    )
    runs: dict[str, list[str]] = Field(
        {},
        description="Name of a test = arguments of the program. Each test has its own guest, "
        "and passes if the program exits with status 0.",
        examples=['{ quick = ["--test"] }'],
    )
    quick: list[Command] = Field(
        [],
        description="A part of the tests that takes minutes, for `--quick`: commands, or names of "
        "`runs`.",
        examples=['["make test-quick"]'],
    )
    packages: list[Package] = Field(
        [], description="Debian packages that the tests need.", examples=['["tcl"]']
    )
    args: list[str] | None = Field(
        None,
        description="Arguments of the program during the tests; default: those of `[app]`.",
        examples=['["--port", "0"]'],
    )
    files: dict[str, str] = Field(
        {},
        description="Path in the guest = file or directory on the host, for the tests only.",
        examples=['{ "/etc/app.conf" = "test.conf" }'],
    )
    disk: str | None = Field(
        None, description="Path in the guest where a new disk is mounted.", examples=['"/data"']
    )
    shared: bool = Field(
        False,
        description="Mount the copy of the built source in the guest, under the same path as on "
        "the host.",
        examples=["true"],
    )
    ready: Command | None = Field(
        None,
        description="A command that is repeated until it exits with status 0; then the program "
        "is ready. Default: it is ready when its first TCP port accepts connections.",
        examples=['"redis-cli -p $PORT ping"'],
    )
    passed: Pattern | None = Field(
        None,
        description="Regular expression for a line of output; its group is the test's name.",
        examples=['"^ok (.*)$"'],
    )
    failed: Pattern | None = Field(
        None, description="The same for a test that failed.", examples=['"^not ok (.*)$"']
    )
    skipped: Pattern | None = Field(
        None, description="The same for a test that was skipped.", examples=['"^skip (.*)$"']
    )
    timeout: Annotated[int, Field(ge=1)] = Field(
        3600, description="Seconds for each command.", examples=["600"]
    )

    @model_validator(mode="after")
    def _either(self) -> TestTable:
        if bool(self.commands) == bool(self.runs):
            raise ValueError("write one of commands and runs")
        if self.commands and not (self.passed and self.failed):
            raise ValueError("commands require `passed` and `failed`, to find tests in the output")
        if self.runs and (unknown := [name for name in self.quick if name not in self.runs]):
            raise ValueError(f"quick: {unknown[0]!r} is not one of the runs")
        if self.runs and self.args is not None:
            raise ValueError("args is only for commands: each of the runs has its own arguments")
        if self.runs and self.shared:
            raise ValueError("shared is only for commands")
        if self.runs and self.ready:
            raise ValueError("ready is only for commands")
        return self


class PythonTable(Table):
    """A Python program, run by the interpreter of the example `python`."""

    script: Script = Field(
        description="The program, instead of `sources`: a file, or a directory with a "
        "`__main__.py`.",
        examples=['"app.py"'],
    )
    path: list[Directory] = Field(
        [],
        description="Directories with modules and packages, such as the `site-packages` of a "
        "virtual environment.",
        examples=['["lib"]'],
    )
    venv: Venv | None = Field(
        None,
        description="A virtual environment, whose packages follow those of `path`.",
        examples=['"venv"'],
    )
    interpreter: Literal["linked", "installed"] | None = Field(
        None,
        description="`linked`: the example `python`, in the kernel; `installed`: that of the "
        "virtual environment or of this machine, as it is. Default: `installed` if the packages "
        "have extension modules.",
        examples=['"linked"'],
    )


def python_spec(table: PythonTable) -> PythonSpec:
    """Return the content of [python]."""
    venv = () if table.venv is None else (packages_of(table.venv),)
    return PythonSpec(table.script, (*table.path, *venv), table.interpreter or "")


def build_spec(table: BuildTable, directory: Path) -> BuildSpec:
    """Return the content of [build], with absolute paths. Pure."""
    source = table.source
    versions = [source.version] if isinstance(source.version, str) else source.version
    where = Path(os.path.normpath(directory / source.directory)) if source.directory else None
    return BuildSpec(
        source=Source(
            directory=where,
            inputs=tuple(source.inputs),
            url=source.url,
            sha256=source.sha256,
            debian=source.debian,
            versions=tuple(versions),
        ),
        commands=tuple(table.commands),
        program=table.program,
        packages=tuple(table.packages),
        patches=tuple(directory / name for name in table.patches),
        overlay=tuple(directory / name for name in table.overlay),
        files=table.files,
        env=table.env,
    )


def suite_spec(table: TestTable, directory: Path) -> SuiteSpec:
    """Return the content of [test], with absolute paths. Pure."""
    return SuiteSpec(
        commands=tuple(table.commands),
        runs={name: tuple(args) for name, args in table.runs.items()},
        files={guest: directory / name for guest, name in table.files.items()},
        disk=table.disk,
        shared=table.shared,
        ready=table.ready,
        quick=tuple(table.quick),
        packages=tuple(table.packages),
        args=None if table.args is None else tuple(table.args),
        passed=table.passed,
        failed=table.failed,
        skipped=table.skipped,
        timeout=float(table.timeout),
    )
