# SPDX-License-Identifier: GPL-2.0
"""The registry of guests: one directory each, so that every `ukl` knows all guests.

    ROOT/NAME/guest.json     its Record; each change is written to a new file and renamed
    ROOT/NAME/control        socket of its keeper (see vm/control.py)
    ROOT/NAME/console.log    of a detached guest; older parts beside it (see vm/log.py)

The state in a record is not trusted: a record names the guest's keeper process (id, start
time, boot), and the guest counts as alive only as long as exactly that process runs. So if
the keeper was killed, the machine was switched off or the process id now belongs to another
process, the guest is shown as lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukl.base.errors import InputError, UklError
from ukl.base.model import AUTOMATIC, DHCP, Mode, Network, Restart
from ukl.guest.rundesc import MAX_NAME, NAME
from ukl.host.store import Store, jsonable
from ukl.vm.network import hardware_address, next_address

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PROC = Path("/proc")
GUESTS = "guests"
"""Directory of the cache with the entries of guests."""

RECORD = "guest.json"
CONTROL = "control"
ANY = "0.0.0.0"
"""The address of a port that is forwarded on all of the machine's."""

VERSION = 1


class State(StrEnum):
    """The state of a guest; LOST is never written, only detected."""

    BUILDING = "building"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"
    """Its keeper is gone without a record of how the guest ended."""


ALIVE = frozenset({State.BUILDING, State.STARTING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, distinguished from all others that have had or will have its id.

    `start` is its start time in clock ticks since the boot (field 22 of /proc/PID/stat),
    `boot` the id of that boot.
    """

    pid: int
    start: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it runs (a zombie does not)."""
        return identify(self.pid) == self


def identify(pid: int, proc: Path = PROC) -> Identity | None:
    """Return the identity of a running process, None if no process has this id."""
    try:
        text = (proc / str(pid) / "stat").read_text()
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The name is in parentheses and may itself contain some.
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else Identity(pid, int(rest[18]), boot)


def myself() -> Identity:
    """Return this process's identity."""
    found = identify(os.getpid())
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Given:
    """How a guest was started: its application's options, and its machine.

    `mode` is what its program runs as. `network` is that of the second interface: the name
    of a network of guests, `tap:NAME` or `bridge:NAME`; `address` is the guest's address there.
    `init` is its process 1: `ukl` or `app`.
    """

    mode: Mode = Mode.UNIKERNEL
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    network: str = ""
    address: str = ""
    memory: int = 0
    cpus: int = 1
    restart: Restart = Restart.NO
    init: str = "ukl"


@dataclass(frozen=True, slots=True)
class Images:
    """The files that a guest was made from.

    `image` is the key of its kernel in the cache. `program` is the normal executable, `debug`
    the application's object with debug information, whose paths are relative to `sources`.
    `executable` is the path in the guest of a program that runs as it is.
    """

    image: str = ""
    vmlinux: Path | None = None
    program: Path | None = None
    debug: Path | None = None
    sources: Path | None = None
    executable: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """The service of a compose file that a guest runs; all empty for other guests.

    `config` is a digest of the service's definition.
    """

    project: str = ""
    service: str = ""
    config: str = ""


NO_MEMBER = Member()


@dataclass(frozen=True, slots=True)
class Life:
    """A guest's current run.

    `qemu` is the virtual machine's process, `pid` the application's process id in the guest.
    `restarts` is the number of restarts before this run.
    """

    started: float | None = None
    restarts: int = 0
    qemu: Identity | None = None
    agent: bool = False
    console: Path | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a guest ended: time and verdict. `exit_code` is that of `ukl run`."""

    ended: float | None = None
    outcome: str | None = None
    status: int | None = None
    exit_code: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about a guest. Times are seconds since the epoch.

    `keeper` is the process that supervises it. `kept` says that the entry stays after the
    guest's end, until `ukl rm`. `crash` is the directory of the newest crash report
    (debug/crash.py).
    """

    name: str
    application: str
    keeper: Identity
    state: State = State.BUILDING
    kept: bool = False
    detached: bool = False
    created: float = 0.0
    given: Given = Given()
    images: Images = Images()
    member: Member = NO_MEMBER
    life: Life = Life()
    end: End = End()
    crash: Path | None = None


GROUPS: Mapping[str, type[Given | Images | Member | Life | End]] = {
    "given": Given,
    "images": Images,
    "member": Member,
    "life": Life,
    "end": End,
}
"""Members of a record that are records themselves. A file has all names on one level."""


def effective(record: Record) -> State:
    """Return the actual state, which may differ from the recorded one."""
    if record.state in ALIVE and not record.keeper.alive:
        return State.LOST
    return record.state


def shown(record: Record) -> dict[str, Any]:
    """Return a record for JSON output: as in its file, but with the actual state."""
    return {**_flat(record), "state": effective(record).value}


# --- to and from JSON ---------------------------------------------------------


def _flat(record: Record) -> dict[str, Any]:
    value = jsonable(record)
    assert isinstance(value, dict)
    for name in GROUPS:
        value |= value.pop(name)
    return value


def encode(record: Record) -> bytes:
    """Return the file's content. Pure."""
    return json.dumps({"version": VERSION, **_flat(record)}, indent=1).encode() + b"\n"


def decode(data: bytes) -> Record:
    """Return the record of a file's content; raises ValueError if it is malformed. Pure."""
    value = json.loads(data)
    if not isinstance(value, dict) or value.pop("version", None) != VERSION:
        raise ValueError("not a record of this version")
    try:
        value["keeper"] = Identity(**value["keeper"])
        value["state"] = State(value["state"])
        value["mode"] = Mode(value.get("mode", Mode.UNIKERNEL))
        value["restart"] = Restart(value.get("restart", Restart.NO))
        if value.get("qemu") is not None:
            value["qemu"] = Identity(**value["qemu"])
        for name in ("args", "ports", "volumes", "disks"):
            value[name] = tuple(value.get(name, ()))
        for name in ("console", "vmlinux", "debug", "program", "crash", "sources"):
            if value.get(name) is not None:
                value[name] = Path(value[name])
        groups = {name: kind(**_of(kind, value)) for name, kind in GROUPS.items()}
        return Record(**{**_of(Record, value), **groups})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a record: {error}") from error


def _of(kind: type[DataclassInstance], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a file that are fields of `kind`."""
    return {each.name: value[each.name] for each in fields(kind) if each.name in value}


# --- the directory ------------------------------------------------------------


class Registry:
    """The guests whose entries are below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, name: str) -> Path:
        """Return the directory of a guest."""
        return self.root / name

    def claim(self, record: Record, *, automatic: bool) -> Entry:
        """Make the entry of a new guest; names are unique.

        If the name is in use and `automatic`, a number is appended to it. Raises InputError if
        the name is in use otherwise, or is invalid.
        """
        check_name(record.name)
        with self._locked():
            self._sweep()
            name, number = record.name, 1
            while not self._reclaim(name):
                if not automatic:
                    raise self._name_in_use(name)
                number += 1
                suffix = f"-{number}"
                name = record.name[: MAX_NAME - len(suffix)] + suffix
            given = record.given
            self._check_ports(given)
            if given.network:
                given = replace(given, address=self._address(given))
            claimed = replace(record, name=name, given=given, created=time.time())
            entry = Entry(self, claimed)
            self.place(name).mkdir(mode=0o700)
            entry.write()
            return entry

    def _sweep(self) -> None:
        """Delete the entries of foreground guests whose keeper was killed."""
        for each in self.all():
            if not each.kept and effective(each) is State.LOST:
                self.forget(each.name)

    def _reclaim(self, name: str) -> bool:
        """Tell whether a name is free; deletes a stale entry of this name."""
        place = self.place(name)
        if not place.exists():
            return True
        record = self._read(name)
        if record is None:
            # Without a file it is incomplete, as this holds the lock; an unreadable file may be
            # another version's, of a guest that runs.
            stale = not (place / RECORD).exists()
        else:
            stale = not record.kept and effective(record) is State.LOST
        if stale:
            shutil.rmtree(place, ignore_errors=True)
        return not place.exists()

    def members(self, name: str) -> list[Record]:
        """Return the guests in a network that are alive, the oldest first."""
        alive = [each for each in self.all() if effective(each) in ALIVE]
        return [each for each in alive if each.given.network == name]

    def hosts(self, network: str) -> list[tuple[str, str]]:
        """Return (address, name) for each guest, and each service, in a network."""
        return [
            (each.given.address.partition("/")[0], name)
            for each in self.members(network)
            for name in (each.name, each.member.service)
            if name and each.given.address != DHCP
        ]

    def _address(self, given: Given) -> str:
        """Return a guest's address: as given, or the next free one; raises InputError."""
        members = self.members(given.network)
        # Without the prefix length, which does not make it another address.
        taken = {each.given.address.partition("/")[0]: each.name for each in members}
        if given.address == AUTOMATIC:
            return next_address(taken)
        host = given.address.partition("/")[0]
        if given.address != DHCP and (owner := taken.get(host)):
            raise InputError(
                f"the guest {owner} has the address {given.address} in {given.network}",
                remedy="use another address with --ip, or omit it",
            )
        return given.address

    def _check_ports(self, given: Given) -> None:
        """Raise InputError if another guest forwards one of the ports.

        It may not listen yet; and two QEMUs can have one UDP port, since both reuse it.
        """
        wanted = {_host_end(port) for port in given.ports}
        for each in self.all():
            if effective(each) in ALIVE:
                for host, port in map(_host_end, each.given.ports):
                    others = {own for own, same in wanted if same == port}
                    if host in others or (others and ANY in {host, *others}):
                        raise InputError(
                            f"the guest {each.name} forwards port {port} of this machine",
                            remedy=f"forward another port with -p, or ukl stop {each.name}",
                        )

    def _name_in_use(self, name: str) -> InputError:
        record = self._read(name)
        alive = record is not None and effective(record) in ALIVE
        return InputError(
            f"a guest {name} exists already" + ("" if alive else ", which has ended"),
            remedy=f"use another --name, or {'stop' if alive else 'remove'} that guest: "
            f"ukl {'stop' if alive else 'rm'} {name}",
        )

    def get(self, name: str) -> Record:
        """Return the record of a guest; raises InputError if it does not exist."""
        check_name(name)
        record = self._read(name)
        if record is None:
            names = [each.name for each in self.all()]
            known = f"use one of: {', '.join(names)}" if names else "no guests exist"
            raise InputError(f"there is no guest {name}", remedy=f"{known} (ukl ps -a)")
        return record

    def all(self) -> list[Record]:
        """Return all records, the oldest first."""
        try:
            names = [path.name for path in self.root.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        found = (self._read(name) for name in names)
        return sorted((each for each in found if each), key=lambda each: each.created)

    def remove(self, name: str) -> None:
        """Delete the entry of a guest; raises UklError if it is alive."""
        with self._locked():
            if effective(self.get(name)) in ALIVE:
                raise UklError(
                    f"the guest {name} is running",
                    remedy=f"ukl stop {name}, or ukl rm --force {name}",
                )
            self.forget(name)

    def forget(self, name: str) -> None:
        """Delete an entry, whatever its state."""
        # The record first: a directory without it is not an entry.
        (self.place(name) / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.place(name), ignore_errors=True)

    def _read(self, name: str) -> Record | None:
        try:
            record = decode((self.place(name) / RECORD).read_bytes())
        except (OSError, ValueError):
            return None
        return record if record.name == name else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def of(store: Store) -> Registry:
    """Return the registry of a cache's guests."""
    return Registry(store.own(GUESTS))


def _host_end(port: str) -> tuple[str, str]:
    """Return address and port of a forward's text, `127.0.0.1:53/udp->53`."""
    host, _, number = port.partition("->")[0].rpartition(":")
    return host, number


class Entry:
    """The entry of a guest that this process supervises."""

    def __init__(self, registry: Registry, record: Record) -> None:
        self.registry = registry
        self.record = record

    @property
    def directory(self) -> Path:
        """The guest's directory."""
        return self.registry.place(self.record.name)

    def connected(self, network: Network) -> Network:
        """Return a network with this guest's addresses and cache."""
        cache = self.registry.root.absolute()
        mac = hardware_address(self.record.name, cache)
        return replace(network, address=self.record.given.address, mac=mac, cache=cache)

    def change(self, **values: Any) -> None:
        """Change members of the record, and write it."""
        self.record = replace(self.record, **values)
        self.write()

    def write(self) -> None:
        """Write the record atomically: readers see the old or the new one."""
        handle, name = tempfile.mkstemp(".tmp", ".guest.", self.directory)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(encode(self.record))
            Path(name).replace(self.directory / RECORD)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def release(self) -> None:
        """Delete the entry; the guest has ended."""
        self.registry.forget(self.record.name)


def check_name(name: str) -> None:
    """Raise InputError for an invalid name of a guest."""
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        raise InputError(
            f"not a valid name for a guest: {name!r}",
            remedy=f"use at most {MAX_NAME} letters, digits, `.`, `_` and `-`",
        )


def kill(record: Record) -> None:
    """Kill what is left of a guest: its QEMU, then its keeper."""
    for process in (record.life.qemu, record.keeper):
        if process is not None:
            send(process, signal.SIGKILL)


def send(process: Identity, number: int) -> bool:
    """Send a signal to exactly this process; return False if it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not process.alive:  # checked after the open: the descriptor's process is now fixed
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(descriptor)
