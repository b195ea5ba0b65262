# SPDX-License-Identifier: GPL-2.0
"""The guests' entries: unique names, records that are whole, and none believed that is stale."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.processes import eventually
from ukl.base.errors import InputError, UklError
from ukl.vm import keeper, registry
from ukl.vm.registry import Given, Identity, Images, Life, Member, Record, Registry, State


@pytest.fixture
def guests(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "guests")


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that a guest's entry may name."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def record(name: str = "hello", **values: object) -> Record:
    base = Record(name=name, application="hello", keeper=registry.myself())
    return replace(base, **values)  # type: ignore[arg-type]


def identity(pid: int) -> Identity:
    found = registry.identify(pid)
    assert found is not None
    return found


def test_a_record_survives_its_file(guests: Registry) -> None:
    written = record(
        given=Given(args=("a b", "ü"), env={"A": "1"}, ports=("127.0.0.1:1->2",)),
        images=Images(vmlinux=Path("/x/vmlinux")),
        member=Member("shop", "db"),
        life=Life(12.5, qemu=registry.myself(), console=Path("/x/console.log")),
        state=State.RUNNING,
    )
    guests.claim(written, automatic=False)
    assert replace(guests.get("hello"), created=0.0) == written


def test_all_names_are_side_by_side_in_a_file() -> None:
    kinds = [Record, *registry.GROUPS.values()]
    names = [each.name for kind in kinds for each in fields(kind)]
    assert len(set(names)) == len(names)
    assert set(registry.shown(record())) == set(names) - set(registry.GROUPS)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"version": 1}', b'{"version": 1, "a"'])
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        registry.decode(data)


def test_names_are_unique(guests: Registry) -> None:
    guests.claim(record(), automatic=False)
    with pytest.raises(InputError, match="a guest hello exists already") as raised:
        guests.claim(record(), automatic=False)
    assert "ukl stop hello" in (raised.value.remedy or "")
    assert guests.claim(record(), automatic=True).record.name == "hello-2"
    assert guests.claim(record(), automatic=True).record.name == "hello-3"
    assert [each.name for each in guests.all()] == ["hello", "hello-2", "hello-3"]


def test_an_address_is_one_guest_s(guests: Registry) -> None:
    def given(address: str = "") -> Given:
        return Given(network="lan", address=address)

    guests.claim(record("a", given=given("10.77.0.2/24")), automatic=False)
    with pytest.raises(InputError, match="the guest a has the address") as raised:
        guests.claim(record("b", given=given("10.77.0.2/16")), automatic=False)
    assert raised.value.remedy
    entry = guests.claim(record("b", given=given()), automatic=False)
    assert entry.record.given.address == "10.77.0.3/24"


@pytest.mark.parametrize(
    ("port", "free"),
    [
        ("127.0.0.1:53/udp->1", False),
        ("0.0.0.0:53/udp->53", False),
        ("127.0.0.2:53/udp->53", True),
        ("127.0.0.1:53->53", True),
        ("127.0.0.1:54/udp->53", True),
    ],
)
def test_a_port_is_one_guest_s(guests: Registry, port: str, *, free: bool) -> None:
    entry = guests.claim(record("a", given=Given(ports=("127.0.0.1:53/udp->53",))), automatic=False)
    wanted = record("b", given=Given(ports=(port,)))
    if not free:
        with pytest.raises(InputError, match="the guest a forwards port 53/udp") as raised:
            guests.claim(wanted, automatic=False)
        assert raised.value.remedy
        assert not guests.place("b").exists()
        entry.release()
    guests.claim(wanted, automatic=False)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".lock", "-x", "a" * 65, "a b"])
def test_what_is_no_name(guests: Registry, name: str) -> None:
    with pytest.raises(InputError, match="not a valid name"):
        guests.claim(record(name), automatic=True)
    with pytest.raises(InputError, match="not a valid name"):
        guests.get(name)


def test_an_unknown_guest_is_told_with_those_that_are_known(guests: Registry) -> None:
    guests.claim(record(), automatic=False)
    with pytest.raises(InputError, match="there is no guest other") as raised:
        guests.get("other")
    assert "hello" in (raised.value.remedy or "")


@pytest.mark.process
def test_a_dead_keeper_is_noticed(guests: Registry, other: subprocess.Popen[bytes]) -> None:
    entry = guests.claim(record(keeper=identity(other.pid)), automatic=False)
    entry.change(state=State.RUNNING)
    assert registry.effective(guests.get("hello")) is State.RUNNING
    with pytest.raises(UklError, match="is running"):
        guests.remove("hello")
    other.kill()
    other.wait()
    assert registry.effective(guests.get("hello")) is State.LOST
    assert registry.shown(guests.get("hello"))["state"] == "lost"
    guests.remove("hello")
    assert guests.all() == []


@pytest.mark.process
def test_a_zombie_keeps_nothing(other: subprocess.Popen[bytes]) -> None:
    known = identity(other.pid)
    other.kill()
    assert eventually(lambda: not known.alive)  # and it is not waited for


@pytest.mark.parametrize("what", ["start", "boot"])
def test_the_id_of_another_process_is_no_life(guests: Registry, what: str) -> None:
    mine = registry.myself()
    changed: dict[str, object] = {"start": mine.start - 1} if what == "start" else {"boot": "x"}
    stranger = replace(mine, **changed)  # type: ignore[arg-type]
    guests.claim(record(keeper=stranger, state=State.RUNNING), automatic=False)
    assert registry.effective(guests.get("hello")) is State.LOST
    assert not registry.send(stranger, signal.SIGKILL)  # that would have been us


def test_names_with_spaces_and_parentheses_do_not_shift_the_fields(tmp_path: Path) -> None:
    process = tmp_path / "7"
    process.mkdir()
    fields = ["S", *map(str, range(4, 53))]
    (process / "stat").write_text(f"7 (a) b) {' '.join(fields)}\n")
    boot = tmp_path / "sys/kernel/random"
    boot.mkdir(parents=True)
    (boot / "boot_id").write_text("boot\n")
    assert registry.identify(7, tmp_path) == Identity(7, 22, "boot")


def test_a_lost_foreground_run_gives_its_name_away(guests: Registry) -> None:
    gone = replace(registry.myself(), start=1)
    guests.claim(record(keeper=gone, state=State.RUNNING), automatic=False)
    assert guests.claim(record(), automatic=False).record.keeper.alive


def test_others_of_the_foreground_that_were_lost_are_forgotten(guests: Registry) -> None:
    gone = replace(registry.myself(), start=1)
    for name, kept in (("foreground", False), ("detached", True)):
        lost = replace(record(keeper=gone, state=State.RUNNING, kept=kept), name=name)
        guests.claim(lost, automatic=False)
    guests.claim(record(), automatic=False)
    assert [each.name for each in guests.all()] == ["detached", "hello"]


def test_a_lost_detached_guest_keeps_it(guests: Registry) -> None:
    gone = replace(registry.myself(), start=1)
    guests.claim(record(keeper=gone, state=State.RUNNING, kept=True), automatic=False)
    with pytest.raises(InputError, match="which has ended") as raised:
        guests.claim(record(), automatic=False)
    assert "ukl rm hello" in (raised.value.remedy or "")


def test_a_half_made_entry_is_nobodys(guests: Registry) -> None:
    guests.place("hello").mkdir(parents=True)
    assert guests.all() == []
    assert guests.claim(record(), automatic=False).record.name == "hello"


def test_a_record_is_replaced_whole(guests: Registry) -> None:
    entry = guests.claim(record(), automatic=False)
    before = (entry.directory / registry.RECORD).stat().st_ino
    entry.change(state=State.RUNNING)
    assert (entry.directory / registry.RECORD).stat().st_ino != before
    assert [file.name for file in entry.directory.iterdir()] == [registry.RECORD]


def test_an_error_before_the_boot_leaves_no_entry(guests: Registry) -> None:
    with pytest.raises(UklError, match="no"), keeper.claimed(guests, record(), automatic=True):
        raise UklError("no")
    assert guests.all() == []


@pytest.mark.process
def test_stop_without_an_answer_kills_that_very_process(guests: Registry) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(600)"
    argv = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        alive = record(keeper=identity(deaf.pid), state=State.RUNNING)
        guests.claim(alive, automatic=False)
        keeper.stop(guests, "hello", None, 0.2)
        assert deaf.wait(30) == -signal.SIGKILL
