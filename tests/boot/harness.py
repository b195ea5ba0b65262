# SPDX-License-Identifier: GPL-2.0
"""Builds images for test programs, boots them, and says what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukl.base.errors import UklError
from ukl.base.model import (
    Accelerator,
    AppSpec,
    Guest,
    Image,
    Mode,
    PortForward,
    Protocol,
    RunResult,
)
from ukl.base.progress import Progress
from ukl.flow.bootable import bootable
from ukl.flow.context import Context
from ukl.guest.mounts import marker_path
from ukl.host.store import Store
from ukl.image import initrd as initrd_image
from ukl.settings import manifest
from ukl.vm import launch, outcome, runs
from ukl.vm.launch import Options
from ukl.vm.session import Session
from ukl.vm.streams import Sink

PROGRAMS = Path(__file__).parent / "programs"

TIMEOUT = 120.0
"""Seconds a guest may take, unless the test says otherwise; most need two."""


@dataclass(frozen=True)
class Built:
    """An application, linked into a kernel, and the initrd that goes with it."""

    spec: AppSpec
    image: Image
    initrd: Path


@dataclass(frozen=True)
class Ran:
    """A finished run, with what came out of the console."""

    result: RunResult
    output: bytes

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The output's lines."""
        return self.text.splitlines()

    @property
    def error(self) -> UklError | None:
        """What `ukl run` would say."""
        return outcome.error_of(self.result)


@dataclass
class Booted:
    """A guest that runs."""

    session: Session
    output: bytearray = field(default_factory=bytearray)
    port: int = 0
    ports: Mapping[int, int] = field(default_factory=dict)
    """Port of the guest -> port of this machine; `port` is the first."""

    async def says(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until the console has shown `text`."""
        wanted = text.encode()

        async def look() -> None:
            while wanted not in self.output:
                await asyncio.sleep(0.02)

        try:
            await asyncio.wait_for(look(), timeout)
        except TimeoutError:
            shown = bytes(self.output[-2000:]).decode("utf-8", "replace")
            raise AssertionError(f"the guest did not say {text!r} but\n{shown}") from None

    async def end(self) -> Ran:
        """Wait until it has ended."""
        result = await self.session.wait()
        return Ran(result, bytes(self.output))

    async def stop(self) -> Ran:
        """Stop it as Ctrl-C does."""
        self.session.stop()
        return await self.end()


def mode_of(user: bool) -> Mode:
    """Return the mode of a test that runs as a normal process (`user`) or as a unikernel."""
    return Mode.PROCESS if user else Mode.UNIKERNEL


def free_port() -> int:
    """Return a TCP port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
        assert isinstance(number, int)
        return number


class Lab:
    """Builds each program once and runs it as often as tests want."""

    def __init__(self, store: Store, accelerator: Accelerator, runs: Path) -> None:
        self.store = store
        self.progress = Progress.quiet()
        self.context = Context(store, self.progress)
        self.accelerator = accelerator
        self.runs = runs
        self._built: dict[str, Built] = {}

    def program(self, name: str) -> Built:
        """Return tests/boot/programs/NAME, a directory with its ukl.toml, built."""
        return self.build(manifest.load(PROGRAMS / name))

    def example(self, name: str) -> Built:
        """Return an example, built."""
        return self.build(manifest.resolve(name))

    def build(self, spec: AppSpec) -> Built:
        """Return an application, linked into its kernel; built once."""
        if spec.name not in self._built:
            made = bootable(spec, self.context, Guest(start=False))
            self._built[spec.name] = Built(made.spec, made.image, made.initrd)
        return self._built[spec.name]

    @contextlib.asynccontextmanager
    async def boot(
        self,
        built: Built,
        *args: str,
        cpus: int = 1,
        env: dict[str, str] | None = None,
        guest_port: int | None = None,
        more_ports: tuple[int, ...] = (),
        protocols: tuple[Protocol, ...] = (Protocol.TCP,),
        options: Options | None = None,
        output: Sink | None = None,
    ) -> AsyncIterator[Booted]:
        """Boot a guest; it is gone when the block is left."""
        wanted = (guest_port, *more_ports) if guest_port else ()
        ports = {number: free_port() for number in wanted}
        spec = replace(
            built.spec,
            args=args,
            env=env or {},
            cpus=cpus,
            ports=tuple(
                PortForward(host, number, protocol=kind)
                for number, host in ports.items()
                for kind in protocols
            ),
        )
        seen = bytearray()
        chosen = replace(options or Options(), output=output or seen.extend)
        if chosen.guest.timeout is None:
            chosen = replace(chosen, guest=replace(chosen.guest, timeout=TIMEOUT))
        plan = launch.prepare(
            built.image,
            spec,
            built.initrd,
            accelerator=self.accelerator,
            options=chosen,
            directory=runs.run_directory(self.runs, spec.name),
        )
        async with Session(plan.machine, plan.settings) as session:
            try:
                yield Booted(session, seen, ports[guest_port] if guest_port else 0, ports)
            except (AssertionError, OSError) as error:
                # Perhaps only because the guest is no more: then that is what to say.
                with contextlib.suppress(TimeoutError):
                    result = await asyncio.wait_for(session.wait(), 0.5)
                    shown = bytes(seen[-3000:]).decode("utf-8", "replace")
                    raise AssertionError(f"{result}\n{shown}") from error
                raise

    def run(
        self,
        built: Built,
        *args: str,
        cpus: int = 1,
        env: dict[str, str] | None = None,
        options: Options | None = None,
        output: Sink | None = None,
    ) -> Ran:
        """Boot a guest and wait for its end."""

        async def whole() -> Ran:
            async with self.boot(
                built, *args, cpus=cpus, env=env, options=options, output=output
            ) as booted:
                return await booted.end()

        return asyncio.run(whole())

    def script(
        self,
        built: Built,
        text: str,
        *,
        start: bool = False,
        cpus: int = 1,
        timeout: float = TIMEOUT,
        args: tuple[str, ...] = (),
        append: tuple[str, ...] = (),
    ) -> Ran:
        """Run a shell script in the guest's normal userspace, beside the application if `start`.

        The script's status is the run's. UKL and USER are the application's marker
        file and its normal executable.
        """
        head = (
            f"UKL={marker_path(built.spec.name)}; USER={initrd_image.user_path(built.spec.name)}\n"
        )
        companion = ("/bin/sh", "-c", head + text)
        options = Options(Guest(companion=companion, start=start, timeout=timeout, append=append))
        return self.run(built, *args, cpus=cpus, options=options)
