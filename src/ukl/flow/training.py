# SPDX-License-Identifier: GPL-2.0
"""Trains: runs an application that counts its branches, in a kernel that does, and keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukl.base.errors import InputError, TimeoutExpired, UklError, UsageError, VmLost
from ukl.base.model import AppSpec, Guest, RunResult, Volume
from ukl.flow import running, suite, working
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.host import exec as host_exec
from ukl.image import initrd as initrd_room
from ukl.pgo import counts, gcda
from ukl.recipe import build as recipe_build
from ukl.settings.volumes import merged
from ukl.vm import launch, outcome

OPTIONS: Mapping[str, str] = {
    # The kernel's coverage: Documentation/dev-tools/gcov.rst
    "DEBUG_FS": "y",
    "GCOV_KERNEL": "y",
    "GCOV_PROFILE_ALL": "y",
    # How the counts get here
    "NETWORK_FILESYSTEMS": "y",
    "NET_9P": "y",
    "NET_9P_VIRTIO": "y",
    "9P_FS": "y",
}
"""What the kernel of a training run has beyond the application's."""

TARGET = "/training"
"""Where the guest has the directory of this machine that it leaves its counts in."""

MEMORY = 256 << 20
"""Bytes of a guest at least: counters are larger than what they count."""

SCRIPT = f"""
mount -t debugfs none /sys/kernel/debug 2>/dev/null
# What the boot did is not what the application does.
echo 0 >/sys/kernel/debug/gcov/reset
"$@" &
program=$!
if [ -e {TARGET}/serve ]; then
    # Until the work is done that is asked for from outside.
    while [ -e {TARGET}/serve ] && kill -0 $program 2>/dev/null; do sleep 0.2; done
    kill -TERM $program 2>/dev/null
fi
wait $program
echo $? >{TARGET}/status
cd /sys/kernel/debug/gcov || exit 1
find . -type d | while read -r name; do mkdir -p "{TARGET}/kernel/$name"; done
# Files of debugfs have no size that tar would believe.
find . -name '*.gcda' | while read -r name; do cat "$name" >"{TARGET}/kernel/$name"; done
echo done >{TARGET}/done
"""
"""Runs the program, waits for it, and saves the kernel's counts; the program's are there then."""

TIMEOUT = 3600.0
"""Seconds for the work."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a training run gave: numbers of files, and the program's exit status."""

    file: Path
    kernel: int
    application: int
    status: int


def train(
    spec: AppSpec,
    workload: str | None,
    file: Path,
    context: Context,
) -> Taken:
    """Run `spec` until it ends, or until `workload` has, and write its counts into `file`.

    `workload` is a command of the shell that runs here, once the application takes connections;
    HOST and PORT say where, TREE where the source of a recipe is built. Raises UsageError for an
    application that would never end, UklError when the work failed, and the errors of building
    and booting.
    """
    if workload is None and spec.ports:
        raise UsageError(
            f"{spec.name} serves, and would not end: there is no work to train it by",
            remedy="give a command that uses it with --workload",
        )
    if not file.absolute().parent.is_dir():
        raise InputError("there is no such directory", where=file.absolute().parent)
    build = spec.build
    # A script in normal userspace starts the application, and saves the counts.
    guest = Guest(start=False)
    made = bootable(_counting(spec), context, guest)
    spec = made.spec
    directory = running.run_directory(context.store, f"{spec.name}-training")
    shared = directory / "training"
    shared.mkdir()
    work = None
    if workload is not None:
        (shared / "serve").touch()
        # The recipe's own programs count, too, and would do so in the cache.
        env = {"GCOV_PREFIX": str(directory / "host")}
        env |= {"TREE": str(recipe_build.tree_of(spec, build))} if build else {}
        work = working.Work(workload, TIMEOUT, env)
    spec = replace(
        working.served(spec),
        volumes=merged(spec.volumes, (Volume(shared, TARGET),)),
        env={**spec.env, "GCOV_PREFIX": f"{TARGET}/app"},
    )
    options = launch.Options(replace(guest, companion=_companion(spec)), output=lambda data: None)
    plan = running.plan(made, options, context, directory, spec)
    try:
        with context.progress.stage(f"train {spec.name}"):
            result = _run(plan, spec, work, shared)
    finally:
        plan.machine.initrd.unlink(missing_ok=True)
    status = int((shared / "status").read_text())
    if work is None and status != 0:
        raise UklError(
            f"{spec.name} ended with status {status}, and is not what it would be trained for",
            log=result.console,
        )
    members = _collected(shared)
    of_kernel = sum(1 for name in members if name.startswith(f"{counts.KERNEL}/"))
    if not of_kernel:
        raise UklError("the kernel gave no counts", log=result.console)
    trained = counts.Trained(spec.name, made.kernel.version, host_exec.version("gcc"))
    counts.write(file, trained, members)
    return Taken(file, of_kernel, len(members) - of_kernel, status)


def _companion(spec: AppSpec) -> tuple[str, ...]:
    """Return the program of the guest that starts the application, and saves the counts. Pure."""
    program = spec.entrypoint or initrd_room.marker_path(spec.name)
    words = initrd_room.argument_vector(spec, initrd_room.marker_path(spec.name))[1:]
    return ("/bin/sh", "-c", SCRIPT, "sh", program, *words)


def _run(plan: launch.Plan, spec: AppSpec, work: working.Work | None, shared: Path) -> RunResult:
    """Run the guest until it has left its counts in `shared`, and return how it ended."""
    log = plan.settings.directory / "workload.log"
    with suite.Guest(plan.machine, plan.settings) as guest:
        if work is not None:
            status = work.run(guest, spec.ports, log)
            if status != 0:
                raise UklError(
                    f"the work for {spec.name} ended with status {status}: `{work.command}`",
                    remedy="the log has what it said",
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
    """Return `spec` with counters in it and in its kernel. Pure."""
    beside = tuple(replace(each, counting=True, pgo=None) for each in spec.with_)
    return replace(
        spec,
        counting=True,
        pgo=None,
        with_=beside,
        memory=max(spec.memory, MEMORY),
        kernel_options={**spec.kernel_options, **OPTIONS},
    )


def _collected(shared: Path) -> dict[str, bytes]:
    """Return the members of the archive for the files that a guest left."""
    found = {}
    for top in ("kernel", "app"):
        root = shared / top
        for path in sorted(root.rglob("*.gcda")):
            name = counts.member(f"/{path.relative_to(root).as_posix()}")
            if name is not None:
                found[name] = path.read_bytes()
    kernel = [name for name in found if name.startswith(f"{counts.KERNEL}/")]
    most = max((gcda.highest(found[name]) for name in kernel), default=0)
    return found | {name: gcda.with_summary(found[name], most) for name in kernel}
