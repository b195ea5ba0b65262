# SPDX-License-Identifier: GPL-2.0
"""`ukl run` and `ukl build` as a person uses them: exit codes, Ctrl-C, files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.boot.harness import Built
from tests.conftest import TOP
from tests.processes import eventually, eventually_of
from ukl.bench import samples, stats, variants
from ukl.host.store import Store

SECONDS = 180.0


@pytest.fixture
def environment(shared_store: Store, hello: Built) -> dict[str, str]:
    """Return the environment of `ukl` with the cache in which the kernel is built already."""
    assert hello.image.marker is not None
    return {
        **os.environ,
        "PYTHONPATH": str(TOP / "src"),
        "UKL_CACHE_DIR": str(shared_store.root),
    }


def start(environment: dict[str, str], *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ukl", *argv],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ukl(environment: dict[str, str], *argv: str) -> tuple[int, str, str]:
    """Run `ukl` to its end; return code, stdout, stderr."""
    process = start(environment, *argv)
    try:
        out, err = process.communicate(timeout=SECONDS)
    except BaseException:
        process.kill()
        raise
    assert "Traceback" not in err
    return process.returncode, out, err


def program(tmp_path: Path, body: str) -> str:
    """Write a C program with `body` as its main() and return its path."""
    path = tmp_path / "prog.c"
    path.write_text(
        "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
        f"int main(int argc, char **argv)\n{{\n(void)argc; (void)argv;\n{body}\n}}\n"
    )
    return str(path)


def guests_of(pid: int) -> list[int]:
    """Return the QEMU processes below a process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, fields = status.read_text().split("(", 1)[1].rsplit(")", 1)
            if int(fields.split()[1]) == pid and name.startswith("qemu"):
                found.append(int(status.parent.name))
    return found


@pytest.fixture
def free_port() -> int:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return int(other.getsockname()[1])


def test_status_arguments_and_environment_are_passed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    body = 'printf("%d %s %s\\n", argc, argv[1], getenv("WORD")); return 42;'
    source = program(tmp_path, body)
    code, out, _ = ukl(environment, "run", source, "-e", "WORD=b c", "--", "--first")
    assert code == 42
    assert "2 --first b c" in out.replace("\r", "")


def test_a_signal_is_128_and_its_number(environment: dict[str, str], tmp_path: Path) -> None:
    source = program(tmp_path, "raise(SIGTERM); return 0;")
    code, _, err = ukl(environment, "run", source)
    assert code == 128 + signal.SIGTERM
    assert "prog: killed by SIGTERM" in err


def test_the_same_program_as_a_process(environment: dict[str, str], tmp_path: Path) -> None:
    body = 'unsigned short cs; __asm__("mov %%cs, %0" : "=r" (cs)); return cs & 3;'
    source = program(tmp_path, body)
    assert ukl(environment, "run", source)[0] == 0
    assert ukl(environment, "run", "--mode", "process", source)[0] == 3


def test_timeout(environment: dict[str, str], tmp_path: Path) -> None:
    source = program(tmp_path, "for (;;) pause();")
    code, _, err = ukl(environment, "run", "--timeout", "3", source)
    assert code == 124
    assert "ukl: error: " in err
    assert "--timeout" in err


def test_json_result(environment: dict[str, str]) -> None:
    code, out, err = ukl(environment, "run", "--json", "hello")
    result = json.loads(out)
    assert (code, result["outcome"], result["status"]) == (0, "exited", 0)
    assert "hello" in err.lower()


def test_compiler_error(environment: dict[str, str], tmp_path: Path) -> None:
    code, _, err = ukl(environment, "run", program(tmp_path, "return oops;"))
    assert code == 4
    assert "oops" in err
    assert "prog.c:8" in err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_ending_it_leaves_no_guest(
    environment: dict[str, str], free_port: int, number: signal.Signals, code: int
) -> None:
    process = start(environment, "run", "tcp-echo", "-p", f"{free_port}:5555")
    try:
        eventually_of(process, lambda: echoes(free_port), SECONDS)
        [guest] = guests_of(process.pid)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "Traceback" not in err
    assert process.returncode == code
    assert eventually(lambda: not Path(f"/proc/{guest}").exists())


def test_ctrl_c_while_linking(environment: dict[str, str], tmp_path: Path) -> None:
    """The final link: the kernel's own script, two levels of shells and make below us."""
    source = program(tmp_path, f'puts("{time.time_ns()}"); return 0;')  # never linked before
    images = Path(environment["UKL_CACHE_DIR"], "image")
    before = set(images.iterdir())
    process = start(environment, "build", source, "-o", str(tmp_path / "out"))
    try:
        linking = ".*.tmp/work/.tmp_vmlinux*"
        eventually_of(process, lambda: any(images.glob(linking)), SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.endswith("ukl: interrupted\n")
    assert "Traceback" not in err
    assert set(images.iterdir()) == before
    assert not (tmp_path / "out").exists()


def echoes(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as peer:
        peer.settimeout(2)
        peer.sendall(b"ping")
        return peer.recv(4) == b"ping"
    return False


def test_build_writes_what_boots_and_the_second_time_nothing_is_made(
    environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, _, _ = ukl(environment, "build", "tcp-echo", "-o", str(out))
    assert code == 0
    names = {"vmlinux", "bzImage", "initrd", "System.map", "cmdline", "manifest.json"}
    assert {path.name for path in out.iterdir()} == names
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"]["bzImage"] == (out / "bzImage").stat().st_size <= 8 << 20
    code, _, err = ukl(environment, "build", "tcp-echo", "-o", str(out))
    assert code == 0
    *stages, last = err.splitlines()
    assert len(stages) >= 4
    assert [line for line in stages if not line.endswith(" cached")] == []
    assert last.startswith(f"✓ write {out}")


def test_bench_syscalls(environment: dict[str, str], tmp_path: Path) -> None:
    words = ("--meter", "instructions", "--rounds", "1")
    code, out, _ = ukl(environment, "bench", "syscalls", "--json", *words)
    assert code == 0
    (tmp_path / "samples").write_text(out)
    report = samples.load(tmp_path / "samples")
    found = stats.figures(report, "syscalls", samples.Meter.INSTRUCTIONS)
    names = [each.name for each in variants.chosen([])]
    calls = {name: found["getppid", name].value for name in names}
    print(calls)
    assert 0 < calls.pop("base") < calls["process"]
    assert 0 < calls.pop("syscall") < calls["process"]
    assert 0 < calls.pop("fast") < calls["process"] / 3
    # Each row is there for each variant, and takes something.
    assert len(found) == len(report.rows("syscalls", samples.Meter.INSTRUCTIONS)) * len(names)
    assert all(each.value > 0 for each in found.values())


def test_a_normal_process_pays_nearly_nothing_for_the_patches(
    environment: dict[str, str],
) -> None:
    code, out, _ = ukl(environment, "kernel", "cost", "--json")
    print(out)
    assert code == 0
    found = json.loads(out)
    assert 100 < found["unpatched"] < 1000
    assert found["process"] <= found["unpatched"] + 3
