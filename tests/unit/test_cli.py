# SPDX-License-Identifier: GPL-2.0
"""The command line: one clear error, the documented code, no traceback."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import TOP, Cli
from ukl.base import resources
from ukl.base.errors import ExitCode, InputError, TimeoutExpired, UklError, VmLost
from ukl.base.model import KernelSource
from ukl.base.progress import Progress
from ukl.cli import failures
from ukl.flow import kernel, selftest
from ukl.host import exec as host_exec
from ukl.host.exec import Completed
from ukl.host.store import Store


def one_error(done: Completed, code: int, *words: str) -> None:
    """Check that a command failed with `code` and one error that has `words`."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(re.findall(r"(?m)^(ukl: error|Error): ", done.stderr)) == 1, done.stderr
    for word in words:
        assert word in done.stderr


class TestUsage:
    def test_help_and_version(self, cli: Cli) -> None:
        text = cli("--help").stdout
        for verb in ("run", "build", "kernel", "doctor", "selftest", "cache", "bench"):
            assert re.search(rf"(?m)^  {verb} ", text)
        assert re.fullmatch(r"ukl \d+\.\d+\.\d+\n", cli("--version").stdout)
        assert cli("run", "--help").returncode == 0

    @pytest.mark.parametrize(
        "argv",
        [
            ["bogus"],
            ["run"],
            ["run", "hello", "--bogus"],
            ["run", "hello", "-p", "80x:80"],
            ["run", "hello", "-m", "lots"],
            ["run", "hello", "-e", "novalue"],
            ["run", "hello", "--smp", "0"],
            ["run", "hello", "--init", "systemd"],
            ["cache", "clean", "--older", "yesterday"],
            ["kernel", "build", "--set", "no"],
            ["--cache-dir", "", "ps"],
            ["run", "--bootchart", "", "hello"],
            ["run", "--pgo", "", "hello"],
            ["package", "-o", "", "hello"],
            ["bench", "report", ""],
            ["perf", "flames", "-o", "", "x"],
            ["kernel", "export", "-o", ""],
            ["kernel", "trim", "-o", "", "hello"],
            ["man", "-o", ""],
            ["new", ""],
        ],
    )
    def test_nonsense_is_a_usage_error(self, cli: Cli, argv: list[str]) -> None:
        one_error(cli(*argv), ExitCode.USAGE)


class TestBadInput:
    def test_unknown_target(self, cli: Cli) -> None:
        one_error(cli("run", "tcp-ecko"), ExitCode.BAD_INPUT, "did you mean `tcp-echo`", "remedy: ")

    def test_missing_file(self, cli: Cli) -> None:
        one_error(cli("build", "./absent.c"), ExitCode.BAD_INPUT, "absent.c", "remedy: ")

    def test_unknown_key(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "ukl.toml").write_text('[app]\nsource = ["main.c"]\n')
        done = cli("run", str(tmp_path))
        one_error(done, ExitCode.BAD_INPUT, "ukl.toml:2: unknown key `source`", "`sources`")

    def test_missing_source(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "ukl.toml").write_text('[app]\nsources = ["main.c"]\n')
        one_error(cli("run", str(tmp_path)), ExitCode.BAD_INPUT, "ukl.toml:2", "'main.c'")

    def test_port_in_use_is_found_before_anything_is_built(
        self, cli: Cli, busy_port: int, tmp_path: Path
    ) -> None:
        done = cli("run", "hello", "-p", f"{busy_port}:80")
        one_error(done, ExitCode.FAILED, f"127.0.0.1:{busy_port}", "in use", "remedy: ", "-p ")
        assert not (tmp_path / "cache" / "source").exists()

    def test_shell_needs_our_init(self, cli: Cli) -> None:
        one_error(cli("run", "hello", "--init", "app", "--shell"), ExitCode.USAGE, "remedy: ")

    def test_output_directory_with_something_else(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").touch()
        done = cli("build", "hello", "-o", str(tmp_path / "out"))
        one_error(done, ExitCode.BAD_INPUT, "thesis.tex", "remedy: ")

    def test_unknown_series(self, cli: Cli, tmp_path: Path) -> None:
        done = cli("kernel", "export", "--kernel", "2.4", "-o", str(tmp_path / "p"))
        one_error(done, ExitCode.BAD_INPUT, "2.4", "6.12")
        assert not (tmp_path / "p").exists()


class TestMachine:
    def test_missing_tools(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        done = cli("build", "hello", PATH=str(tmp_path / "bin"))
        one_error(done, ExitCode.MISSING, "gcc", "remedy: sudo apt-get install")

    def test_cache_that_cannot_be_written(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        done = cli("ps", UKL_CACHE_DIR=str(tmp_path / "file" / "cache"))
        one_error(done, ExitCode.FAILED, str(tmp_path / "file"), "remedy: ")

    def test_doctor_as_json(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        done = cli("doctor", "--json", PATH=str(tmp_path / "bin"))
        assert done.returncode == ExitCode.MISSING
        levels = {finding["name"]: finding["level"] for finding in json.loads(done.stdout)}
        assert levels["gcc"] == "missing"
        assert levels["processor"] == "ok"

    def test_cache_info_and_clean(self, cli: Cli, tmp_path: Path) -> None:
        entry = tmp_path / "cache" / "kernel" / "abc"
        entry.mkdir(parents=True)
        (entry / "manifest.json").write_text("{}")
        listed = json.loads(cli("cache", "info", "--json").stdout)
        assert [(row["kind"], row["key"]) for row in listed["entries"]] == [("kernel", "abc")]
        assert re.search(r"(?m)^kernel +abc ", cli("cache", "info").stdout)
        assert cli("cache", "clean", "--older", "7d").stdout.startswith("deleted 0 entries")
        assert cli("cache", "clean").stdout.startswith("deleted 1 entries")
        assert not entry.exists()

    @pytest.mark.process
    def test_a_reader_that_goes_away_is_no_error(self, tmp_path: Path) -> None:
        done = subprocess.run(
            f"{sys.executable} -m ukl --help | true",
            shell=True,
            env={**os.environ, "PYTHONPATH": str(TOP / "src"), "UKL_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


WAITS = """
import sys
from ukl.cli import main, run
import ukl.settings.manifest
from ukl.host.exec import run as command

def resolve(target):
    print("here", flush=True)
    command(["sleep", "300"])

ukl.settings.manifest.resolve = resolve
sys.exit(main(["run", "hello"]))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_ctrl_c_and_termination(tmp_path: Path, number: signal.Signals, words: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        env={**os.environ, "PYTHONPATH": str(TOP / "src"), "UKL_CACHE_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors == f"ukl: {words}\n"


ENDS_SLOWLY = """
import atexit, time

@atexit.register
def end():
    print("ending", flush=True)
    time.sleep(300)
"""


@pytest.mark.process
def test_ctrl_c_while_the_interpreter_ends(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ENDS_SLOWLY)
    process = subprocess.Popen(
        [sys.executable, "-m", "ukl", "--version"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{TOP / 'src'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "ending\n" in process.stdout
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-signal.SIGINT, "")


class TestFailures:
    def test_paragraph(self) -> None:
        error = InputError("is wrong", where="ukl.toml:3", remedy="mend it", log=Path("/x.log"))
        assert failures.paragraph(error) == (
            "ukl: error: ukl.toml:3: is wrong\n  remedy: mend it\n  log: /x.log"
        )
        assert failures.paragraph(UklError("is wrong")) == "ukl: error: is wrong"

    def test_codes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert failures.report(VmLost("gone"), tmp_path) == ExitCode.VM_LOST
        assert failures.report(InputError("bad"), tmp_path) == ExitCode.BAD_INPUT
        assert "Traceback" not in capsys.readouterr().err

    def test_a_defect_is_one_paragraph_and_a_log(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            raise ZeroDivisionError("oh\nno")
        assert failures.report(caught.value, tmp_path) == ExitCode.FAILED
        text = capsys.readouterr().err
        assert text.startswith("ukl: error: internal error: ZeroDivisionError: oh\n  remedy: ")
        log = Path(text.split("log: ")[1].strip())
        assert log.parent == tmp_path / "logs"
        assert "Traceback" in log.read_text()

    def test_only_a_reader_of_ours_that_is_gone_is_no_error(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert failures.report(BrokenPipeError(), tmp_path) == ExitCode.FAILED
        assert "BrokenPipeError" in capfd.readouterr().err
        reader, writer = os.pipe()
        before = os.dup(1)
        os.dup2(writer, 1)
        os.close(reader)
        try:
            assert failures.report(BrokenPipeError(), tmp_path) == 128 + signal.SIGPIPE
        finally:
            os.dup2(before, 1)
            os.close(before)
            os.close(writer)
        assert capfd.readouterr().err == ""

    def test_full_disk_anywhere(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))
        assert failures.report(error, tmp_path) == ExitCode.FAILED
        text = capsys.readouterr().err
        assert "no space left" in text
        assert "cache clean" in text
        target = str(tmp_path / "copy")
        failures.report(OSError(errno.ENOSPC, "full", "/source", None, target), tmp_path)
        assert target in capsys.readouterr().err


class TestSelftest:
    def test_closing_line(self) -> None:
        assert selftest.line(Counter(passed=3)) == "3 passed, 0 failed"
        total = Counter(passed=3, failed=1) + Counter(passed=1, skipped=2)
        assert selftest.line(total) == "4 passed, 1 failed, 2 skipped"

    def test_junit_is_counted(self) -> None:
        text = (
            "<testsuites><testsuite><testcase/><testcase><failure/></testcase>"
            "<testcase><error/><failure/></testcase><testcase><skipped/></testcase>"
            "</testsuite></testsuites>"
        )
        assert selftest.read_junit(text) == {"passed": 1, "failed": 2, "skipped": 1}

    @pytest.fixture
    def checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Make a checkout of three tests: one passes, one fails, one lacks a tool."""
        top = tmp_path / "checkout"
        (top / "tests" / "unit").mkdir(parents=True)
        (top / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['tool', 'boot']")
        shutil.copy(TOP / "tests" / "conftest.py", top / "tests")
        (top / "src").symlink_to(TOP / "src")
        (top / "tests" / "unit" / "test_x.py").write_text(
            "def test_good(): pass\n"
            "def test_bad(): assert False\n"
            "def test_absent(need): need('no-such-tool')\n"
        )
        monkeypatch.setattr(resources, "checkout", lambda: top)
        return top

    @pytest.mark.process
    @pytest.mark.parametrize(
        ("words", "counts"),
        [("", (1, 1, 1)), ("--no-skip", (1, 2, 0)), ("-k good", (1, 0, 0)), ("-k none", (0, 0, 0))],
    )
    def test_tests_are_counted(
        self, cli: Cli, checkout: Path, words: str, counts: tuple[int, int, int]
    ) -> None:
        """The real thing, with a pytest of its own."""
        done = cli("selftest", "--unit", "--json", *words.split())
        assert tuple(json.loads(done.stdout).values()) == counts, done.stderr
        assert done.returncode == bool(counts[1])
        assert "slowest 10 durations" in done.stderr or not counts[0]
        for kind in ("log", "xml"):
            assert (checkout / f"build/selftest/unit.{kind}").is_file()

    @pytest.mark.usefixtures("checkout")
    @pytest.mark.parametrize("ended", [0, selftest.NO_TESTS, -11, None])
    def test_what_does_not_end_well_has_failed(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, ended: int | None
    ) -> None:
        started = []

        def run(argv: list[str], **_: object) -> Completed:
            started.append(argv[-1] if argv[2] == "pytest" else argv[2])
            if ended is None:
                raise TimeoutExpired("did not end")
            return Completed((), ended, "", 0.0)

        monkeypatch.setattr(host_exec, "run", run)
        monkeypatch.setattr(selftest, "other_series", lambda store, progress: ["7.3"])
        done = cli("selftest")
        assert done.stdout == ("3 passed, 0 failed\n" if ended == 0 else "0 passed, 7 failed\n")
        linters = ["ruff", "ruff", "mypy"]
        boot = [selftest.KERNELS, "tests/boot"]
        assert started == [*linters, "tests/unit", "tests/tool", *boot]

    def test_another_kernel_has_its_own_suite(self) -> None:
        def found(*groups: str) -> list[selftest.Suite]:
            return list(selftest.suites(groups, lambda: ["7.3"]))

        assert [each.name for each in found("unit")] == ["unit"]
        [first] = found("boot")
        assert (first.name, first.kernels, first.series) == ("boot", "kernels", "")
        whole, apps = found("apps")
        assert (whole.name, whole.kernels, whole.series) == ("boot-7.3", "kernels-7.3", "7.3")
        assert whole.paths == ("tests/boot",)
        assert apps.name == "apps"

    def test_the_environment_names_the_only_kernel(
        self, store: Store, progress: Progress, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree = Path(__file__).resolve().parents[1] / "data/toykernel"
        found = KernelSource(tree, "6.12.999", "")
        monkeypatch.setattr(kernel, "fetched", lambda context: found)
        assert selftest.other_series(store, progress) == ["7.3"]
        monkeypatch.setenv("UKL_KERNEL", "6.12")
        assert selftest.other_series(store, progress) == []

    def test_distributions_are_run_only_if_asked_for(
        self, cli: Cli, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started = []
        check = selftest._check_root

        def run(argv: list[str], *, env: Mapping[str, str], **_: object) -> Completed:
            started.append(argv)
            assert env.get("HTTP_PROXY") == "proxy"
            return Completed((), argv[-1] == "sid", "", 0.0)

        monkeypatch.setattr(host_exec, "run", run)
        monkeypatch.setattr(selftest, "_check_root", lambda: None)
        done = cli("selftest", "--distributions", HTTP_PROXY="proxy")
        script = str(checkout / ".ci/distribution")
        assert started == [[script, suite] for suite in ("bookworm", "trixie", "sid")]
        assert done.stdout == "2 passed, 1 failed\n"
        monkeypatch.setattr(selftest, "_check_root", check)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert cli("selftest", "--distributions", PATH="/nowhere").returncode == ExitCode.MISSING
