# SPDX-License-Identifier: GPL-2.0
"""Python programs: what goes into the guest, what stays behind, and how it is started."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.base.model import PythonSpec
from ukl.base.progress import Progress
from ukl.check import target
from ukl.recipe import python
from ukl.settings import manifest
from ukl.settings.table import overridden


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with a script, a package with a compiled part, and a manifest."""
    (tmp_path / "lib/pkg/__pycache__").mkdir(parents=True)
    (tmp_path / "app.py").write_text("import sys, pkg\nimport ctypes.util\n")
    for name in ("__init__.py", "fast.cpython-311-x86_64-linux-gnu.so", "__pycache__/x.pyc"):
        (tmp_path / "lib/pkg" / name).touch()
    (tmp_path / "ukl.toml").write_text(
        '[app]\nname = "app"\nargs = ["one"]\n[python]\nscript = "app.py"\npath = ["lib"]\n'
    )
    return tmp_path


def test_a_script_needs_no_manifest(project: Path) -> None:
    spec = manifest.resolve(str(project / "app.py"))
    interpreter = manifest.resolve("python")
    assert spec.name == interpreter.name
    assert spec.build == interpreter.build
    assert spec.memory == interpreter.memory
    assert spec.python == PythonSpec(project / "app.py")
    # Other arguments do not take the script away.
    spec = overridden(spec, {"args": ("two",)})
    assert (*spec.command, *spec.args) == ("/app/app.py", "two")


def test_a_manifest_adds_packages(project: Path) -> None:
    spec = manifest.load(project)
    assert spec.name == "app"
    assert (*spec.command, *spec.args) == ("/app/app.py", "one")
    assert spec.env["PYTHONPATH"] == "/app/path/0"


def test_what_cannot_be_loaded_stays_behind(project: Path) -> None:
    output = StringIO()
    spec = python.with_files(manifest.load(project), Progress(output))
    assert spec.python is None
    assert spec.files == {
        "/app/app.py": project / "app.py",
        "/app/path/0/pkg/__init__.py": project / "lib/pkg/__init__.py",
    }
    assert "fast.cpython-311-x86_64-linux-gnu.so" in output.getvalue()
    assert python.with_files(spec, Progress(output)) is spec


def test_a_directory_is_a_program(project: Path) -> None:
    (project / "ukl.toml").write_text('[python]\nscript = "lib"\n[run]\nmemory = "300M"\n')
    with pytest.raises(InputError, match=r"no __main__\.py"):
        manifest.load(project)
    (project / "lib/__main__.py").touch()
    spec = manifest.load(project)
    assert spec.memory == 300 << 20
    assert spec.command == ("/app/lib",)
    complete = python.with_files(spec, Progress.quiet())
    assert complete.files["/app/lib/__main__.py"] == project / "lib/__main__.py"


def test_modules_that_are_not_there(project: Path) -> None:
    script = PythonSpec(project / "app.py")
    assert python.missing_modules(script) == [(2, "ctypes.util")]
    (project / "app.py").write_text("x =\n")
    with pytest.raises(InputError, match="not a Python program") as caught:
        python.missing_modules(script)
    assert caught.value.where == f"{project / 'app.py'}:1"


def test_check_names_places(project: Path) -> None:
    (project / "app.py").write_text("import os\n\nimport curses, json\n")
    script = manifest.load(project).python
    assert script is not None
    missing, shared = target._scripts(script)
    assert missing.rule == "python-module"
    assert "curses" in missing.happens
    assert [place.file for place in missing.places] == [f"{project / 'app.py'}:3"]
    assert shared.rule == "python-extension"
    assert [Path(place.file).suffix for place in shared.places] == [".so"]
    (project / "app.py").write_text("import os\n")
    assert target._scripts(PythonSpec(project / "app.py")) == ()


def test_a_script_is_not_also_a_c_program(project: Path) -> None:
    (project / "main.c").touch()
    text = (project / "ukl.toml").read_text()
    (project / "ukl.toml").write_text(text.replace("[python]", 'sources = ["main.c"]\n[python]'))
    with pytest.raises(InputError, match=r"\[python\] runs a script"):
        manifest.load(project)
