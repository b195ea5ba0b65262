# SPDX-License-Identifier: GPL-2.0
"""The console's file: it is bounded, and nothing of what is kept is lost or twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ukl.base.model import LogLimits
from ukl.settings import values
from ukl.vm import log
from ukl.vm.log import Log, Reader

LINES = [f"line {number:04}\n".encode() for number in range(200)]
"""Of ten bytes each."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


def files(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


def everything(reader: Reader) -> bytes:
    return b"".join(iter(reader.read, b""))


def test_without_limits_it_grows(path: Path) -> None:
    written = Log(path)
    for line in LINES:
        written.write(line)
    assert files(path) == {"console.log": b"".join(LINES)}


def test_full_files_are_numbered_and_the_oldest_go(path: Path) -> None:
    written = Log(path, LogLimits(size=100, files=3))
    for line in LINES[:45]:
        written.write(line)
    assert files(path) == {
        "console.log.3": b"".join(LINES[20:30]),
        "console.log.4": b"".join(LINES[30:40]),
        "console.log": b"".join(LINES[40:45]),
    }


def test_a_line_stays_whole_where_it_can(path: Path) -> None:
    written = Log(path, LogLimits(size=25, files=3))
    written.write(b"".join(LINES[:5]))
    assert files(path) == {
        "console.log.1": LINES[0] + LINES[1],
        "console.log.2": LINES[2] + LINES[3],
        "console.log": LINES[4],
    }


def test_one_without_an_end_is_cut(path: Path) -> None:
    written = Log(path, LogLimits(size=25, files=3))
    written.write(b"x" * 30)
    written.write(b"y" * 30 + b"\n")
    assert all(len(each) <= 25 for each in files(path).values())
    assert everything(Reader(path)) == b"x" * 30 + b"y" * 30 + b"\n"


def test_with_one_file_only(path: Path) -> None:
    written = Log(path, LogLimits(size=100, files=1))
    for line in LINES[:25]:
        written.write(line)
    assert files(path) == {"console.log": b"".join(LINES[20:25])}
    # How the guest ended is told by what it said, wherever that is written.
    assert written.tail() == b"".join(LINES[:25])


def test_another_life_goes_on_behind(path: Path) -> None:
    limits = LogLimits(size=100, files=3)
    first = Log(path, limits)
    first.write(b"".join(LINES[:15]))
    first.close()
    second = Log(path, limits)
    second.write(b"".join(LINES[15:22]))
    assert sorted(files(path)) == ["console.log", "console.log.1", "console.log.2"]
    assert everything(Reader(path)) == b"".join(LINES[:22])
    assert second.tail() == b"".join(LINES[15:22])  # an earlier life does not count


def test_a_smaller_number_of_files_holds_from_the_next_rotation_on(path: Path) -> None:
    many = Log(path, LogLimits(size=100, files=9))
    many.write(b"".join(LINES[:55]))
    many.close()
    few = Log(path, LogLimits(size=100, files=2))
    few.write(b"".join(LINES[55:61]))
    assert sorted(files(path)) == ["console.log", "console.log.6"]


def test_tail_is_bounded(path: Path) -> None:
    written = Log(path)
    for _ in range(50):
        written.write(b"0123456789abcdef" * 256)
    written.write(b"end")
    assert len(written.tail()) == log.TAIL
    assert written.tail().endswith(b"fend")


def test_tail_of_the_files(path: Path) -> None:
    assert log.tail(path) == b""
    Log(path, LogLimits(size=100, files=3)).write(b"".join(LINES[:25]))
    assert log.tail(path, 4) == b"024\n"
    assert log.tail(path, 150) == b"".join(LINES[10:25])
    assert log.tail(path) == b"".join(LINES[:25])


def test_nothing_to_read(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reader(path)


def test_reading_goes_on_over_a_rotation(path: Path) -> None:
    written = Log(path, LogLimits(size=100, files=3))
    written.write(b"".join(LINES[:5]))
    with Reader(path) as reader:
        assert everything(reader) == b"".join(LINES[:5])
        written.write(b"".join(LINES[5:12]))
        assert everything(reader) == b"".join(LINES[5:12])
        written.write(b"".join(LINES[12:35]))  # two rotations between two looks
        assert everything(reader) == b"".join(LINES[12:35])
        assert not reader.missed


def test_what_was_there_at_the_begin_is_read_though_it_is_deleted(path: Path) -> None:
    written = Log(path, LogLimits(size=100, files=2))
    written.write(b"".join(LINES[:15]))
    with Reader(path) as reader:
        written.write(b"".join(LINES[15:25]))
        assert everything(reader) == b"".join(LINES[:25])
        assert not reader.missed


def test_who_reads_too_slowly_is_told(path: Path) -> None:
    written = Log(path, LogLimits(size=100, files=2))
    written.write(b"".join(LINES[:5]))
    with Reader(path) as reader:
        assert everything(reader) == b"".join(LINES[:5])
        written.write(b"".join(LINES[5:55]))
        assert everything(reader) == b"".join([*LINES[5:10], *LINES[40:55]])
        assert reader.missed


def test_half_a_line_is_not_joined_to_what_was_not_missed(path: Path) -> None:
    written = Log(path, LogLimits(size=100, files=2))
    written.write(b"half")
    with Reader(path) as reader:
        assert everything(reader) == b"half"
        written.write(b" a line\n" + b"".join(LINES[:30]))
        read = everything(reader)
        assert reader.missed
        assert set(read.splitlines(keepends=True)) <= {*LINES, b" a line\n", b"\n"}


def test_a_line_that_does_not_fit_begins_in_the_next_file(path: Path) -> None:
    written = Log(path, LogLimits(size=25, files=3))
    for line in LINES[:4]:
        written.write(line)
    assert files(path) == {
        "console.log.1": b"".join(LINES[:2]),
        "console.log": b"".join(LINES[2:4]),
    }


def test_between_the_rename_and_the_new_file(path: Path) -> None:
    Log(path, LogLimits(size=100, files=3)).write(b"".join(LINES[:5]))
    with Reader(path) as reader:
        assert everything(reader) == b"".join(LINES[:5])
        path.rename(path.with_name("console.log.1"))
        assert everything(reader) == b""
        assert everything(Reader(path)) == b"".join(LINES[:5])
        path.write_bytes(LINES[5])
        assert everything(reader) == LINES[5]
        assert not reader.missed


def test_other_files_are_no_part_of_it(path: Path) -> None:
    Log(path).write(LINES[0])
    path.with_name("console.log.gz").write_bytes(b"other")
    assert everything(Reader(path)) == LINES[0]


Listing = Callable[[Path], list[tuple[int, Path]]]


def _listing_once(patched: pytest.MonkeyPatch, first: Callable[[Listing, Path], object]) -> None:
    """Have `first` make the reader's first listing; the writer's own are not changed."""
    listing = log._numbered

    def listed(path: Path) -> object:
        patched.setattr(log, "_numbered", listing)
        return first(listing, path)

    patched.setattr(log, "_numbered", listed)


def _check_order(reader: Reader, end: int) -> None:
    numbers = [int(line.split()[1]) for line in everything(reader).splitlines()]
    assert numbers == list(range(numbers[0], end))


@pytest.mark.parametrize("lines", [5, 10, 30, 100])
def test_rotated_before_the_listing(
    path: Path, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was opened as the current one has a number then, or is deleted."""
    written = Log(path, LogLimits(size=100, files=4))
    written.write(b"".join(LINES[:45]))

    def late(listing: Listing, path: Path) -> object:
        written.write(b"".join(LINES[45 : 45 + lines]))
        return listing(path)

    _listing_once(monkeypatch, late)
    with Reader(path) as reader:
        _check_order(reader, 45 + lines)


@pytest.mark.parametrize("lines", [5, 10, 20, 30, 100])
def test_rotated_after_the_listing(path: Path, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Log(path, LogLimits(size=100, files=4))
    written.write(b"".join(LINES[:45]))

    def early(listing: Listing, path: Path) -> object:
        found = listing(path)
        written.write(b"".join(LINES[45 : 45 + lines]))
        return found

    _listing_once(monkeypatch, early)
    with Reader(path) as reader:
        _check_order(reader, 45 + lines)


def test_a_listing_that_lacks_what_was_renamed_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Log(path, LogLimits(size=100, files=9))
    written.write(b"".join(LINES[:45]))

    def torn(listing: Listing, path: Path) -> object:
        written.write(b"".join(LINES[45:65]))
        return [each for each in listing(path) if each[0] != 5]

    _listing_once(monkeypatch, torn)
    with Reader(path) as reader:
        _check_order(reader, 65)


def test_deleted_while_they_are_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files before one that was deleted are not read: what is between would be missing."""
    written = Log(path, LogLimits(size=100, files=4))
    written.write(b"".join(LINES[:45]))
    opened: Callable[..., object] = Path.open

    def open_first(self: Path, *args: object, **kwargs: object) -> object:
        stream = opened(self, *args, **kwargs)
        if self.name == "console.log.2":
            monkeypatch.setattr(Path, "open", opened)
            written.write(b"".join(LINES[45:65]))
        return stream

    monkeypatch.setattr(Path, "open", open_first)
    with Reader(path) as reader:
        _check_order(reader, 65)


def test_reading_while_it_is_written(path: Path) -> None:
    """Whatever the two do at the same time: each line once, in order, or said to be missed."""
    written = Log(path, LogLimits(size=300, files=40))
    total = 3000
    written.write(b"line 0\n")

    def write() -> None:
        for number in range(1, total):
            written.write(f"line {number}\n".encode())

    writer = threading.Thread(target=write)
    with Reader(path) as reader:
        writer.start()
        data = b""
        while writer.is_alive():
            data += reader.read()
        writer.join()
        data += everything(reader)
        numbers = [int(line.split()[1]) for line in data.splitlines()]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == total - 1
        assert reader.missed or numbers == list(range(total))


@pytest.mark.parametrize(
    ("count", "first"), [(0, None), (1, 24), (5, 20), (6, 19), (17, 8), (25, 0), (90, 0)]
)
def test_the_last_lines(path: Path, count: int, first: int | None) -> None:
    Log(path, LogLimits(size=100, files=3)).write(b"".join(LINES[:25]))
    with Reader(path) as reader:
        reader.to_last_lines(count)
        assert everything(reader) == b"".join(LINES[first:25] if first is not None else [])


@pytest.mark.parametrize(("count", "expected"), [(0, b""), (1, b"end"), (2, LINES[1] + b"end")])
def test_the_last_line_may_have_no_end(path: Path, count: int, expected: bytes) -> None:
    Log(path).write(LINES[0] + LINES[1] + b"end")
    with Reader(path) as reader:
        reader.to_last_lines(count)
        assert everything(reader) == expected


def test_sizes_as_people_write_them() -> None:
    assert values.parse_log_size("64K") == 64 << 10
    assert values.parse_log_size("1GiB") == 1 << 30
    for text in ("16", "63K", "0M", "x", "9999999G"):
        with pytest.raises(ValueError, match="is not a log size"):
            values.parse_log_size(text)
