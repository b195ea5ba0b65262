# SPDX-License-Identifier: GPL-2.0
"""Tests the capabilities of the host; only this module makes HostCaps.

/dev/kvm may exist and still not work (nested virtualisation switched off, no permission, an
incomplete emulation), so KVM counts only if a guest of a few instructions, probe.S, ran
with it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ukl.base.errors import TimeoutExpired, UklError
from ukl.base.model import Accelerator, HostCaps
from ukl.host import exec as host_exec
from ukl.host.programs import clean_environment
from ukl.host.requirements import PACKAGE_OF, install_command
from ukl.host.store import Store, digest

QEMU = "qemu-system-x86_64"
KVM = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

TRY_TIMEOUT = 5.0
"""Seconds that the tiny guest may take; it needs milliseconds."""

ROM_SIZE = 1 << 16
CODE_OFFSET = 0xF000
"""Offset of the code in the ROM, whose last 64 KiB are also visible at 0xf0000."""

EXIT_STATUS = 0x21 << 1 | 1
"""QEMU's status after the guest wrote 0x21 to isa-debug-exit."""

CODE = bytes.fromhex(
    "fa2e660f0116c0f00f20c00c010f22c066ea18f00f000800b8100000008ed88ec08ed0c705001000"
    "0003200000c7050020000003300000c7050030000083000000b8001000000f22d8b8200600000f22"
    "e0b9800000c00f320d000100000f300f20c083e0fb0d020000800f22c0ea74f00f001800f30f6f05"
    "54000000660ffcc0be00500000f30f7f06b910000000bae9000000fcf36eb021e6f4f4ebfd0f1f00"
    "0000000000000000ffff0000009acf00ffff00000092cf00ffff0000009aaf001f00a0f00f000000"
    "0000000000000000"
)
"""probe.S, assembled; the caller appends sixteen bytes."""


def tiny_guest(nonce: bytes) -> bytes:
    """Return a firmware ROM that writes `tiny_answer(nonce)` to the debug port. Pure."""
    rom = bytearray(ROM_SIZE)
    code = CODE + nonce
    rom[CODE_OFFSET : CODE_OFFSET + len(code)] = code
    reset = ROM_SIZE - 16
    rom[reset] = 0xE9  # jmp with a 16-bit displacement from the end of the instruction
    rom[reset + 1 : reset + 3] = (CODE_OFFSET - (reset + 3) & 0xFFFF).to_bytes(2, "little")
    return bytes(rom)


def tiny_answer(nonce: bytes) -> bytes:
    """Return the guest's answer to `nonce`: each byte doubled. Pure."""
    return bytes(2 * byte & 0xFF for byte in nonce)


def tiny_argv(qemu: str, accelerator: Accelerator, rom: Path, debug: Path) -> list[str]:
    """Return the argument vector that runs `tiny_guest`. Pure."""
    return [
        qemu,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", f"pc,accel={accelerator}"),
        *("-cpu", "max"),
        *("-m", "16M"),
        *("-bios", str(rom)),
        *("-debugcon", f"file:{debug}"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
    ]


def try_accelerator(qemu: str, accelerator: Accelerator, timeout: float = TRY_TIMEOUT) -> str:
    """Run the tiny guest; return why it failed, empty if it did not."""
    nonce = secrets.token_bytes(16)
    with tempfile.TemporaryDirectory(prefix="ukl-probe-") as name:
        rom, debug = Path(name, "rom"), Path(name, "debug")
        rom.write_bytes(tiny_guest(nonce))
        try:
            done = host_exec.run(
                tiny_argv(qemu, accelerator, rom, debug),
                check=False,
                timeout=timeout,
                on_line=_give_up_early,
            )
        except TimeoutExpired:
            return f"a tiny guest did not end within {timeout:g} s"
        except UklError as error:
            return error.message
        wrote = debug.read_bytes() if debug.is_file() else b""
    if done.returncode == EXIT_STATUS and wrote == tiny_answer(nonce):
        return ""
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else f"QEMU exited with status {done.returncode} for a tiny guest"


def _give_up_early(line: str) -> None:
    """Raise UklError if QEMU reports that KVM failed: it would stay paused forever."""
    if "KVM internal error" in line:
        raise UklError("KVM cannot run ordinary code (it reports an internal error)")


def kvm_obstacle(device: Path = KVM) -> str:
    """Return why the KVM device cannot be opened, empty if it can."""
    if not device.exists():
        return f"{device} does not exist"
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        return f"no permission to open {device}"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return ""


def kvm_remedy(note: str) -> str:
    """Return the remedy for a note that says why KVM does not work."""
    if "permission" in note:
        return "sudo usermod -aG kvm $USER, then log in again"
    if "does not exist" in note:
        return "switch on virtualisation in the firmware (or nested virtualisation, in a VM)"
    if "not installed" in note:
        return install_command(PACKAGE_OF[QEMU])
    return "none needed: guests run more slowly by emulation (TCG)"


def probe(store: Store) -> HostCaps:
    """Return the host's capabilities; the result is cached until the next boot."""
    return probe_noted(store)[0]


def probe_noted(store: Store) -> tuple[HostCaps, bool]:
    """As `probe`; also return whether the test ran now instead of its result being cached."""
    qemu = shutil.which(QEMU, path=clean_environment()["PATH"])
    cpus = len(os.sched_getaffinity(0))
    if qemu is None:
        return HostCaps(Accelerator.TCG, None, None, cpus, (f"{QEMU} is not installed",)), True
    obstacle = kvm_obstacle()
    state = Path(qemu).stat()
    boot = BOOT_ID.read_text().strip()
    inputs = {
        "boot_id": boot,
        "qemu": [qemu, state.st_mtime_ns, state.st_size],
        "obstacle": obstacle,
        "user": os.geteuid(),
    }

    def test(directory: Path) -> None:
        reason = obstacle or try_accelerator(qemu, Accelerator.KVM)
        text = host_exec.version(qemu)
        (directory / "result.json").write_text(json.dumps({"reason": reason, "version": text}))

    key = digest(inputs)
    fresh = store.get("probe", key) is None
    entry = store.make("probe", key, inputs, test)
    result = json.loads((entry / "result.json").read_text())
    reason = str(result["reason"])
    caps = HostCaps(
        accelerator=Accelerator.TCG if reason else Accelerator.KVM,
        qemu=qemu,
        qemu_version=parse_version(str(result["version"])),
        cpus=cpus,
        notes=(f"KVM does not work: {reason}",) if reason else (),
    )
    return caps, fresh


def parse_version(text: str) -> tuple[int, ...] | None:
    """Return the numbers of `QEMU emulator version 7.2.22 (Debian ...)`. Pure."""
    match = re.search(r"version (\d+(?:\.\d+)*)", text)
    return tuple(int(word) for word in match[1].split(".")) if match else None


def memory_available(meminfo: Sequence[str] | None = None) -> int:
    """Return the bytes of memory available to new programs (MemAvailable)."""
    lines = Path("/proc/meminfo").read_text().splitlines() if meminfo is None else meminfo
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024
