# SPDX-License-Identifier: GPL-2.0
"""`compose.toml` -> Project. An error names file, line, key and what to write instead.

The format is TOML like that of `ukl.toml`, and not the YAML of Docker Compose, whose keys
often mean something else for a virtual machine (images, builds, capabilities, …). Keys with
the same meaning have the same name.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from ukl.base import resources
from ukl.base.errors import InputError
from ukl.base.model import (
    LOG_LIMITS,
    NO_NETWORK,
    LogLimits,
    Mode,
    Network,
    PortForward,
    Restart,
)
from ukl.guest.rundesc import MAX_NAME, NAME
from ukl.settings import manifest, models, networks, roots, table
from ukl.settings.explain import explained, find_line, read, renamed
from ukl.settings.project import READY_TIMEOUT, Condition, Project, Ready, Service, ordered
from ukl.settings.runs import GUEST
from ukl.settings.setting import Form, Setting
from ukl.settings.table import Overrides
from ukl.settings.values import expanded, parse_guest_port

FILENAME = "compose.toml"
DOCUMENT = "compose-toml.md"

ROWS: tuple[Setting, ...] = tuple(row for row in (*table.APPLICATION, *GUEST) if row.compose)
"""Settings that are keys of a service."""


# --- the schema -------------------------------------------------------------------------


def _name(text: str) -> str:
    if not NAME.fullmatch(text) or len(text) > MAX_NAME // 2 - 1:
        raise ValueError(
            f"{text!r} cannot be a name; use letters, digits, `.`, `_` and `-`, at most "
            f"{MAX_NAME // 2 - 1} of them"
        )
    return text


if TYPE_CHECKING:
    from ukl.base.model import Protocol

    _GuestPort = tuple[Protocol, int]
    _Address = str
else:
    _GuestPort = models.item(lambda value, _: parse_guest_port(str(value)), (str, int))
    _Address = models.item(lambda value, _: networks.parse_address(value))

_Name = Annotated[str, AfterValidator(_name)]
_Condition = Annotated[Condition, Field(strict=False)]


class _Ready(models.Table):
    ports: list[_GuestPort] = Field(
        [], description="Guest ports on which the service must listen.", examples=["[6379]"]
    )
    command: list[str] = Field(
        [],
        description="A command in the guest that must exit with status 0.",
        examples=['["sh", "-c", "test -e /run/ready"]'],
    )
    timeout: Annotated[float, Field(gt=0, strict=False)] = Field(
        READY_TIMEOUT, description="Seconds until the service must be ready.", examples=["30"]
    )


_SERVICE_KEYS: Mapping[str, Any] = {
    "target": (
        str,
        Field(
            description="What `ukl run` takes: an example, a directory, a C file, …",
            examples=['"redis"'],
        ),
    ),
    "network": (
        bool | _Name,
        Field(
            True,
            description="true: the project's network, on which each service is reached by its "
            "name or its guest's name; false: none; a name: that network, which guests of other "
            "projects may use, too.",
            examples=["false"],
        ),
    ),
    "address": (
        _Address | None,
        Field(
            None,
            description="Address in that network; default: a free address.",
            examples=['"10.77.0.5/24"'],
        ),
    ),
    "depends_on": (
        list[str] | dict[str, _Condition],
        Field(
            [],
            description="Services to start first: a list (each must be ready), or a table with "
            "`started`, `ready` or `completed` (ended with status 0) for each.",
            examples=['["db"], or { db = "started" }'],
        ),
    ),
    "ready": (
        _Ready,
        Field(
            _Ready.model_validate({}),
            description="When the service is ready; default: when it listens on the guest ports "
            "of all forwarded ports.",
            examples=["{ ports = [6379] }"],
        ),
    ),
}
"""Keys of a service that are not settings of a single guest."""

_Service: Any = models.model("_Service", ROWS, _SERVICE_KEYS)


class _Compose(models.Table):
    name: _Name | None = Field(
        None,
        description="The project's name; default: the directory's. Guests are named NAME-SERVICE.",
        examples=['"shop"'],
    )
    services: Annotated[dict[_Name, _Service], Field(min_length=1)] = Field(
        description="A table per guest: [services.NAME]."
    )


MODEL = _Compose
"""The model that checks the file and gives its JSON schema."""


def schema() -> dict[str, Any]:
    """Return the JSON schema of `compose.toml`."""
    return models.schema(MODEL, FILENAME)


# --- loading ------------------------------------------------------------------------------


def find(given: str | None) -> Path:
    """Return the compose file that `given` names: a file, a directory or an example.

    None stands for the file in the current directory. InputError if there is no such file.
    """
    path = expanded(given or FILENAME)
    if given is not None and "/" not in given and not path.exists():
        path = resources.root() / "examples" / given
    if path.is_dir():
        path /= FILENAME
    if not path.is_file():
        raise InputError(
            "there is no such compose file",
            where=path,
            remedy=f"create a {FILENAME}, or name one with -f; see docs/reference/{DOCUMENT}",
        )
    return path.absolute()


def load(path: Path) -> Project:
    """Return the project that the file describes. Raises InputError."""
    text, data = read(path)
    if isinstance(services := data.get("services"), dict):
        for key in services:
            for old, new in table.OLD_SERVICE_KEYS.items():
                renamed(path, text, data, f"services.{key}.{old}", new)
    try:
        content = _Compose.model_validate(data, context={"directory": path.parent})
    except ValidationError as error:
        raise explained(path, text, error, MODEL, DOCUMENT) from error
    name = content.name or _project_name(path)
    depends = {key: _conditions(service.depends_on) for key, service in content.services.items()}
    for key, others in depends.items():
        for other in others:
            if other not in content.services:
                line = find_line(text, ["services", key, "depends_on"])
                raise InputError(
                    f"`depends_on` in [services.{key}]: there is no service {other}",
                    where=f"{path}:{line}" if line else path,
                    remedy=f"the services are: {', '.join(content.services)}",
                )
    services = {
        key: _service(path, text, key, content.services[key], project=name)
        for key in ordered(depends, path)
    }
    return Project(
        name, path, tuple(replace(each, depends_on=depends[key]) for key, each in services.items())
    )


def _project_name(path: Path) -> str:
    try:
        return _name(path.parent.name)
    except ValueError as error:
        raise InputError(
            f"the directory's name is not a valid project name: {error}",
            where=path,
            remedy='begin the file with: name = "..."',
        ) from error


def _conditions(depends: list[str] | dict[str, Condition]) -> dict[str, Condition]:
    if isinstance(depends, dict):
        return depends
    return dict.fromkeys(depends, Condition.READY)


def _service(path: Path, text: str, key: str, content: Any, *, project: str) -> Service:
    settings = models.assigned(ROWS, content)
    if "with_" in settings:
        settings["with_"] = tuple(_target(path, each) for each in settings["with_"])
    target = _target(path, content.target)
    try:
        spec = manifest.runnable(target, settings)
    except InputError as error:
        if error.where is None:
            line = find_line(text, ["services", key, "target"])
            error.where = f"{path}:{line}" if line else str(path)
        raise
    network = _network(project, content.network, content.address)
    guest = f"{project}-{key}"
    return Service(
        name=key,
        guest=guest,
        target=target,
        spec=spec,
        words=tuple(_words(guest, target, settings, network, content.address)),
        mode=settings.get("mode", Mode.UNIKERNEL),
        network=network,
        ready=_ready(content.ready, spec.ports),
        restart=settings.get("restart", Restart.NO),
        append=settings.get("append", ()),
        log=LogLimits(
            settings.get("log_size", LOG_LIMITS.size), settings.get("log_files", LOG_LIMITS.files)
        ),
    )


def _target(path: Path, text: str) -> str:
    """Return a target in a form that does not depend on the current directory.

    In the file, paths are relative to the file.
    """
    if manifest.find_example(text) is not None:
        return text
    image = roots.image(text, path.parent)
    if image is not None and image.root is not None:
        return image.root.text
    return os.path.normpath(path.parent / expanded(text))


def _network(project: str, network: bool | str, address: str | None) -> Network:
    if network is False:
        return NO_NETWORK
    return networks.chosen(project if network is True else network, None, None, address)


def _ready(ready: _Ready, forwards: tuple[PortForward, ...]) -> Ready:
    ports = list(ready.ports)
    if not ports and not ready.command:
        ports = [(port.protocol, port.guest) for port in forwards]
    return Ready(tuple(ports), tuple(ready.command), float(ready.timeout))


# --- as a `ukl run` command line ------------------------------------------------------------


def _words(
    guest: str, target: str, settings: Overrides, network: Network, address: str | None
) -> Iterator[str]:
    """Yield the arguments of `ukl run` that start the same guest, to be shown to the user."""
    yield from ("-d", "--name", guest)
    if network is not NO_NETWORK:
        yield from ("--network", network.name)
        if address is not None:
            yield from ("--ip", address)
    for row in ROWS:
        if row.name in settings and row.option is not None and row.option.names:
            yield from _option(row, settings[row.name])
    yield target
    if "args" in settings:
        yield from ("--", *settings["args"])


def _option(row: Setting, value: Any) -> Iterator[str]:
    assert row.option is not None
    long = row.option.names[0]
    if row.form is Form.FLAG:
        yield long if value else long.replace("--", "--no-", 1)
    elif row.form is Form.LIST:
        for each in value:
            yield from (long, row.write(each))
    elif row.form is Form.TABLE:
        for key, each in value.items():
            yield from (long, f"{key}={each}")
    else:
        yield from (long, row.write(value))


def command(service: Service) -> str:
    """Return the `ukl run` command, quoted for a shell, that starts the same guest. Pure."""
    return shlex.join(["ukl", "run", *service.words])
