# SPDX-License-Identifier: GPL-2.0
"""`compose.toml` -> Project. An error names file, line, key and what to write instead.

TOML, and not the YAML of Compose: keys that mean something else for a machine of its own
(images, builds, capabilities, …) would look as if they worked, and there is one parser, one
kind of error and one kind of file beside `ukl.toml`. What means the same has the same name.
"""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import (
    LOG_FILES_MAX,
    LOG_LIMITS,
    NO_NETWORK,
    AppSpec,
    Level,
    LogLimits,
    Network,
    PortForward,
    Protocol,
    Restart,
)
from ukl.compose.model import (
    READY_TIMEOUT,
    Condition,
    Project,
    Ready,
    Service,
    ordered,
)
from ukl.flow import pipeline
from ukl.guest.rundesc import NAME
from ukl.settings import manifest
from ukl.settings.volumes import parse_disk, parse_volume
from ukl.vm import network as networks
from ukl.vm import ports
from ukl.vm.registry import MAX_NAME

FILENAME = "compose.toml"


# --- the schema; docs/reference/compose-toml.md describes it for people -----------------


def _name(text: str) -> str:
    if not NAME.fullmatch(text) or len(text) > MAX_NAME // 2 - 1:
        raise ValueError(
            f"{text!r} cannot be a name; use letters, digits, `.`, `_` and `-`, at most "
            f"{MAX_NAME // 2 - 1} of them"
        )
    return text


def _port(value: object) -> str:
    manifest.parse_port(str(value))
    return str(value)


def _guest_port(value: object) -> str:
    """Take `53/udp` and 53: a port of the guest."""
    text = str(value)
    number, slash, protocol = text.partition("/")
    if not number.isdecimal() or not 0 < int(number) < 1 << 16:
        raise ValueError(f"{text!r} is not a port of the guest; write it like 6379 or 53/udp")
    if slash and protocol not in set(Protocol):
        raise ValueError(f"{text!r}: {protocol!r} is neither tcp nor udp")
    return text


def _variable(text: str) -> str:
    return manifest.parse_env(f"{text}=")[0]


def _address(text: str) -> str:
    return networks.parse_address(text)


class _Table(BaseModel):
    # Not strict: words become members of enumerations.
    model_config = ConfigDict(extra="forbid", frozen=True)


_Text = Annotated[str, Field(strict=True)]
_Name = Annotated[str, AfterValidator(_name)]


class _Ready(_Table):
    ports: list[Annotated[str, BeforeValidator(_guest_port)]] = []
    command: list[_Text] = []
    timeout: Annotated[float, Field(gt=0)] = READY_TIMEOUT


class _Service(_Table):
    target: _Text
    applications: list[_Text] = []
    args: list[_Text] | None = None
    env: dict[Annotated[str, AfterValidator(_variable)], _Text] = {}
    ports: list[Annotated[str, BeforeValidator(_port)]] | None = None
    volumes: list[manifest.VolumeText] = []
    disks: list[manifest.DiskText] = []
    memory: manifest.MemoryText | None = None
    cpus: Annotated[int, Field(ge=1, le=manifest.CPUS_MAX)] | None = None
    level: Level | None = None
    profile: _Text | None = None
    mode: Literal["unikernel", "process"] = "unikernel"
    network: bool | _Name = True
    address: Annotated[str, AfterValidator(_address)] | None = None
    depends_on: list[_Text] | dict[_Text, Condition] = []
    ready: _Ready = _Ready()
    restart: Restart = Restart.NO
    append: list[_Text] = []
    log_size: manifest.LogSizeText | None = None
    log_files: Annotated[int, Field(ge=1, le=LOG_FILES_MAX)] | None = None


class _Compose(_Table):
    name: _Name | None = None
    services: Annotated[dict[_Name, _Service], Field(min_length=1)]


MODEL: type[BaseModel] = _Compose
"""What checks the file; schema.py makes a JSON schema of it."""

_REMEDIES: Mapping[tuple[str, ...], str] = {
    ("name",): 'write it like name = "shop"',
    ("services",): 'write a table for each guest:\n[services.web]\ntarget = "tcp-echo"',
    ("services", "target"): "name what ukl run takes: an example, a directory, a C file, …",
    ("services", "args"): 'write a list of strings: args = ["-p", "5555"]',
    ("services", "env"): 'write a table of strings: env = { KEY = "value" }',
    ("services", "ports"): 'write a list like ports = ["5555:5555"] (host, then guest)',
    ("services", "volumes"): 'write a list like volumes = ["data:/data", "conf:/etc/app:ro"]',
    ("services", "disks"): 'write a list like disks = ["data.img:/data,size=1G"]',
    ("services", "memory"): 'write it like memory = "256M"',
    ("services", "mode"): 'write "unikernel", or "process" for a normal one on the same kernel',
    ("services", "network"): "write false for none, or the name of a network",
    ("services", "depends_on"): 'write a list like depends_on = ["db"], or a table like '
    '{ db = "ready" }: started, ready or completed',
    ("services", "ready"): "write one of ready = { ports = [6379] }, "
    'ready = { command = ["sh", "-c", "test -e /run/ready"] }',
    ("services", "log_size"): 'write it like log_size = "16M"',
    ("services", "restart"): 'write "no", "on-failure" or "always"',
}


# --- loading ------------------------------------------------------------------------------


def find(given: str | None) -> Path:
    """Return the file that a person means: a file, a directory, an example; None: the one here."""
    path = Path(given or FILENAME).expanduser()
    if given is not None and "/" not in given and not path.exists():
        path = resources.root() / "examples" / given
    if path.is_dir():
        path /= FILENAME
    if not path.is_file():
        raise InputError(
            "there is no such compose file",
            where=path,
            remedy=f"write a {FILENAME}, or name one with -f; docs/reference/compose-toml.md "
            "describes it",
        )
    return path.absolute()


def load(path: Path) -> Project:
    """Return the project that the file describes. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"the file is not UTF-8 text (byte {error.start})",
            where=path,
            remedy="save it as UTF-8",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise manifest.syntax_error(path, text, error) from error
    try:
        content = _Compose.model_validate(data)
    except ValidationError as error:
        raise manifest.explained(
            path,
            text,
            error,
            model=MODEL,
            remedies=_REMEDIES,
            document="compose-toml.md",
            named=("services",),
        ) from error
    name = content.name or _project_name(path)
    depends = {key: _conditions(service.depends_on) for key, service in content.services.items()}
    for key, others in depends.items():
        for other in others:
            if other not in content.services:
                line = manifest.find_line(text, ["services", key, "depends_on"])
                raise InputError(
                    f"`depends_on` in [services.{key}]: there is no service {other}",
                    where=f"{path}:{line}" if line else path,
                    remedy=f"there are: {', '.join(content.services)}",
                )
    services = tuple(
        _service(path, text, key, content.services[key], project=name, depends=depends[key])
        for key in ordered(depends, path)
    )
    return Project(name, path, services)


def _project_name(path: Path) -> str:
    try:
        return _name(path.parent.name)
    except ValueError as error:
        raise InputError(
            f"the directory's name cannot be the project's: {error}",
            where=path,
            remedy='begin the file with: name = "..."',
        ) from error


def _conditions(depends: list[str] | dict[str, Condition]) -> dict[str, Condition]:
    if isinstance(depends, dict):
        return depends
    return dict.fromkeys(depends, Condition.READY)


def _service(
    path: Path,
    text: str,
    key: str,
    said: _Service,
    *,
    project: str,
    depends: Mapping[str, Condition],
) -> Service:
    try:
        target = _target(path, said.target)
        others = [_target(path, each) for each in said.applications]
        spec = pipeline.overridden(manifest.resolve_all(target, others), _overrides(path, said))
    except InputError as error:
        if error.where is None:
            line = manifest.find_line(text, ["services", key, "target"])
            error.where = f"{path}:{line}" if line else str(path)
        raise
    guest = f"{project}-{key}"
    network = _network(project, said)
    service = Service(
        name=key,
        guest=guest,
        target=target,
        spec=spec,
        words=(),
        user=said.mode == "process",
        network=network,
        depends_on=depends,
        ready=_ready(said.ready, spec.ports),
        restart=said.restart,
        append=tuple(said.append),
        log=LogLimits(
            size=manifest.parse_log_size(said.log_size) if said.log_size else LOG_LIMITS.size,
            files=said.log_files or LOG_LIMITS.files,
        ),
    )
    return replace(service, words=tuple(_words(service, others, said)))


def _target(path: Path, text: str) -> str:
    """Return a target as it is from any directory: paths are relative to the file."""
    if manifest.find_example(text) is not None:
        return text
    return os.path.normpath(path.parent / Path(text).expanduser())


def _overrides(path: Path, said: _Service) -> pipeline.Overrides:
    return pipeline.Overrides(
        args=None if said.args is None else tuple(said.args),
        env=said.env,
        ports=None if said.ports is None else tuple(map(manifest.parse_port, said.ports)),
        volumes=tuple(parse_volume(each, path.parent) for each in said.volumes),
        disks=tuple(parse_disk(each, path.parent) for each in said.disks),
        memory=None if said.memory is None else manifest.parse_memory(said.memory),
        cpus=said.cpus,
        profile=said.profile,
        level=said.level,
    )


def _network(project: str, said: _Service) -> Network:
    if said.network is False:
        return NO_NETWORK
    name = project if said.network is True else said.network
    return networks.chosen(name, None, None, said.address)


def _ready(said: _Ready, forwards: tuple[PortForward, ...]) -> Ready:
    asked = [text.partition("/") for text in said.ports]
    wanted = [(Protocol(protocol or "tcp"), int(number)) for number, _, protocol in asked]
    if not wanted and not said.command:
        wanted = [(port.protocol, port.guest) for port in forwards]
    return Ready(tuple(wanted), tuple(said.command), said.timeout)


def _words(service: Service, others: list[str], said: _Service) -> Iterator[str]:
    """Yield the words of `ukl run` that make the same guest, for people to see."""
    spec: AppSpec = service.spec
    yield from ("-d", "--name", service.guest)
    if service.network is not NO_NETWORK:
        yield from ("--network", service.network.name)
        if said.address is not None:
            yield from ("--ip", said.address)
    for port in spec.ports if said.ports is not None else ():
        protocol = "" if port.protocol is Protocol.TCP else f"/{port.protocol}"
        yield from ("-p", f"{ports.written(port).partition('/')[0]}:{port.guest}{protocol}")
    for volume in spec.volumes if said.volumes else ():
        yield from ("-v", f"{volume.source}:{volume.target}" + ":ro" * volume.read_only)
    for disk in spec.disks if said.disks else ():
        yield from ("--disk", f"{disk.file}:{disk.target},size={disk.size >> 20}M")
    for key, value in said.env.items():
        yield from ("-e", f"{key}={value}")
    options: Mapping[str, Any] = {
        "--memory": said.memory,
        "--smp": said.cpus,
        "--level": said.level,
        "--profile": said.profile,
        "--log-size": said.log_size,
        "--log-files": said.log_files,
    }
    for option, value in options.items():
        if value is not None:
            yield from (option, str(value))
    if service.user:
        yield "--user"
    if service.restart is not Restart.NO:
        yield from ("--restart", str(service.restart))
    for each in others:
        yield from ("--with", each)
    for each in service.append:
        yield from ("--append", each)
    yield service.target
    if said.args is not None:
        yield from ("--", *said.args)


def command(service: Service) -> str:
    """Return the `ukl run` that makes the same guest, for a shell. Pure."""
    return shlex.join(["ukl", "run", *service.words])
