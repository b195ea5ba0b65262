# SPDX-License-Identifier: GPL-2.0
"""New projects, and the schema that editors read: it takes and refuses what `ukl` does."""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import TOP, Cli
from ukl import scaffold
from ukl.base.errors import InputError
from ukl.settings import manifest, models

MANIFESTS = sorted(TOP.glob("examples/*/ukl.toml")) + sorted(TOP.glob("tests/**/ukl.toml"))


@functools.cache
def checker() -> jsonschema.Draft7Validator:
    """Return what an editor makes of the schema."""
    return jsonschema.Draft7Validator(manifest.schema())


def refused(text: str) -> list[str]:
    """Return what an editor says of a manifest."""
    return [error.message for error in checker().iter_errors(tomllib.loads(text))]


def described(schema: dict[str, Any], before: str = "") -> dict[str, bool]:
    """Return all keys of a schema, and whether each has a description."""
    found = {}
    for name, value in schema.get("properties", {}).items():
        found[f"{before}{name}"] = bool(value.get("description"))
        found |= described(value, f"{before}{name}.")
    return found


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(manifest.schema())


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.parent.name)
def test_it_takes_what_we_take(file: Path) -> None:
    assert refused(file.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "[ap]",
        "[app]\nsorces = []",
        '[app]\nname = ["x"]',
        "[run]\ncpus = 65",
        '[run]\ncpus = "2"',
        '[build]\ncommands = ["make"]',
        '[build]\nsource = { url = 7 }\ncommands = ["make"]\nprogram = "x"',
        "[kernel.options]\nTMPFS = []",
    ],
)
def test_it_refuses_what_we_refuse(text: str, tmp_path: Path) -> None:
    assert refused(text)
    (tmp_path / "ukl.toml").write_text(text)
    with pytest.raises(InputError):
        manifest.load(tmp_path)


def test_it_takes_what_is_converted() -> None:
    assert refused("[run]\nports = [5555]\n[kernel.options]\nTMPFS = true\nNR_CPUS = 4") == []


def test_every_key_is_described() -> None:
    assert all(described(manifest.schema()).values())


@pytest.mark.parametrize("language", [*scaffold.LANGUAGES, scaffold.KERNEL_SIDE])
def test_a_new_project(language: str, tmp_path: Path) -> None:
    made = scaffold.create(tmp_path / "my-app", language)
    text = (tmp_path / "my-app/ukl.toml").read_text()
    # Relative to the file: that is how language servers read it.
    assert text.splitlines()[0] == f"#:schema ./{models.SCHEMA_FILE}"
    assert json.loads((tmp_path / "my-app" / models.SCHEMA_FILE).read_text()) == manifest.schema()
    assert refused(text) == []
    assert manifest.load(tmp_path / "my-app").name == "my-app"
    for path in made:
        assert scaffold.PLACEHOLDER not in path.read_text()
        assert "SPDX" not in path.read_text()


def test_names(tmp_path: Path) -> None:
    for name in ("7up", "a.b", "ä", "x" * 32):
        with pytest.raises(InputError):
            scaffold.create(tmp_path / name, "c")
        assert not (tmp_path / name).exists()


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    done = cli("new", "my-app")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "my-app/my-app.c")
    assert "ukl run ./my-app" in done.stderr
    done = cli("new", "my-app", "--lang", "rust")
    assert done.returncode == 4
    assert "already exists" in done.stderr
    assert cli("new", "inner", "--kernel-side").stdout.split()[0] == "inner/inner-kernel.c"
    assert cli("new", "third", "--kernel-side", "--lang", "go").returncode == 2
    assert json.loads(cli("new", "other", "--json").stdout)["files"][1] == "other/ukl.toml"
    assert json.loads(cli("schema").stdout) == manifest.schema()
