# SPDX-License-Identifier: GPL-2.0
"""[build] and [test] of `ukl.toml`; docs/reference/ukl-toml.md describes them for people."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ukl.base.model import BuildSpec, PythonSpec, Source, SuiteSpec
from ukl.settings import values
from ukl.settings.models import Table, item


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
    # Debian Policy 5.6.7
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", text):
        raise ValueError(f"{text!r} is not the name of a Debian package")
    return text


def _below(text: str) -> str:
    path = os.path.normpath(text)
    if not text or path.startswith(("/", "..")):
        raise ValueError(f"{text!r} is not a path inside of the source")
    return path


def _pattern(text: str) -> str:
    try:
        if re.compile(text).groups != 1:
            raise ValueError(f"{text!r}: write one group, around the test's name")
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    return text


if TYPE_CHECKING:
    Script: TypeAlias = Path
    Directory: TypeAlias = Path
else:
    Script, Directory = item(values.python_script), item(values.host_directory)
Package = Annotated[str, AfterValidator(_package)]
Below = Annotated[str, AfterValidator(_below)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Command = Annotated[str, Field(min_length=1)]


class SourceTable(Table):
    """One of: a directory, a tarball with its sum, a Debian source package."""

    directory: str | None = Field(
        None, description="A directory, relative to this file; it is copied.", examples=['"."']
    )
    inputs: list[str] = Field(
        [], description="Only these files of the directory.", examples=['["src/**"]']
    )
    url: Annotated[str, AfterValidator(_url)] | None = Field(
        None, description="Address of a tarball.", examples=['"https://host/x.tar.xz"']
    )
    sha256: Annotated[str, AfterValidator(_sha256)] | None = Field(
        None, description="SHA-256 sum of the tarball."
    )
    debian: Package | None = Field(
        None,
        description="Name of a source package of the running distribution.",
        examples=['"redis"'],
    )
    version: str | None = Field(
        None,
        description="What the version of the Debian package must begin with.",
        examples=['"7."'],
    )

    @model_validator(mode="after")
    def _one(self) -> SourceTable:
        kinds = [name for name in ("directory", "url", "debian") if getattr(self, name)]
        if len(kinds) != 1:
            raise ValueError("write one of directory, url and debian")
        if (self.url is None) != (self.sha256 is None):
            raise ValueError("an url needs the sha256 of what is there, and only an url has one")
        if self.version and not self.debian:
            raise ValueError("only a debian source has a version")
        if self.inputs and not self.directory:
            raise ValueError("only a directory has inputs")
        return self


class BuildTable(Table):
    """How a program is built by its own build system."""

    source: SourceTable = Field(
        description="Where the source is: a directory, a tarball or a Debian source package.",
        examples=[
            '{ directory = "." }, { url = "https://...", sha256 = "..." } or { debian = "redis" }'
        ],
    )
    commands: Annotated[list[Command], Field(min_length=1)] = Field(
        description="Commands, each run by `sh -e -c` in the source's top.",
        examples=['["make -j$JOBS"]'],
    )
    program: Below = Field(
        description="The executable that the commands make, relative to the source's top.",
        examples=['"src/server"'],
    )
    packages: list[Package] = Field(
        [],
        description="Debian packages that the build needs; missing ones are installed.",
        examples=['["libevent-dev"]'],
    )
    patches: list[str] = Field(
        [], description="Files here, applied by `patch -p1`.", examples=['["fix.patch"]']
    )
    overlay: list[str] = Field(
        [],
        description="Files here, copied into the source's top before the commands.",
        examples=['["extra.c"]'],
    )
    files: dict[str, Below] = Field(
        {},
        description="Path in the guest = file of the built source.",
        examples=['{ "/etc/app.conf" = "app.conf" }'],
    )
    env: dict[str, str] = Field(
        {}, description="Environment variables of the commands.", examples=['{ KEY = "value" }']
    )


class TestTable(Table):
    """The program's own tests: what talks to it over the network, or runs of itself."""

    commands: list[Command] = Field(
        [],
        description="Commands on this machine, run by `sh -c` in a copy of the built source; "
        "HOST, PORT (the first TCP port), PORT_N (that of the guest's port N) and"
        " RECIPE say where the guest and this file are.",
        examples=['["make test"]'],
    )
    runs: dict[str, list[str]] = Field(
        {},
        description="Name of a test = arguments of the program; each is a guest of its own, "
        "and passes with status 0.",
        examples=['{ quick = ["--test"] }'],
    )
    quick: list[Command] = Field(
        [],
        description="A part of them that takes minutes: commands, or names of `runs`.",
        examples=['["make test-quick"]'],
    )
    packages: list[Package] = Field(
        [], description="Debian packages that the tests need.", examples=['["tcl"]']
    )
    args: list[str] | None = Field(
        None,
        description="Arguments of the program while it is tested; default: those of `[app]`.",
        examples=['["--port", "0"]'],
    )
    files: dict[str, str] = Field(
        {},
        description="Path in the guest = file or directory here, for the tests only.",
        examples=['{ "/etc/app.conf" = "test.conf" }'],
    )
    disk: str | None = Field(
        None, description="Path in the guest where a new disk is mounted.", examples=['"/data"']
    )
    shared: bool = Field(
        False,
        description="Mount the copy of the built source that the commands run in, under the "
        "same path in the guest.",
        examples=["true"],
    )
    ready: Command | None = Field(
        None,
        description="A command, repeated until it ends with 0: only then is the program "
        "ready. Default: it is ready when its first TCP port takes connections.",
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
            raise ValueError("commands need `passed` and `failed`, to find the tests in the output")
        if self.runs and (unknown := [name for name in self.quick if name not in self.runs]):
            raise ValueError(f"quick: {unknown[0]!r} is none of the runs")
        if self.runs and self.args is not None:
            raise ValueError("each of the runs has its own args")
        if self.runs and self.shared:
            raise ValueError("only commands run in a tree that can be shared")
        if self.runs and self.ready:
            raise ValueError("only commands wait until the program is ready")
        return self


class PythonTable(Table):
    """A Python program, which the interpreter of the example `python` runs."""

    script: Script = Field(
        description="The program, in place of `sources`: a file, or a directory with a "
        "`__main__.py`.",
        examples=['"app.py"'],
    )
    path: list[Directory] = Field(
        [],
        description="Directories here with modules and packages, such as the `site-packages` "
        "of "
        "a virtual environment.",
        examples=['["lib"]'],
    )


def python_spec(table: PythonTable) -> PythonSpec:
    """Return what [python] says. Pure."""
    return PythonSpec(table.script, tuple(table.path))


def build_spec(table: BuildTable, directory: Path) -> BuildSpec:
    """Return what [build] says. Pure but for the directory's name."""
    source = table.source
    where = Path(os.path.normpath(directory / source.directory)) if source.directory else None
    return BuildSpec(
        source=Source(
            directory=where,
            inputs=tuple(source.inputs),
            url=source.url,
            sha256=source.sha256,
            debian=source.debian,
            version=source.version,
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
    """Return what [test] says. Pure but for the directory's name."""
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
