# SPDX-License-Identifier: GPL-2.0
"""The guests of this machine: one directory each, so that every `ukl` knows of all.

    ROOT/NAME/guest.json     what it is and how it is: one Record, written beside and renamed
    ROOT/NAME/control        socket of the `ukl` that attends to it (see vm/control.py)
    ROOT/NAME/console.log    of a detached guest; older parts beside it (see vm/log.py)

Nothing here is believed because it is written: a record says which process attends to the
guest (id, start time, boot), and the guest is there as long as that very process is. So a
`ukl` that was killed, a machine that was switched off and a process id that meanwhile
belongs to somebody else all show the guest as what it is: lost.
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
VERSION = 1


class State(StrEnum):
    """Where a guest is in its life; LOST is never written, only found."""

    BUILDING = "building"
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"
    """The `ukl` that attended to it is gone without having said how it ended."""


ALIVE = frozenset({State.BUILDING, State.STARTING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told from every other that has had or will have its id.

    `start` is its start in clock ticks since the boot (field 22 of /proc/PID/stat),
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
    """Return the identity of a running process, None if there is none with this id."""
    try:
        text = (proc / str(pid) / "stat").read_text()
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The name stands in parentheses and may itself have some.
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else Identity(pid, int(rest[18]), boot)


def myself() -> Identity:
    """Return this process' identity."""
    found = identify(os.getpid())
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Given:
    """How a guest was started: what its application got, and its machine.

    `mode` is what its program runs as. `network` is that of the second
    interface: the name of a network of guests, or `tap:NAME`, `bridge:NAME`; `address` is
    the guest's address there.
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


@dataclass(frozen=True, slots=True)
class Images:
    """What a guest was made of.

    `image` is the key of its kernel in the cache. `program` is the normal executable, `debug`
    the application's object with its debug information, whose files are relative to `sources`.
    """

    image: str = ""
    vmlinux: Path | None = None
    program: Path | None = None
    debug: Path | None = None
    sources: Path | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """The service of a compose file that a guest is; all empty for what is none.

    `config` stands for all that the file says of it.
    """

    project: str = ""
    service: str = ""
    config: str = ""


NO_MEMBER = Member()


@dataclass(frozen=True, slots=True)
class Life:
    """How a guest lives, since it was started the last time.

    `qemu` is the virtual machine's process, `pid` the application's process id in the guest.
    `restarts` counts how often the guest was started again.
    """

    started: float | None = None
    restarts: int = 0
    qemu: Identity | None = None
    agent: bool = False
    console: Path | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a guest ended: when, and the verdict. `exit_code` is what `ukl run` ended with."""

    ended: float | None = None
    outcome: str | None = None
    status: int | None = None
    exit_code: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a guest. Times are seconds since the epoch.

    `keeper` is the process that attends to it. `kept` says that the entry stays after the
    guest's end, until `ukl rm`. `crash` is the directory of the newest report of a crash
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
"""Members of a record that are records themselves. In a file all names are side by side."""


def effective(record: Record) -> State:
    """Return the state that is so, whatever was written."""
    if record.state in ALIVE and not record.keeper.alive:
        return State.LOST
    return record.state


def shown(record: Record) -> dict[str, Any]:
    """Return a record for people's programs: as written, with the state that is so."""
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
    """Return the record of a file's content; ValueError for what is none. Pure."""
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
    """Return of the members in a file those that `kind` has."""
    return {each.name: value[each.name] for each in fields(kind) if each.name in value}


# --- the directory ------------------------------------------------------------


class Registry:
    """All guests whose entries are below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, name: str) -> Path:
        """Return the directory of a guest."""
        return self.root / name

    def claim(self, record: Record, *, automatic: bool) -> Entry:
        """Make the entry of a new guest, the only one of its name.

        If `automatic`, a number is put behind a name that is taken. InputError otherwise,
        and for what is no name.
        """
        check_name(record.name)
        with self._locked():
            self._sweep()
            name, number = record.name, 1
            while not self._reclaim(name):
                if not automatic:
                    raise self._taken(name)
                number += 1
                suffix = f"-{number}"
                name = record.name[: MAX_NAME - len(suffix)] + suffix
            given = record.given
            if given.network:
                given = replace(given, address=self._address(given))
            claimed = replace(record, name=name, given=given, created=time.time())
            entry = Entry(self, claimed)
            self.place(name).mkdir(mode=0o700)
            entry.write()
            return entry

    def _sweep(self) -> None:
        """Forget those whose `ukl` in the foreground was killed: nobody wants their entries."""
        for each in self.all():
            if not each.kept and effective(each) is State.LOST:
                self.forget(each.name)

    def _reclaim(self, name: str) -> bool:
        """Tell whether a name is free; an entry that nobody wants any more makes it so."""
        place = self.place(name)
        if not place.exists():
            return True
        record = self._read(name)
        if record is None:
            # Half made, for we hold the lock; one of another version may well live.
            unwanted = not (place / RECORD).exists()
        else:
            unwanted = not record.kept and effective(record) is State.LOST
        if unwanted:
            shutil.rmtree(place, ignore_errors=True)
        return not place.exists()

    def members(self, name: str) -> list[Record]:
        """Return the guests of a network that are there, the oldest first."""
        there = [each for each in self.all() if effective(each) in ALIVE]
        return [each for each in there if each.given.network == name]

    def hosts(self, network: str) -> list[tuple[str, str]]:
        """Return address and name of what is in a network, by guest and by service."""
        return [
            (each.given.address.partition("/")[0], name)
            for each in self.members(network)
            for name in (each.name, each.member.service)
            if name and each.given.address != DHCP
        ]

    def _address(self, given: Given) -> str:
        """Return the address a guest gets: its own, unless it leaves that to us."""
        taken = {each.given.address: each.name for each in self.members(given.network)}
        if given.address == AUTOMATIC:
            return next_address(taken)
        if given.address != DHCP and (owner := taken.get(given.address)):
            raise InputError(
                f"the guest {owner} has the address {given.address} in {given.network}",
                remedy="give another one with --ip, or none",
            )
        return given.address

    def _taken(self, name: str) -> InputError:
        record = self._read(name)
        alive = record is not None and effective(record) in ALIVE
        return InputError(
            f"there is a guest {name} already" + ("" if alive else ", which has ended"),
            remedy=f"give this one another --name, or {'stop' if alive else 'remove'} that one: "
            f"ukl {'stop' if alive else 'rm'} {name}",
        )

    def get(self, name: str) -> Record:
        """Return the record of a guest; InputError if there is none."""
        check_name(name)
        record = self._read(name)
        if record is None:
            names = [each.name for each in self.all()]
            known = f"there are: {', '.join(names)}" if names else "there is none at all"
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
        """Delete the entry of a guest that has ended; UklError if it has not."""
        with self._locked():
            if effective(self.get(name)) in ALIVE:
                raise UklError(
                    f"the guest {name} is running",
                    remedy=f"ukl stop {name}, or ukl rm --force {name}",
                )
            self.forget(name)

    def forget(self, name: str) -> None:
        """Delete an entry, whatever it says."""
        # The record first: without it the rest is nobody's.
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
    """Return the guests that were started with this cache."""
    return Registry(store.root / GUESTS)


class Entry:
    """The entry of a guest that this process attends to."""

    def __init__(self, registry: Registry, record: Record) -> None:
        self.registry = registry
        self.record = record

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self.registry.place(self.record.name)

    def connected(self, network: Network) -> Network:
        """Return a network with what this guest has in it: addresses, and the cache."""
        cache = self.registry.root.absolute()
        mac = hardware_address(self.record.name, cache)
        return replace(network, address=self.record.given.address, mac=mac, cache=cache)

    def change(self, **values: Any) -> None:
        """Replace members of the record, and write it."""
        self.record = replace(self.record, **values)
        self.write()

    def write(self) -> None:
        """Write the record: readers see the old one or the new one, whole."""
        handle, name = tempfile.mkstemp(".tmp", ".guest.", self.directory)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(encode(self.record))
            Path(name).replace(self.directory / RECORD)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def release(self) -> None:
        """Delete the entry of a guest that is no more."""
        self.registry.forget(self.record.name)


def check_name(name: str) -> None:
    """Raise InputError for what cannot be a guest's name."""
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        raise InputError(
            f"not a name for a guest: {name!r}",
            remedy=f"use at most {MAX_NAME} letters, digits, `.`, `_` and `-`",
        )


def kill(record: Record) -> None:
    """End what is left of a guest at once: its QEMU, then the `ukl` that attends to it."""
    for process in (record.life.qemu, record.keeper):
        if process is not None:
            send(process, signal.SIGKILL)


def send(process: Identity, number: int) -> bool:
    """Send a signal to that very process; False if it is no more."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not process.alive:  # asked after the open: the descriptor cannot change its process
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(descriptor)
