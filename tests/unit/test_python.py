# SPDX-License-Identifier: GPL-2.0
"""Python programs: what goes into the guest, what stays behind, and how it is started."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.base.model import PythonSpec
from ukl.base.progress import Progress
from ukl.check import target, text
from ukl.flow.dry import DryStore
from ukl.host.store import Store
from ukl.recipe import bytecode, installed, python
from ukl.settings import manifest, values
from ukl.settings.table import overridden


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with a script, a package with a compiled part, and a manifest."""
    (tmp_path / "lib/pkg/__pycache__").mkdir(parents=True)
    (tmp_path / "app.py").write_text("import sys, pkg\nimport ctypes.util\n")
    for name in ("__init__.py", "fast.cpython-311-x86_64-linux-gnu.so", "__pycache__/x.pyc"):
        (tmp_path / "lib/pkg" / name).touch()
    (tmp_path / "ukl.toml").write_text(
        '[app]\nname = "app"\nargs = ["one"]\n'
        '[python]\nscript = "app.py"\npath = ["lib"]\ninterpreter = "linked"\n'
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
    assert "modules: pkg (fast)" in output.getvalue()
    assert python.with_files(spec, Progress(output)) is spec


@pytest.fixture
def python_3_11(tmp_path: Path) -> Path:
    """Return the top of what looks like an installed CPython."""
    top = tmp_path / "opt/python"
    for name in ("bin/python3.11", "lib/python3.11/os.py", "lib/python3.11/test/x.py"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    (top / "lib/python3.11/config-3.11").mkdir()
    (top / "lib/python3.11/config-3.11/libpython.a").touch()
    (top / "lib/python3.11/site-packages").mkdir()
    (top / "lib/python3.11/site-packages/other.py").touch()
    return top


def venv(top: Path, interpreter: Path, tag: str = "cpython-311-") -> Path:
    """Make a virtual environment with an extension module."""
    packages = top / "lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (packages / f"fast.{tag}x86_64-linux-gnu.so").write_bytes(b"module")
    (packages / "pure.py").touch()
    (top / "bin").mkdir()
    (top / "bin/python").symlink_to(interpreter)
    (top / "pyvenv.cfg").touch()
    return top


def test_extension_modules_are_for_the_interpreter_of_their_environment(
    project: Path, python_3_11: Path, tmp_path: Path
) -> None:
    where = venv(tmp_path / "venv", python_3_11 / "bin/python3.11")
    spec = manifest.specified(str(project / "app.py"), {"venv": where})
    assert spec.env["PYTHONPATH"] == "/app/path/0"
    assert spec.python is not None
    found = installed.chosen(spec.python)
    assert found is not None
    assert (found.program, found.version) == (python_3_11 / "bin/python3.11", "3.11")
    store = DryStore(tmp_path / "cache")
    output = StringIO()
    made = installed.prepared(spec, spec.python, found, store, Progress(output))
    assert (made.build, made.python, made.program) == (None, None, found.program)
    # As where the interpreter is: it finds its library from its own path.
    assert "/usr/local/lib/python3.11/os.py" in made.files
    assert not [path for path in made.files if re.search("test|config|other", path)]
    assert made.files["/app/path/0/fast.cpython-311-x86_64-linux-gnu.so"].is_file()
    assert "as it is: extension modules of fast" in output.getvalue()


def test_who_runs_what(project: Path, python_3_11: Path, tmp_path: Path) -> None:
    where = venv(tmp_path / "venv", python_3_11 / "bin/python3.11")
    pure, script = tmp_path / "pure", project / "app.py"
    pure.mkdir()
    packages = where / "lib/python3.11/site-packages"
    assert installed.chosen(PythonSpec(script, (pure,))) is None
    assert installed.chosen(PythonSpec(script, (packages,), "linked")) is None
    asked = installed.chosen(PythonSpec(script, (packages / "..",), "installed"))
    assert asked is not None
    (where / "bin/python").unlink()
    with pytest.raises(InputError, match="no such interpreter"):
        installed.chosen(PythonSpec(script, (packages,)))
    (where / "bin/python").symlink_to("/bin/sh")
    with pytest.raises(InputError, match="not a CPython"):
        installed.chosen(PythonSpec(script, (packages,)))


def test_modules_for_another_interpreter(project: Path, python_3_11: Path, tmp_path: Path) -> None:
    where = venv(tmp_path / "venv", python_3_11 / "bin/python3.11", "cpython-312-")
    packages = where / "lib/python3.11/site-packages"
    with pytest.raises(InputError, match=r"for CPython 3\.12, and the interpreter is 3\.11"):
        installed.chosen(PythonSpec(project / "app.py", (packages,)))


def test_a_virtual_environment_is_for_scripts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--venv is for those"):
        manifest.specified("hello", {"venv": tmp_path})
    with pytest.raises(ValueError, match="not a virtual environment"):
        values.python_venv(str(tmp_path), tmp_path)


def test_left_out_modules_are_named_by_package(project: Path) -> None:
    for name in ("num/a.so", "num/core/b.abi3.so", "lone.cpython-311-x86_64-linux-gnu.so"):
        (project / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "lib" / name).touch()
    (project / "lib/num/a.py").touch()
    script = manifest.load(project).python
    assert script is not None
    assert python.by_package(script) == ["lone", "num (2 modules)", "pkg (fast)"]
    # `a` has a form in Python, which the import takes.
    assert [path.removeprefix("/app/path/0/") for path in python.without_source(script)] == [
        "lone.cpython-311-x86_64-linux-gnu.so",
        "num/core/b.abi3.so",
        "pkg/fast.cpython-311-x86_64-linux-gnu.so",
    ]


@pytest.mark.process
def test_a_check_builds_no_interpreter(project: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    report = target.check(str(project), store, Progress.quiet())
    assert [found.rule for found in report.findings] == ["python-module", "python-extension"]
    assert not report.failed
    assert "without the interpreter" in text.summary(report)
    assert store.count() == 0


@pytest.mark.process
def test_byte_code_of_the_packages(project: Path, tmp_path: Path) -> None:
    """The interpreter of the recipe is stood in for by this one."""
    (project / "lib/pkg/__init__.py").write_text("x = 1\n")
    (project / "lib/pkg/template.py").write_text("{% if x %}\n")
    (tmp_path / "library.zip").touch()
    spec = manifest.load(project)
    assert spec.python is not None
    built = replace(
        python.with_files(spec, Progress.quiet()), program=Path(sys.executable).resolve()
    )
    built = replace(built, files={**built.files, "/usr/lib/python.zip": tmp_path / "library.zip"})
    store = Store(tmp_path / "cache")
    made = bytecode.with_files(built, spec.python, store, Progress.quiet())
    [(guest, file)] = [each for each in made.files.items() if each[0].endswith(".pyc")]
    tag = sys.implementation.cache_tag
    assert guest == f"/app/path/0/pkg/__pycache__/__init__.{tag}.pyc"
    data = file.read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\1\0\0\0"  # PEP 552: a hash, which is not checked
    assert b"/app/path/0/pkg/__init__.py" in data
    holder = made.files["/app/path/0/pkg/fast.cpython-311-x86_64-linux-gnu.so"]
    assert holder.stat().st_size == 0


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
    [other] = target._scripts(replace(script, interpreter="installed"))
    assert other.rule == "python-installed"
    (project / "app.py").write_text("import os\n")
    assert target._scripts(PythonSpec(project / "app.py")) == ()


def test_a_script_is_not_also_a_c_program(project: Path) -> None:
    (project / "main.c").touch()
    text = (project / "ukl.toml").read_text()
    (project / "ukl.toml").write_text(text.replace("[python]", 'sources = ["main.c"]\n[python]'))
    with pytest.raises(InputError, match=r"\[python\] runs a script"):
        manifest.load(project)
