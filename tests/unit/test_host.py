# SPDX-License-Identifier: GPL-2.0
"""Requirements, packages, the KVM trial's pure parts, and the doctor's findings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, MissingError
from ukl.base.model import Accelerator
from ukl.host import doctor, packages, probe, programs
from ukl.host.exec import CommandFailed
from ukl.host.requirements import PACKAGE_OF, REQUIREMENTS, Requirement, install_command
from ukl.host.store import Store

APT = r"""echo "apt-get $*" >>{log}
case $* in
*--print-uris*)
    printf 'Need to get 16.5 MB of archives.\n'
    printf 'After this operation, 62.2 MB of additional disk space will be used.\n'
    ;;
esac"""


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a PATH with nothing in it, and return its directory."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(programs, "SYSTEM", ())
    return directory


class TestPackages:
    def test_missing_finds_programs_and_files(
        self, empty_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        rows = (
            Requirement("tool", "tool-package", ""),
            Requirement("header", "dev-package", "", file=str(tmp_path / "header.h")),
            Requirement("extra", "extra-package", "", optional=True),
        )
        monkeypatch.setattr(packages, "REQUIREMENTS", rows)
        assert [row.package for row in packages.missing()] == ["tool-package", "dev-package"]
        assert len(packages.missing(optional=True)) == 3
        script(empty_path / "tool", "")
        (tmp_path / "header.h").touch()
        assert packages.missing() == []

    def test_require_names_all_that_is_missing_and_one_command(self, empty_path: Path) -> None:
        with pytest.raises(MissingError) as caught:
            packages.require("gcc", "ld", "objcopy", "make")
        assert caught.value.code == ExitCode.MISSING
        assert caught.value.remedy == install_command("gcc", "binutils", "make")
        for tool in ("gcc", "ld", "objcopy", "make"):
            assert tool in caught.value.message

    def test_a_dynamic_busybox_is_none(self, tmp_path: Path) -> None:
        program = tmp_path / "busybox"
        program.write_bytes(b"\x7fELF...../lib64/ld-linux-x86-64.so.2\0")
        assert not packages.is_static(program)
        program.write_bytes(b"\x7fELF" + bytes(5000))
        assert packages.is_static(program)

    @pytest.mark.process
    def test_install_calls_apt_as_root(
        self,
        empty_path: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        log = tmp_path / "log"
        script(empty_path / "apt-get", APT.replace("{log}", str(log)))
        script(empty_path / "env", 'shift; exec "$@"')
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(packages, "LISTS", tmp_path / "no-lists")
        packages.install(["bc", "flex", "bc"])
        assert log.read_text().splitlines() == [
            "apt-get -q -y update",
            "apt-get -y --print-uris --no-install-recommends install bc flex",
            "apt-get -q -y --no-install-recommends install bc flex",
        ]
        said = "Need to get 16.5 MB of archives. After this operation, 62.2 MB of additional"
        assert said in capfd.readouterr().err

    @pytest.mark.process
    def test_install_gets_new_lists_when_it_fails(
        self, empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log"
        script(empty_path / "apt-get", APT.replace("{log}", str(log)) + f"\n[ -e {tmp_path}/new ]")
        script(empty_path / "env", 'shift; exec "$@"')
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(packages, "_lists_fresh", lambda: True)
        with pytest.raises(CommandFailed, match="update"):
            packages.install(["bc"])
        assert log.read_text().splitlines()[-1] == "apt-get -q -y update"

    def test_install_without_permission_names_the_command(
        self, empty_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script(empty_path / "apt-get", "exit 1")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(MissingError) as caught:
            packages.install(["bc"])
        assert caught.value.remedy == f"as an administrator: {install_command('bc')}"

    def test_install_elsewhere_than_debian(self, empty_path: Path) -> None:
        with pytest.raises(MissingError, match="not a Debian"):
            packages.install(["bc"])

    @pytest.mark.parametrize(
        ("text", "gone"),
        [
            (
                "Err:1 http://a.org trixie/main amd64 p all 1\n  404  Not Found [IP: 1.2.3.4 80]",
                True,
            ),
            ("E: Failed to fetch http://a.org/p_1_all.deb  404  Not Found [IP: 1.2.3.4 80]", True),
            ("E: Failed to fetch http://a.org/p_404.deb  Could not connect", False),
            ("Get:1 http://a.org p 404 [12 kB]", False),
        ],
    )
    def test_what_a_mirror_lacks_is_told_from_one_that_is_not_reached(
        self, text: str, gone: bool
    ) -> None:
        assert packages.is_gone(text) is gone

    def test_system_directories_are_searched_for_everybody(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Debian's users have no /sbin in PATH, where mke2fs is."""
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
        script(tmp_path / "mke2fs", "")
        [row] = [row for row in REQUIREMENTS if row.tool == "mke2fs"]
        assert packages.is_there(row)
        assert programs.clean_environment()["PATH"] == f"/usr/bin:/bin:{tmp_path}"

    def test_every_requirement_has_a_package(self) -> None:
        assert {row.tool for row in REQUIREMENTS} <= set(PACKAGE_OF)


class TestProbe:
    def test_the_guest_is_a_rom_with_a_reset_vector(self) -> None:
        nonce = bytes(range(16))
        rom = probe.tiny_guest(nonce)
        assert len(rom) == probe.ROM_SIZE
        jump = rom[-16:-13]
        assert jump[0] == 0xE9
        target = (0xFFF0 + 3 + int.from_bytes(jump[1:], "little")) & 0xFFFF
        assert rom[target : target + len(probe.CODE)] == probe.CODE
        assert rom[target + len(probe.CODE) :].startswith(nonce)
        assert probe.tiny_answer(b"\x01\x80\xff") == b"\x02\x00\xfe"

    @pytest.mark.process
    def test_a_qemu_that_only_pretends_is_found_out(self, tmp_path: Path) -> None:
        """The right exit status is not enough: the guest must have computed the answer."""
        qemu = script(tmp_path / "qemu", f"exit {probe.EXIT_STATUS}")
        assert probe.try_accelerator(str(qemu), Accelerator.KVM) != ""

    @pytest.mark.process
    def test_a_guest_that_hangs_is_given_up(self, tmp_path: Path) -> None:
        qemu = script(tmp_path / "qemu", "sleep 300")
        reason = probe.try_accelerator(str(qemu), Accelerator.KVM, timeout=0.2)
        assert "0.2 s" in reason

    @pytest.mark.process
    def test_an_internal_error_of_kvm_is_not_waited_for(self, tmp_path: Path) -> None:
        qemu = script(tmp_path / "qemu", "echo 'KVM internal error. Suberror: 1'; sleep 300")
        assert "internal error" in probe.try_accelerator(str(qemu), Accelerator.KVM, timeout=60)

    def test_obstacles(self, tmp_path: Path) -> None:
        assert "does not exist" in probe.kvm_obstacle(tmp_path / "kvm")
        assert probe.kvm_obstacle(Path("/dev/null")) == ""
        assert "cannot be opened" in probe.kvm_obstacle(tmp_path)
        assert "usermod" in probe.kvm_remedy("no permission to open /dev/kvm")

    @pytest.mark.process
    def test_the_result_is_kept_until_the_next_boot(
        self, empty_path: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = tmp_path / "log"
        program = [
            f'echo "$1" >>{log}',
            '[ "$1" = --version ] || { echo no kvm here; exit 1; }',
            "echo 'QEMU emulator version 9.1.0 (Debian)'",
        ]
        script(empty_path / probe.QEMU, "\n".join(program))
        monkeypatch.setattr(probe, "kvm_obstacle", lambda: "")
        caps, fresh = probe.probe_noted(store)
        assert fresh
        assert caps.accelerator is Accelerator.TCG
        assert caps.qemu_version == (9, 1, 0)
        assert caps.notes == ("KVM does not work: no kvm here",)
        calls = log.read_text()
        assert probe.probe_noted(Store(store.root)) == (caps, False)
        assert log.read_text() == calls
        boot = tmp_path / "boot_id"
        boot.write_text("another\n")
        monkeypatch.setattr(probe, "BOOT_ID", boot)
        assert probe.probe_noted(store)[1]

    def test_without_qemu(self, empty_path: Path, store: Store) -> None:
        caps = probe.probe(store)
        assert caps.qemu is None
        assert caps.accelerator is Accelerator.TCG

    def test_versions(self) -> None:
        text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"
        assert probe.parse_version(text) == (7, 2, 22)
        assert probe.parse_version("what?") is None

    def test_memory(self) -> None:
        assert probe.memory_available(["MemTotal: 9 kB", "MemAvailable:   2048 kB"]) == 2 << 20
        assert probe.memory_available() > 0


class TestDoctor:
    def test_missing_tools_are_found_with_their_remedy(
        self, empty_path: Path, store: Store
    ) -> None:
        findings = {finding.name: finding for finding in doctor.examine(store)}
        assert findings["gcc"].level is doctor.Level.MISSING
        assert findings["gcc"].package == "gcc"
        assert findings["gcc"].remedy == install_command("gcc")
        assert findings["ccache"].level is doctor.Level.NOTE
        assert findings["processor"].level is doctor.Level.OK
        assert "cache" in findings["disk"].detail

    @pytest.mark.process
    def test_versions_of_compiler_linker_and_qemu_are_shown(
        self, empty_path: Path, store: Store
    ) -> None:
        for tool in ("gcc", "ld", "qemu-system-x86_64"):
            script(empty_path / tool, f"echo '{tool} version 1.2.3'")
        script(empty_path / "make", "exit 1")
        findings = {finding.name: finding for finding in doctor.examine(store)}
        assert findings["ld"].detail == "links them: ld version 1.2.3"
        for tool in ("gcc", "qemu-system-x86_64"):
            assert findings[tool].detail.endswith(f": {tool} version 1.2.3")
        assert findings["make"].detail == "builds the kernel, but does not say its version"

    def test_little_disk_and_memory_are_noted(
        self, empty_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "FIRST_BUILD", 1 << 60)
        monkeypatch.setattr(doctor, "MEMORY_NEEDED", 1 << 60)
        findings = {finding.name: finding for finding in doctor.examine(store)}
        for name in ("disk", "memory"):
            assert findings[name].level is doctor.Level.NOTE
            assert findings[name].remedy
