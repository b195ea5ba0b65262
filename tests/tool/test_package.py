# SPDX-License-Identifier: GPL-2.0
"""The package that pip installs: `ukl` works without the checkout, with all its files."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import TOP
from ukl.host.exec import CommandFailed, run

DATA = ("kernel", "examples", "guest")


def tracked(directory: str) -> set[str]:
    """Return the files of the repository below `directory`."""
    text = run(["git", "ls-files", directory], cwd=TOP).stdout
    return {name for name in text.splitlines() if (TOP / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as pip does, but with the locked backend: it takes no network."""
    directory = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.prefix, "bin", "uv")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir"]
    # Without --python, uv takes the environment that it finds beside pyproject.toml.
    by_uv = [str(uv), "build", "--python", sys.executable, "--wheel", "--out-dir"]
    build = by_uv if uv.exists() else pip
    done = subprocess.run(
        [*build, str(directory), "--no-build-isolation", str(TOP)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    [file] = directory.glob("ukl-*.whl")
    return file


def test_it_has_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for directory in DATA:
        files = tracked(directory)
        assert files
        assert {f"ukl/_data/{name}" for name in files} <= names
    sources = {name.removeprefix("src/") for name in tracked("src/ukl")}
    assert sources <= names
    assert not any("__pycache__" in name for name in names)


def test_the_command_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "ukl = ukl.cli:main" in archive.read(entry).decode()
    # The dependencies are those of this environment; ukl itself comes from the wheel,
    # since the new environment's own packages come first.
    (site / "dependencies.pth").write_text(
        "\n".join(path for path in sys.path if path.endswith("site-packages"))
    )
    env = {"UKL_CACHE_DIR": str(tmp_path / "cache")}
    python = environment / "bin" / "python"

    where = run(
        [python, "-c", "import ukl.base.resources as r; print(r.checkout(), r.path('kernel'))"],
        cwd=tmp_path,
        env=env,
    ).stdout.split()
    assert where[0] == "None"
    assert Path(where[1]) == site / "ukl" / "_data" / "kernel"

    assert run([python, "-m", "ukl", "--version"], cwd=tmp_path, env=env).stdout.startswith("ukl ")
    code = (
        "import ukl.settings.manifest as m; print(*(m.resolve(n).name for n in m.example_names()))"
    )
    assert "tcp-echo" in run([python, "-c", code], cwd=tmp_path, env=env).stdout
    with pytest.raises(CommandFailed, match="clone the repository") as caught:
        run([python, "-m", "ukl", "selftest"], cwd=tmp_path, env=env)
    assert caught.value.returncode == 3
