# SPDX-License-Identifier: GPL-2.0
"""[build] and [test] of `ukl.toml`; docs/reference/ukl-toml.md describes them for people."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ukl.base.model import BuildSpec, Source, SuiteSpec


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


Package = Annotated[str, AfterValidator(_package)]
Below = Annotated[str, AfterValidator(_below)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Command = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourceTable(_Table):
    """One of: a directory, a tarball with its sum, a Debian source package."""

    directory: str | None = None
    inputs: list[str] = []
    url: Annotated[str, AfterValidator(_url)] | None = None
    sha256: Annotated[str, AfterValidator(_sha256)] | None = None
    debian: Package | None = None
    version: str | None = None

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


class BuildTable(_Table):
    """How a program is built by its own build system."""

    source: SourceTable
    commands: Annotated[list[Command], Field(min_length=1)]
    program: Below
    packages: list[Package] = []
    patches: list[str] = []
    overlay: list[str] = []
    files: dict[str, Below] = {}
    env: dict[str, str] = {}


class TestTable(_Table):
    """The program's own tests: what talks to it over the network, or runs of itself."""

    commands: list[Command] = []
    runs: dict[str, list[str]] = {}
    quick: list[Command] = []
    packages: list[Package] = []
    args: list[str] | None = None
    files: dict[str, str] = {}
    disk: str | None = None
    shared: bool = False
    ready: Command | None = None
    passed: Pattern | None = None
    failed: Pattern | None = None
    skipped: Pattern | None = None
    timeout: Annotated[int, Field(ge=1)] = 3600

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
