# SPDX-License-Identifier: GPL-2.0
"""host/process.py, host/exec.py: children are started cleanly and never stay behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import alive, eventually
from ukl.base.errors import MissingError, TimeoutExpired, UklError
from ukl.host import exec as host_exec
from ukl.host.exec import CommandFailed, run, run_apart
from ukl.host.process import PIPE, spawn

pytestmark = pytest.mark.process

SRC = Path(host_exec.__file__).parents[2]


def pids(directory: Path, count: int) -> list[int]:
    """Wait until `count` processes wrote their ids into files of `directory`."""

    def written() -> list[int]:
        texts = [file.read_text() for file in directory.glob("*.pid")]
        return [int(text) for text in texts if text.endswith("\n")]

    assert eventually(lambda: len(written()) == count)
    return written()


FAMILY = """
echo $$ > {0}/child.pid
(trap '' TERM INT HUP; sh -c 'echo $$ > {0}/grandchild.pid; sleep 300') &
{1}
"""
"""A shell with a grandchild that heeds no polite signal."""


def family(directory: Path, then: str = "wait") -> list[str]:
    return ["sh", "-c", FAMILY.format(directory, then)]


class TestRun:
    def test_output_is_captured_and_merged_in_order(self) -> None:
        done = run(["sh", "-c", "echo one; echo two >&2; echo three"])
        assert done.stdout == "one\ntwo\nthree\n"
        assert done.returncode == 0
        assert done.argv[0] == "sh"

    def test_streams_can_be_kept_apart(self) -> None:
        done = run_apart(["sh", "-c", "echo out; echo err >&2"])
        assert (done.stdout, done.stderr) == ("out\n", "err\n")

    def test_stdin_is_given_and_empty_otherwise(self) -> None:
        data = bytes(range(256)) * 4096  # far more than a pipe holds
        assert run(["wc", "-c"], stdin=data).stdout.strip() == str(len(data))
        assert run(["cat"]).stdout == ""

    def test_lines_arrive_whole(self) -> None:
        lines: list[str] = []
        run(["sh", "-c", r"printf 'a'; sleep 0.1; printf 'b\nc\303'; sleep 0.1; printf '\244'"],
            on_line=lines.append)  # fmt: skip
        assert lines == ["ab", "cä"]

    def test_bytes_that_are_not_utf8_do_no_harm(self) -> None:
        assert run(["printf", r"a\377b"]).stdout == "a\N{REPLACEMENT CHARACTER}b"

    def test_environment_is_clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CFLAGS", "-O0")
        monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
        names = {line.partition("=")[0] for line in run(["env"]).stdout.splitlines()}
        assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "PWD", "_", "SHLVL"}
        assert "LANG=C.UTF-8" in run(["env"]).stdout
        assert "EXTRA=1" in run(["env"], env={"EXTRA": "1"}).stdout

    def test_log_is_appended_with_the_command(self, tmp_path: Path) -> None:
        log = tmp_path / "sub" / "build.log"
        run(["echo", "two words"], log=log)
        run(["sh", "-c", "echo err >&2; exit 4"], log=log, check=False)
        text = log.read_text()
        assert "$ echo 'two words'\ntwo words\n# status 0" in text
        assert "err\n# status 4" in text

    def test_failure_names_command_status_tail_and_log(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        with pytest.raises(CommandFailed) as caught:
            run(["sh", "-c", "seq 100; exit 7"], log=log)
        error = caught.value
        assert error.returncode == 7
        assert error.log == log
        assert "exited with status 7" in error.message
        assert error.message.endswith("\n100")
        assert "\n50\n" not in error.message
        assert "\n50\n" in error.output

    def test_death_by_signal_is_named(self) -> None:
        with pytest.raises(CommandFailed, match="SIGSEGV") as caught:
            run(["sh", "-c", "kill -SEGV $$"])
        assert caught.value.returncode == -signal.SIGSEGV

    def test_missing_program_names_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(MissingError) as caught:
            run(["objcopy", "--version"])
        assert caught.value.remedy is not None
        assert "binutils" in caught.value.remedy
        assert caught.value.code == 3

    def test_what_is_not_executable_is_one_clear_error(self, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_bytes(b"\x7fELF but not really")
        program.chmod(0o755)
        with pytest.raises(UklError, match="cannot start"):
            run([program])
        with pytest.raises(UklError, match="cannot start"):
            run(["true"], cwd=tmp_path / "absent")

    def test_relative_program_is_not_moved_by_cwd(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tool").write_text("#!/bin/sh\necho here\n")
        (tmp_path / "tool").chmod(0o755)
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path)
        assert run(["./tool"], cwd=tmp_path / "other").stdout == "here\n"

    def test_commands_are_recorded_for_manifests(self) -> None:
        with host_exec.recording() as outer:
            run(["true"])
            with host_exec.recording() as inner:
                run(["false"], check=False)
        run(["true"])
        assert [command["argv"] for command in outer.commands] == [["true"], ["false"]]
        assert [command["returncode"] for command in inner.commands] == [1]


class TestEnd:
    def test_timeout_ends_the_whole_group(self, tmp_path: Path) -> None:
        begin = time.monotonic()
        with pytest.raises(TimeoutExpired) as caught:
            run(family(tmp_path), timeout=0.5)
        assert time.monotonic() - begin < 120  # and not the 300 s of the family
        assert caught.value.code == 124
        for pid in pids(tmp_path, 2):
            assert eventually(lambda pid=pid: not alive(pid))  # type: ignore[misc]

    def test_exception_of_a_callback_ends_the_whole_group(self, tmp_path: Path) -> None:
        def stop(line: str) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run(family(tmp_path, "sleep 0.3; echo line; wait"), on_line=stop)
        for pid in pids(tmp_path, 2):
            assert eventually(lambda pid=pid: not alive(pid))  # type: ignore[misc]

    def test_what_a_command_leaves_behind_is_ended(self, tmp_path: Path) -> None:
        """The grandchild holds the pipe open: we neither wait for it nor leave it."""
        begin = time.monotonic()
        done = run(
            family(tmp_path, f"while [ ! -s {tmp_path}/grandchild.pid ]; do :; done; echo x")
        )
        assert done.stdout == "x\n"
        assert time.monotonic() - begin < 120  # and not the 300 s of the family
        for pid in pids(tmp_path, 2):
            assert eventually(lambda pid=pid: not alive(pid))  # type: ignore[misc]

    def test_leaving_the_block_ends_the_child(self, tmp_path: Path) -> None:
        with spawn(family(tmp_path)) as process:
            both = pids(tmp_path, 2)
            assert process.poll() is None
            assert process.pid in both
        assert all(eventually(lambda pid=pid: not alive(pid)) for pid in both)  # type: ignore[misc]

    def test_a_forgotten_child_is_ended(self, tmp_path: Path) -> None:
        process = spawn(family(tmp_path))
        both = pids(tmp_path, 2)
        del process
        assert all(eventually(lambda pid=pid: not alive(pid)) for pid in both)  # type: ignore[misc]

    def test_descriptors_are_not_lost(self) -> None:
        run(["true"])
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one number is wanted
        for _ in range(20):
            run(["true"])
            with spawn(["sleep", "300"]):
                pass
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


PARENT = """
import sys
from pathlib import Path
from ukl.host.exec import run
from ukl.host.process import spawn
argv = {argv!r}
if sys.argv[1] == "run":
    run(argv)
else:
    process = spawn(argv)
    process.wait()
"""


@pytest.fixture
def parent(tmp_path: Path) -> Callable[[str], subprocess.Popen[bytes]]:
    """Return a function that starts a Python which starts the family and waits for it."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(argv=family(tmp_path)))

    def start(how: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(script), how],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return start


@pytest.mark.parametrize("how", ["run", "spawn"])
def test_kill_9_of_the_parent_leaves_nobody(
    parent: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path, how: str
) -> None:
    process = parent(how)
    both = pids(tmp_path, 2)
    process.kill()
    process.communicate(timeout=30)
    for pid in both:
        assert eventually(lambda pid=pid: not alive(pid)), pid  # type: ignore[misc]


def test_a_child_starts_when_somebody_has_killed_the_warden() -> None:
    code = textwrap.dedent("""
        import os, signal
        from ukl.host import exec
        exec.run(["true"])
        # The child that has a session of its own.
        for pid in open(f"/proc/self/task/{os.getpid()}/children").read().split():
            if os.getsid(int(pid)) == int(pid):
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)
                killed = True
        print(killed, exec.run(["sh", "-c", "echo hello"]).stdout, end="")
        print(exec.run(["sh", "-c", "echo again"]).stdout, end="")
    """)
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    ).stdout
    assert out == b"True hello\nagain\n"


def test_ctrl_c_ends_child_and_grandchild(
    parent: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = parent("run")
    both = pids(tmp_path, 2)
    os.killpg(process.pid, signal.SIGINT)  # what the terminal does
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in errors
    for pid in both:
        assert eventually(lambda pid=pid: not alive(pid)), pid  # type: ignore[misc]


def test_the_warden_ends_with_us(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        from ukl.host.exec import run
        print(run(["sh", "-c", "echo hello"]).stdout, end="")
    """)
    # Would the warden hold our stdout, this would wait for it.
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    ).stdout
    assert out == b"hello\n"


class TestSpawn:
    def test_pipes_and_status(self) -> None:
        with spawn(["sh", "-c", "read x; echo got $x; exit 5"], stdin=PIPE, stdout=PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"it\n")
            process.stdin.close()
            assert process.stdout.read() == b"got it\n"
            assert process.wait(10) == 5
            assert process.poll() == 5

    def test_wait_has_a_timeout(self) -> None:
        with spawn(["sleep", "300"]) as process, pytest.raises(TimeoutExpired):
            process.wait(0.1)

    def test_output_goes_to_the_log(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        with spawn(["sh", "-c", "echo out; echo err >&2"], log=log) as process:
            process.wait(10)
        assert log.read_text().splitlines()[1:] == ["out", "err"]

    def test_descriptors_are_passed(self) -> None:
        reader, writer = os.pipe()
        with spawn(["sh", "-c", f"echo through >/dev/fd/{writer}"], pass_fds=[writer]) as process:
            os.close(writer)
            assert process.wait(10) == 0
        assert os.read(reader, 100) == b"through\n"
        os.close(reader)
