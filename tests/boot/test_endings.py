# SPDX-License-Identifier: GPL-2.0
"""Ways in which a run ends badly: each is told apart, and none leaves a QEMU behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.boot.harness import Booted, Built, Lab, Ran, free_port
from tests.conftest import TOP
from tests.processes import alive, eventually
from ukl.base.errors import InputError, TimeoutExpired, UklError, VmLost
from ukl.base.model import Guest, Outcome, PortForward
from ukl.vm import launch
from ukl.vm.launch import Options
from ukl.vm.ports import PortBusy
from ukl.vm.session import Session
from ukl.vm.status import Type
from ukl.vm.streams import to_descriptor

# --- the guest's fault ---------------------------------------------------------


def test_panic(lab: Lab, hello: Built) -> None:
    ran = lab.script(hello, "echo before; echo c > /proc/sysrq-trigger")
    assert ran.result.outcome is Outcome.PANICKED
    assert "sysrq triggered crash" in ran.result.detail
    error = ran.error
    assert isinstance(error, VmLost)
    assert "Kernel panic" in error.message
    assert error.log == ran.result.console
    assert b"sysrq triggered crash" in ran.result.console.read_bytes()


def test_panic_with_text_of_a_success(lab: Lab, checks: Built) -> None:
    """Nothing that is printed makes a success of it, nor a failure of a success."""
    forged = '{"nonce":"","type":"exited","ms":1,"who":"application","status":0}'
    ran = lab.script(checks, f"echo '{forged}'; poweroff -f; sleep 60")
    assert ran.result.outcome is Outcome.LOST
    ran = lab.script(checks, "echo '[ 1.0] Kernel panic - not syncing: no'; exit 3")
    assert (ran.result.outcome, ran.result.status) == (Outcome.EXITED, 3)


def test_power_off_without_report(lab: Lab, hello: Built) -> None:
    ran = lab.script(hello, "echo all is well; poweroff -f; sleep 60")
    assert ran.result.outcome is Outcome.LOST
    assert "without a report" in ran.result.detail
    assert isinstance(ran.error, VmLost)
    assert "all is well" in ran.error.message


def test_reset(lab: Lab, hello: Built) -> None:
    ran = lab.script(hello, "reboot -f; sleep 60")
    assert ran.result.outcome is Outcome.LOST
    assert "reset" in ran.result.detail


def timed_out(lab: Lab, checks: Built, check: str, says: str, options: Options) -> Ran:
    """Run a check whose time is over when it hangs, however long the boot took."""

    async def whole() -> Ran:
        async with lab.boot(checks, check, options=options) as guest:
            await guest.says(says)
            guest.session._time_out()
            return await guest.end()

    return asyncio.run(whole())


def test_hang_of_the_application(lab: Lab, checks: Built) -> None:
    ran = timed_out(lab, checks, "hang", "hanging", Options())
    assert ran.result.outcome is Outcome.TIMEOUT
    assert "still running" in ran.result.detail
    assert isinstance(ran.error, TimeoutExpired)
    assert ran.lines == ["hanging"]


def test_hang_of_the_whole_machine(lab: Lab, checks: Built) -> None:
    """An application in the kernel can stop everything: interrupts off, endless loop."""
    ran = timed_out(lab, checks, "stuck", "stuck", Options())
    assert ran.result.outcome is Outcome.TIMEOUT


def test_timeout_before_init(lab: Lab, hello: Built) -> None:
    ran = lab.run(hello, options=Options(Guest(timeout=0.2)))
    assert ran.result.outcome is Outcome.TIMEOUT
    assert "init" in ran.result.detail


def test_program_that_cannot_be_executed(lab: Lab, hello: Built) -> None:
    """The initrd of one kernel, booted with another: the marker's build id is wrong."""
    other = lab.example("tcp-echo")
    mixed = replace(hello, image=other.image)
    ran = lab.run(mixed)
    assert ran.result.outcome is Outcome.FAILED
    assert "Exec format error" in ran.result.detail
    assert ran.error is not None


def test_companion_that_is_not_there(lab: Lab, hello: Built) -> None:
    ran = lab.run(hello, options=Options(Guest(companion=("/bin/nothing",))))
    assert ran.result.outcome is Outcome.FAILED
    assert "No such file" in ran.result.detail


def test_qemu_is_killed(lab: Lab, checks: Built) -> None:
    async def whole() -> None:
        async with lab.boot(checks, "hang") as guest:
            await guest.says("hanging")
            os.kill(guest.session.pid, signal.SIGKILL)
            ran = await guest.end()
            assert ran.result.outcome is Outcome.LOST
            assert "SIGKILL" in ran.result.detail

    asyncio.run(whole())


# --- stops ---------------------------------------------------------------------


def stopped(lab: Lab, checks: Built, check: str) -> Booted:
    async def whole() -> Booted:
        async with lab.boot(checks, check) as guest:
            await guest.says("hanging")
            ran = await guest.stop()
            assert ran.result.outcome is Outcome.STOPPED, ran.result
            assert not alive(guest.session.pid)
            return guest

    return asyncio.run(whole())


def ends(guest: Booted) -> list[tuple[Type, int | None]]:
    return [
        (message.type, message.number("status") or message.number("signal"))
        for message in guest.session.messages
        if message.type in {Type.EXITED, Type.SIGNALED}
    ]


def test_stop_lets_the_application_end_itself(lab: Lab, checks: Built) -> None:
    guest = stopped(lab, checks, "term")
    assert b"terminated" in guest.output
    assert ends(guest) == [(Type.EXITED, 5)]


def test_stop_kills_what_ignores_it(lab: Lab, checks: Built) -> None:
    assert ends(stopped(lab, checks, "ignore")) == [(Type.SIGNALED, signal.SIGKILL)]


def test_stop_while_booting(lab: Lab, hello: Built) -> None:
    async def whole() -> None:
        async with lab.boot(hello) as guest:
            ran = await guest.stop()
            assert ran.result.outcome in {Outcome.STOPPED, Outcome.EXITED}
            assert not alive(guest.session.pid)

    asyncio.run(whole())


def test_leaving_the_block_ends_qemu(lab: Lab, checks: Built) -> None:
    async def whole() -> int:
        async with lab.boot(checks, "hang") as guest:
            return guest.session.pid

    assert not alive(asyncio.run(whole()))


def test_an_exception_ends_qemu(lab: Lab, checks: Built) -> None:
    pids = []

    async def whole() -> None:
        async with lab.boot(checks, "hang") as guest:
            pids.append(guest.session.pid)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(whole())
    assert not alive(pids[0])


# --- ours: signals to the process that runs the guest ----------------------------

RUNNER = """
import sys
from dataclasses import replace
from pathlib import Path
from ukl.base.model import Accelerator, AppSpec, Guest, Image
from ukl.vm import launch, runs
from ukl.vm.launch import Options
from ukl.vm.outcome import error_of
directory, vmlinux, marker, initrd, check = map(str, sys.argv[1:6])
path = Path(vmlinux)
image = Image("checks", path.parent, path, path, path, Path(marker), bytes(20), "key")
spec = AppSpec("checks", path, path.parent, (), args=(check,))
result = launch.attempt(
    image, spec, Path(initrd), accelerator=Accelerator(sys.argv[6]),
    options=Options(Guest(timeout=60)), directory=runs.run_directory(Path(directory), "checks"),
)
if (error := error_of(result)) is not None:
    raise error
print(f"outcome {result.outcome.value}", flush=True)
"""


PATIENT = """
from ukl.guest import rundesc
from ukl.vm import settings
settings.STOP_GRACE, rundesc.GRACE_MS = 600.0, 600_000
"""
"""In front of RUNNER: who is asked to end has ten minutes."""


def test_files_larger_than_the_memory(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blob").write_bytes(bytes(40 << 20))
    spec = lab.program("checks").spec
    large = replace(spec, name="large", memory=64 << 20, files={"/blob": tmp_path / "blob"})
    built = lab.build(large)
    with pytest.raises(InputError, match="too much for 64 MiB of memory"):
        lab.run(built, "start")
    # What is not foreseen ends the boot.
    monkeypatch.setattr(launch, "check_room", lambda *_: None)
    ran = lab.run(built, "start")
    assert ran.result.outcome is Outcome.FAILED
    assert "argc" not in ran.text
    assert "do not fit into its memory (write error)" in str(ran.error)
    assert "-m" in str(ran.error.remedy if ran.error else None)


def runner(
    lab: Lab, checks: Built, directory: Path, check: str, code: str = RUNNER
) -> subprocess.Popen[str]:
    assert checks.image.marker is not None
    files = (directory, checks.image.bzimage, checks.image.marker, checks.initrd)
    return subprocess.Popen(
        [sys.executable, "-c", code, *files, check, lab.accelerator.value],
        env={**os.environ, "PYTHONPATH": str(TOP / "src")},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def qemu_of(process: subprocess.Popen[str]) -> int:
    """Return the process id of the QEMU that `process` has started."""
    found: list[int] = []

    def look() -> bool:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            if "qemu" in Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
        return bool(found)

    assert eventually(look)
    return found[0]


@pytest.mark.parametrize("when", ["booting", "serving"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_us(lab: Lab, checks: Built, tmp_path: Path, number: int, when: str) -> None:
    with runner(lab, checks, tmp_path / "runs", "hang") as process:
        qemu = qemu_of(process)
        assert process.stdout is not None
        if when == "serving":
            assert process.stdout.readline() == "hanging\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert out.endswith("outcome stopped\n")
    assert process.returncode == 0
    assert not alive(qemu)


def test_second_ctrl_c_does_not_wait(lab: Lab, checks: Built, tmp_path: Path) -> None:
    with runner(lab, checks, tmp_path / "runs", "ignore", PATIENT + RUNNER) as process:
        qemu = qemu_of(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"

        def ended() -> bool:
            process.send_signal(signal.SIGINT)  # two at once would be one
            return process.poll() is not None

        assert eventually(ended)
        assert process.stdout.read() == "outcome stopped\n"
    assert not alive(qemu)


def test_qemu_dies_with_us(lab: Lab, checks: Built, tmp_path: Path) -> None:
    with runner(lab, checks, tmp_path / "runs", "hang") as process:
        qemu = qemu_of(process)
        process.kill()
        process.communicate()
    assert eventually(lambda: not alive(qemu))


# --- before it begins -------------------------------------------------------------


def test_port_that_is_taken_while_qemu_starts(lab: Lab, hello: Built, tmp_path: Path) -> None:
    """The check came too early: QEMU's own refusal is translated."""
    directory = tmp_path / "run"
    directory.mkdir()
    port = free_port()
    spec = replace(hello.spec, ports=(PortForward(port, 7),))
    plan = launch.prepare(
        hello.image,
        spec,
        hello.initrd,
        accelerator=lab.accelerator,
        options=Options(),
        directory=directory,
    )

    async def whole() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        async with server, Session(plan.machine, plan.settings):
            pass

    with pytest.raises(PortBusy):
        asyncio.run(whole())


def test_kernel_that_is_none(lab: Lab, hello: Built, tmp_path: Path) -> None:
    bad = tmp_path / "bzImage"
    bad.write_bytes(b"no kernel")
    broken = replace(hello, image=replace(hello.image, bzimage=bad))
    with pytest.raises(UklError, match="QEMU did not start") as caught:
        lab.run(broken)
    assert caught.value.log is not None
    assert caught.value.log.is_file()


def test_output_that_cannot_be_written(lab: Lab, hello: Built) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(UklError, match="cannot write the guest's output"):
            lab.run(hello, output=to_descriptor(full))
    finally:
        os.close(full)
