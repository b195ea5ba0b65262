# SPDX-License-Identifier: GPL-2.0
"""Training runs for PGO, in which an application and its kernel count their branches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import InputError, TimeoutExpired, UklError, UsageError, VmLost
from ukl.base.model import AppSpec, Guest, RunResult, Volume
from ukl.flow import host_command, running, suite
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.guest.mounts import marker_path
from ukl.host import exec as host_exec
from ukl.image import initrd
from ukl.pgo import counts, gcda
from ukl.recipe import build as recipe_build
from ukl.settings.volumes import merged
from ukl.vm import launch, outcome

OPTIONS: Mapping[str, str] = {
    # The kernel's coverage: Documentation/dev-tools/gcov.rst
    "DEBUG_FS": "y",
    "GCOV_KERNEL": "y",
    "GCOV_PROFILE_ALL": "y",
    # To share a directory with the host
    "NETWORK_FILESYSTEMS": "y",
    "NET_9P": "y",
    "NET_9P_VIRTIO": "y",
    "9P_FS": "y",
}
"""Additional options for the kernel of a training run."""

TARGET = "/training"
"""Mount point in the guest of the host directory for the counts."""

MEMORY = 256 << 20
"""Minimum memory of the guest in bytes: counters are larger than the code."""

SCRIPT = f"""
mount -t debugfs none /sys/kernel/debug 2>/dev/null
# Discard the counts of the boot.
echo 0 >/sys/kernel/debug/gcov/reset
"$@" &
program=$!
if [ -e {TARGET}/serve ]; then
    # The host removes this file when the workload has ended.
    while [ -e {TARGET}/serve ] && kill -0 $program 2>/dev/null; do sleep 0.2; done
    kill -TERM $program 2>/dev/null
fi
wait $program
echo $? >{TARGET}/status
cd /sys/kernel/debug/gcov || exit 1
find . -type d | while read -r name; do mkdir -p "{TARGET}/kernel/$name"; done
# tar cannot copy files of debugfs, whose size is 0.
find . -name '*.gcda' | while read -r name; do cat "$name" >"{TARGET}/kernel/$name"; done
echo done >{TARGET}/done
"""
"""Runs the program, waits for it, and saves the kernel's counts. The program saves its own."""

TIMEOUT = 3600.0
"""Seconds for the workload."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a training run: numbers of files with counts, and the exit status."""

    file: Path
    kernel: int
    application: int
    status: int


def train(
    spec: AppSpec,
    workload: str | None,
    file: Path,
    context: Context,
) -> TrainingResult:
    """Run `spec` until it or `workload` ends, and write the branch counts to `file`.

    `workload` is a shell command on the host, run when the application accepts connections. HOST
    and PORT are its address, TREE is the built source of a recipe. Raises UsageError for a server
    without a workload, UklError if the workload failed, and the errors of building and booting.
    """
    if workload is None and spec.ports:
        raise UsageError(
            f"{spec.name} is a server, which does not end: training it needs a workload",
            remedy="name a command that uses it with --workload",
        )
    if not file.absolute().parent.is_dir():
        raise InputError("there is no such directory", where=file.absolute().parent)
    build = spec.build
    # A script in normal userspace starts the application and saves the counts.
    guest = Guest(start=False)
    made = bootable(_counting(spec), context, guest)
    spec = made.spec
    directory = running.run_directory(context.store, f"{spec.name}-training")
    shared = directory / "training"
    shared.mkdir()
    command = None
    if workload is not None:
        (shared / "serve").touch()
        # Programs of the recipe count too; their files must not be written to the cache.
        env = {"GCOV_PREFIX": str(directory / "host")}
        env |= {"TREE": str(recipe_build.tree_of(spec, build))} if build else {}
        command = host_command.HostCommand(workload, TIMEOUT, env)
    spec = replace(
        host_command.with_free_ports(spec),
        volumes=merged(spec.volumes, (Volume(shared, TARGET),)),
        env={**spec.env, "GCOV_PREFIX": f"{TARGET}/app"},
    )
    options = launch.Options(replace(guest, companion=_companion(spec)), output=lambda data: None)
    plan = running.plan(made, options, context, directory, spec)
    try:
        with context.progress.stage(f"train {spec.name}"):
            result = _run(plan, spec, command, shared)
    finally:
        plan.machine.initrd.unlink(missing_ok=True)
    status = int((shared / "status").read_text())
    if command is None and status != 0:
        raise UklError(
            f"{spec.name} ended with status {status}; its counts are not representative",
            log=result.console,
        )
    members = _collect(shared)
    of_kernel = sum(1 for name in members if name.startswith(f"{counts.KERNEL}/"))
    if not of_kernel:
        raise UklError("the kernel wrote no counts", log=result.console)
    trained = counts.Trained(spec.name, made.kernel.version, host_exec.version("gcc"))
    counts.write(file, trained, members)
    return TrainingResult(file, of_kernel, len(members) - of_kernel, status)


def _companion(spec: AppSpec) -> tuple[str, ...]:
    """Return the command in the guest that runs the application and saves the counts. Pure."""
    program = spec.entrypoint or marker_path(spec.name)
    words = initrd.argument_vector(spec, marker_path(spec.name))[1:]
    return ("/bin/sh", "-c", SCRIPT, "sh", program, *words)


def _run(
    plan: launch.Plan, spec: AppSpec, command: host_command.HostCommand | None, shared: Path
) -> RunResult:
    """Run the guest until it has written its counts to `shared`, and return how it ended."""
    log = plan.settings.directory / "workload.log"
    with suite.Guest(plan.machine, plan.settings) as guest:
        if command is not None:
            status = command.run(guest, spec.ports, log)
            if status != 0:
                raise UklError(
                    f"the workload of {spec.name} ended with status {status}: `{command.command}`",
                    remedy="see its output in the log",
                    log=log,
                )
            (shared / "serve").unlink()
        result = guest.wait(TIMEOUT)
    if result is None:
        raise TimeoutExpired(f"{spec.name} did not end within {TIMEOUT:g} s")
    if not (shared / "done").is_file():
        raise outcome.error_of(result) or VmLost(
            f"the guest ended before it had saved its counts: {result.outcome.value}",
            log=result.console,
        )
    return result


def _counting(spec: AppSpec) -> AppSpec:
    """Return `spec` with branch counters in all applications and the kernel. Pure."""
    others = tuple(replace(each, counting=True, pgo=None) for each in spec.with_)
    return replace(
        spec,
        counting=True,
        pgo=None,
        with_=others,
        memory=max(spec.memory, MEMORY),
        kernel_options={**spec.kernel_options, **OPTIONS},
    )


def _collect(shared: Path) -> dict[str, bytes]:
    """Return the members of the archive, made of the files that the guest wrote."""
    found = {}
    for top in ("kernel", "app"):
        root = shared / top
        for path in sorted(root.rglob("*.gcda")):
            name = counts.member(f"/{path.relative_to(root).as_posix()}")
            if name is not None:
                found[name] = path.read_bytes()
    kernel = [name for name in found if name.startswith(f"{counts.KERNEL}/")]
    highest = max((gcda.highest(found[name]) for name in kernel), default=0)
    return found | {name: gcda.with_summary(found[name], highest) for name in kernel}
