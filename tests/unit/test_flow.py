# SPDX-License-Identifier: GPL-2.0
"""flow/: what the command line changes, and outputs that are whole or not there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, PortForward
from ukl.base.progress import Progress
from ukl.flow import build, kernel, running
from ukl.flow.context import Context
from ukl.host import packages
from ukl.host.store import Store
from ukl.kernel import build as kernel_build
from ukl.settings.table import overridden

SPEC = AppSpec(
    name="x",
    origin=Path("/x/ukl.toml"),
    directory=Path("/x"),
    sources=(Path("/x/x.c"),),
    args=("manifest",),
    env={"A": "1", "B": "2"},
    ports=(PortForward(1, 1),),
)


def test_nothing_said_changes_nothing() -> None:
    assert overridden(SPEC, {}) == SPEC


def test_the_command_line_overrides_the_manifest() -> None:
    spec = overridden(
        SPEC,
        {
            "args": (),
            "env": {"B": "3"},
            "ports": (PortForward(2, 2),),
            "memory": 1 << 30,
            "cpus": 4,
            "profile": "debug",
        },
    )
    assert spec.args == ()
    assert spec.env == {"A": "1", "B": "3"}
    assert spec.ports == (PortForward(2, 2),)
    assert (spec.memory, spec.cpus) == (1 << 30, 4)
    assert spec.profile == "debug"


def test_applications_in_one_kernel_agree_on_its_version() -> None:
    specs = [replace(SPEC, kernel_version=name) for name in ("", "7.3", "6.12")]
    assert kernel.wanted_by(specs[:1]).series == ""
    assert kernel.wanted_by(specs[:2]).series == "7.3"
    with pytest.raises(InputError, match=r"ask for the kernels 6\.12 and 7\.3"):
        kernel.wanted_by(specs)


def test_applications_in_one_kernel_agree_on_its_profile() -> None:
    specs = [replace(SPEC, profile=name) for name in ("", "debug", "other")]
    assert kernel.wanted_by(specs[:1]).profile == ""
    assert kernel.wanted_by(specs[:2]).profile == "debug"
    with pytest.raises(InputError, match="debug and other"):
        kernel.wanted_by(specs)


class TestOutput:
    def test_is_exchanged_as_a_whole(self, tmp_path: Path) -> None:
        out = tmp_path / "a" / "out"
        for content in ("one", "two"):
            with build.replacing(out) as directory:
                (directory / "vmlinux").write_text(content)
            assert (out / "vmlinux").read_text() == content
        assert [path.name for path in out.parent.iterdir()] == ["out"]

    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
    def test_failure_leaves_the_old_one(self, tmp_path: Path, error: type[BaseException]) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "vmlinux").write_text("old")

        def interrupted() -> None:
            with build.replacing(out) as directory:
                (directory / "vmlinux").write_text("half")
                raise error

        with pytest.raises(error):
            interrupted()
        assert (out / "vmlinux").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_what_is_not_ours_is_refused(self, tmp_path: Path) -> None:
        build._check(tmp_path / "new")
        build._check(tmp_path)
        (tmp_path / "vmlinux").touch()
        build._check(tmp_path)
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(InputError, match=r"thesis\.tex"):
            build._check(tmp_path)
        with pytest.raises(InputError, match="not a directory"):
            build._check(tmp_path / "thesis.tex")


class TestStandardInput:
    """Descriptor 0 becomes the guest's input only where reading it does no harm."""

    @pytest.fixture(autouse=True)
    def _restore(self) -> Iterator[None]:
        saved = os.dup(0)
        yield
        os.dup2(saved, 0)
        os.close(saved)

    def test_a_pipe_and_a_file_are_read(self, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.dup2(reader, 0)
        os.close(reader)
        assert running._standard_input(has_init=True, shell=False) == 0
        os.close(writer)
        (tmp_path / "file").touch()
        with (tmp_path / "file").open() as stream:
            os.dup2(stream.fileno(), 0)
        assert running._standard_input(has_init=True, shell=False) == 0

    def test_the_null_device_is_not(self) -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        assert running._standard_input(has_init=True, shell=False) is None
        assert running._standard_input(has_init=False, shell=False) == 0

    def test_a_terminal_that_is_not_ours_is_not(self) -> None:
        master, slave = pty.openpty()
        os.dup2(slave, 0)
        os.close(slave)
        try:
            assert running._standard_input(has_init=True, shell=False) is None
            assert running._standard_input(has_init=True, shell=True) == 0
        finally:
            os.close(master)


@pytest.mark.process
def test_a_build_does_not_load_what_runs_guests() -> None:
    """It doubled the time until a build that is cached had begun."""
    code = "import sys, ukl.flow.build; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "ukl.kernel.link" in loaded
    # Not asyncio: from Python 3.14 on pdb loads it, which pyelftools loads.
    assert not loaded & {"capstone", "qemu.qmp", "ukl.vm.session", "ukl.vm.keeper"}


def test_a_cache_in_which_kbuild_cannot_work_gets_no_source(tmp_path: Path) -> None:
    store = Store(tmp_path / "white space")
    with pytest.raises(InputError, match="white space"):
        kernel.specified(kernel.PLAIN, Context(store, Progress.quiet(), "6.12.999"))
    assert not store.root.exists()


def test_kernels_to_build_are_announced(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_built(wanted: kernel.Wanted, *_: object) -> bool:
        return wanted.profile == "tiny"

    monkeypatch.setattr(packages, "require", lambda *_: None)
    monkeypatch.setattr(kernel, "specified", lambda wanted, _: wanted)
    monkeypatch.setattr(kernel_build, "is_built", is_built)
    context = Context(store, Progress(), jobs=4)
    plain, unpatched = kernel.Wanted(), kernel.Wanted(patched=False)
    kernel.announce([kernel.Wanted(profile="tiny")], context)
    assert capsys.readouterr().err == ""
    kernel.announce([plain, kernel.Wanted()], context)
    assert capsys.readouterr().err.startswith("  a kernel is built first: about 3 min")
    kernel.announce([plain, unpatched], context)
    assert capsys.readouterr().err.startswith("  2 kernels are built first: about 3 min each")
