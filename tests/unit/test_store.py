# SPDX-License-Identifier: GPL-2.0
"""host/store.py: entries are there whole or not at all, whoever is killed when."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import pytest

from ukl.base.errors import ExitCode, InputError, UklError
from ukl.host import store as room
from ukl.host.exec import CommandFailed, run
from ukl.host.store import NoSpace, Store, digest
from ukl.vm.registry import Record, Registry, myself

RECORD = Record("g", "hello", myself())
SRC = Path(room.__file__).parents[2]


def fill(directory: Path) -> None:
    (directory / "out").write_text("content")


def visible(root: Path) -> list[str]:
    """Return everything in the store but lock files."""
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in files if not name.startswith("locks/"))


class TestMake:
    def test_an_entry_is_made_once(self, store: Store) -> None:
        calls: list[Path] = []

        def build(directory: Path) -> None:
            calls.append(directory)
            fill(directory)

        for _ in range(3):
            place = store.make("kind", "abc", {}, build)
        assert len(calls) == 1
        assert (place / "out").read_text() == "content"
        assert store.get("kind", "abc") == place
        assert store.get("kind", "other") is None

    @pytest.mark.process
    def test_manifest_says_how_it_was_made(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = tmp_path / "make"
        make.write_text("#!/bin/sh\necho GNU Make 4.3\n")
        make.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

        def build(directory: Path) -> None:
            run(["make", "all"])
            fill(directory)

        place = store.make("kind", "abc", {"source": Path("/x"), "flags": ("-O2",)}, build)
        manifest = json.loads((place / "manifest.json").read_text())
        assert manifest["inputs"] == {"source": "/x", "flags": ["-O2"]}
        assert manifest["outcome"] == "ok"
        assert manifest["commands"][0]["argv"] == ["make", "all"]
        assert manifest["tools"]["make"] == "GNU Make 4.3"
        assert manifest["seconds"] >= 0

    def test_failure_leaves_log_and_manifest_only(self, store: Store) -> None:
        def build(directory: Path) -> None:
            fill(directory)
            log = directory / "build.log"
            log.write_text("what happened")
            raise InputError("no", log=log)

        with pytest.raises(InputError) as caught:
            store.make("kind", "abc", {"a": 1}, build)
        assert visible(store.root) == [
            "failed/kind-abc/build.log",
            "failed/kind-abc/manifest.json",
        ]
        assert caught.value.log == store.root / "failed/kind-abc/build.log"
        manifest = json.loads((store.root / "failed/kind-abc/manifest.json").read_text())
        assert manifest["outcome"] == "failed: no"
        assert manifest["inputs"] == {"a": 1}
        assert store.get("kind", "abc") is None
        assert list((store.root / "kind").iterdir()) == []

    def test_success_after_failure_clears_it(self, store: Store) -> None:
        with pytest.raises(ZeroDivisionError):
            store.make("kind", "abc", {}, lambda directory: print(1 // 0))
        store.make("kind", "abc", {}, fill)
        assert visible(store.root) == ["kind/abc/manifest.json", "kind/abc/out"]

    def test_an_incomplete_directory_is_made_again(self, store: Store) -> None:
        place = store.place("kind", "abc")
        place.mkdir(parents=True)
        (place / "half").touch()
        assert store.get("kind", "abc") is None
        store.make("kind", "abc", {}, fill)
        assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "out"]

    def test_half_made_directories_of_the_dead_are_swept(self, store: Store) -> None:
        for name in (".abc.x.tmp", ".other.y.tmp"):
            (store.root / "kind" / name).mkdir(parents=True)
            (store.root / "kind" / name / "half").touch()
        store.make("kind", "abc", {}, fill)
        assert [path.name for path in (store.root / "kind").iterdir()] == ["abc"]

    def test_what_another_makes_is_not_swept(self, store: Store) -> None:
        half = store.root / "kind" / ".other.y.tmp"
        half.mkdir(parents=True)
        with store.lock("kind-other"):
            Store(store.root).make("kind", "abc", {}, fill)
            assert half.is_dir()
        store.sweep()
        assert not half.exists()

    @pytest.mark.parametrize("kind", ["", ".x", "a/b", "failed", "locks"])
    def test_bad_names_are_refused(self, store: Store, kind: str) -> None:
        with pytest.raises(ValueError, match="not a valid name"):
            store.place(kind, "key")


class TestFullDisk:
    def test_enospc_names_file_system_and_remedy(self, store: Store) -> None:
        def build(directory: Path) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))

        with pytest.raises(NoSpace) as caught:
            store.make("kind", "abc", {}, build)
        assert caught.value.code == ExitCode.FAILED
        assert caught.value.where == str(room.mount_point(store.root))
        assert "cache clean" in str(caught.value.remedy)
        assert "4.0 GiB" in str(caught.value.remedy)

    def test_it_is_looked_at_before_the_incomplete_files_are_deleted(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """dpkg-deb says of a full disk only that a process of its own was killed."""
        total, _, _ = shutil.disk_usage("/")

        def usage(path: Path) -> tuple[int, int, int]:
            free = 0 if list(store.root.rglob("half")) else 1 << 30
            return shutil._ntuple_diskusage(total, total - free, free)

        def build(directory: Path) -> None:
            (directory / "half").touch()
            raise CommandFailed(["dpkg-deb"], 2, "subprocess was killed by signal (Broken pipe)")

        monkeypatch.setattr(shutil, "disk_usage", usage)
        with pytest.raises(NoSpace):
            store.make("kind", "abc", {}, build)
        assert not list(store.root.rglob("half"))

    @pytest.mark.process
    def test_a_compiler_that_met_it_is_understood(self, store: Store) -> None:
        def build(directory: Path) -> None:
            run(["sh", "-c", "echo 'as: x.o: No space left on device' >&2; exit 1"])

        with pytest.raises(NoSpace) as caught:
            store.make("kind", "abc", {}, build)
        assert isinstance(caught.value.__cause__, CommandFailed)

    @pytest.mark.process
    def test_really_full(self, tmp_path: Path) -> None:
        """On a file system of 256 KiB: a clear error, and nothing half-made in it."""
        script = tmp_path / "full.py"
        script.write_text(
            "import subprocess, sys\n"
            "from pathlib import Path\n"
            "from ukl.host.store import NoSpace, Store\n"
            "root = Path(sys.argv[1])\n"
            "mount = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'none', root]\n"
            "subprocess.run(mount, check=True)\n"
            "def build(directory):\n"
            "    (directory / 'big').write_bytes(bytes(1 << 20))\n"
            "try:\n"
            "    Store(root).make('kind', 'abc', {}, build)\n"
            "except NoSpace as error:\n"
            "    print(error.where)\n"
            "print([p.name for p in root.rglob('*') if p.is_file() and p.suffix != '.lock'])\n"
        )
        mount = tmp_path / "small"
        mount.mkdir()
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", sys.executable, script, mount],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            capture_output=True,
            text=True,
            check=False,
        )
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip("optional: no unprivileged mount name space here")
        assert done.stdout.splitlines()[0] == str(mount), done.stderr
        assert "big" not in done.stdout


MAKER = """
import os, sys
from pathlib import Path
from ukl.host.store import Store
def build(directory):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    print("building", flush=True)
    sys.stdin.readline()
    (directory / "out").write_text("content")
Store(Path(sys.argv[1])).make("kind", "abc", {}, build)
"""


def maker(tmp_path: Path) -> subprocess.Popen[str]:
    """Start a process that makes an entry, and goes on when it is given a line."""
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(tmp_path / "cache"), str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestProcesses:
    @pytest.mark.process
    def test_two_at_the_same_entry_build_it_once(self, tmp_path: Path) -> None:
        first = maker(tmp_path)
        assert first.stdout is not None
        assert first.stdout.readline() == "building\n"
        # From here on the entry is the first one's, until the second has noticed.
        second = maker(tmp_path)
        assert second.stderr is not None
        waiting = second.stderr.readline()
        errors = first.communicate("go on\n", timeout=60)[1]
        assert second.communicate(timeout=60) == ("", "")
        assert [first.returncode, second.returncode] == [0, 0]
        assert (tmp_path / "log").read_text() == "built\n"
        assert errors == ""
        assert waiting.startswith("waiting for another ukl: process ")
        assert "makes kind abc" in waiting

    @pytest.mark.process
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_one_that_is_killed_leaves_no_entry_and_no_lock(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        process = maker(tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        process.send_signal(number)
        process.communicate(timeout=60)
        store = Store(tmp_path / "cache")
        assert store.get("kind", "abc") is None
        store.make("kind", "abc", {}, fill)  # a lock would keep us for ever
        assert [path.name for path in (store.root / "kind").iterdir()] == ["abc"]

    @pytest.mark.process
    def test_ctrl_c_is_noted_as_such(self, tmp_path: Path) -> None:
        process = maker(tmp_path)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        manifest = json.loads((tmp_path / "cache/failed/kind-abc/manifest.json").read_text())
        assert manifest["outcome"] == "interrupted"

    def test_threads_wait_for_each_other_too(self, store: Store) -> None:
        calls: list[int] = []

        def build(directory: Path) -> None:
            calls.append(1)
            time.sleep(0.2)

        threads = [
            threading.Thread(target=store.make, args=("kind", "abc", {}, build)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1


def as_nobody(call: Callable[[], object]) -> None:
    """Call it in a process of another user; skip where this one may not become another."""
    if os.geteuid() != 0:
        pytest.skip("optional: only root can be another user")
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            call()
        except BaseException:  # noqa: BLE001 - a child of pytest must not go on as another
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def open_store() -> Iterator[Store]:
    """Give a store where another user can get at it, which pytest's directories do not allow."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        root = Path(name, "cache")
        root.mkdir()
        yield Store(root, notify=lambda text: None)


class TestSharedCache:
    @pytest.mark.parametrize("mode", [0o1777, 0o2770, 0o755])
    def test_what_is_made_has_the_mode_of_the_cache(self, store: Store, mode: int) -> None:
        store.root.mkdir()
        store.root.chmod(mode)
        before = os.umask(0o022)
        try:
            place = store.make("kind", "abc", {}, fill)
        finally:
            os.umask(before)
        lock = store.root / "locks/kind-abc.lock"
        directories = {path.stat().st_mode & 0o7777 for path in (place.parent, lock.parent)}
        assert directories == {mode}
        assert lock.stat().st_mode & 0o777 == (mode & 0o666 if mode != 0o755 else 0o644)

    @pytest.mark.process
    def test_another_user_uses_it_and_adds_to_it(self, open_store: Store) -> None:
        open_store.root.chmod(0o1777)
        mine = open_store.make("kind", "mine", {}, fill)

        def use() -> None:
            other = Store(open_store.root, notify=lambda text: None)
            assert other.get("kind", "mine") == mine
            assert other.make("kind", "theirs", {}, fill).is_dir()
            with pytest.raises(UklError, match="broken"):
                other.make("kind", "bad", {}, fails)
            Registry(other.own("guests")).claim(RECORD, automatic=True)
            assert [entry.key for entry in Store(other.root).clean()] == []

        def fails(directory: Path) -> None:
            raise UklError("broken")

        as_nobody(use)
        assert open_store.own("guests") == open_store.root / "guests"
        assert (open_store.root / "users/65534/guests/g").is_dir()
        assert open_store.get("kind", "theirs") is not None
        open_store.make("kind", "bad", {}, fill)

    @pytest.mark.process
    def test_a_cache_that_is_not_shared_says_what_to_do(self, open_store: Store) -> None:
        open_store.make("kind", "mine", {}, fill)

        def use() -> None:
            with pytest.raises(UklError) as caught:
                Store(open_store.root).make("kind", "theirs", {}, fill)
            assert "--cache-dir" in str(caught.value.remedy)
            with pytest.raises(UklError, match="may not write"):
                Store(open_store.root).own("guests")

        as_nobody(use)


class TestInfoAndClean:
    def test_info_and_clean(self, store: Store) -> None:
        store.make("one", "a", {}, fill)
        store.make("two", "b", {}, fill)
        other = Store(store.root)
        assert {(entry.kind, entry.key) for entry in other.info()} == {("one", "a"), ("two", "b")}
        assert all(entry.size > 0 and entry.age >= 0 for entry in other.info())

    def test_files_that_entries_share_count_once(self, store: Store) -> None:
        def one(directory: Path) -> None:
            (directory / "big").write_bytes(bytes(1 << 20))

        def two(directory: Path) -> None:
            os.link(store.root / "kind/one/big", directory / "big")

        store.make("kind", "one", {}, one)
        store.make("kind", "two", {}, two)
        total = sum(entry.size for entry in store.info())
        assert 1 << 20 <= total < (1 << 20) + 65536
        assert store.count() == 2
        another = Store(store.root)
        for handle in store._uses.values():  # as if its process ended
            os.close(handle)
        assert sum(entry.size for entry in another.clean()) == total
        assert another.count() == 0

    def test_clean_leaves_what_is_used(self, store: Store) -> None:
        maker_store = Store(store.root)
        place = maker_store.make("one", "a", {}, fill)
        assert store.clean() == []  # `maker_store` uses it, as another process would
        assert place.is_dir()
        for handle in maker_store._uses.values():  # as if its process ended
            os.close(handle)
        assert [entry.key for entry in store.clean()] == ["a"]
        assert visible(store.root) == []

    def test_clean_by_kind_and_age(self, store: Store) -> None:
        for kind, key, age in (("one", "old", 7200), ("one", "new", 0), ("two", "old", 7200)):
            place = store.place(kind, key)
            place.mkdir(parents=True)
            (place / "manifest.json").write_text("{}")
            made = time.time() - age
            os.utime(place / "manifest.json", (made, made))
        gone = store.clean("one", 3600)
        assert [(entry.kind, entry.key) for entry in gone] == [("one", "old")]
        assert len(store.info()) == 2

    def test_default_heeds_option_then_variable_then_xdg(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        monkeypatch.delenv("UKL_CACHE_DIR", raising=False)
        assert Store.default().root == tmp_path / "xdg" / "ukl"
        monkeypatch.setenv("UKL_CACHE_DIR", str(tmp_path / "variable"))
        assert Store.default().root == tmp_path / "variable"
        assert Store.default(tmp_path / "option").root == tmp_path / "option"


class Color(Enum):
    RED = "red"


class TestDigest:
    def test_is_stable(self) -> None:
        """A change of the algorithm makes all caches useless: let it be on purpose."""
        assert digest("a", 1, {"b": [None, True]}) == "84d54baa74849dfbe30361ff20c27ff0"

    def test_structure_matters(self) -> None:
        values: list[object] = [
            "1", 1, True, b"1", None, ["1"], [["1"]], {"1": "1"}, 1.0, "", [], {}, ("", ""),
        ]  # fmt: skip
        assert len({digest(value) for value in values}) == len(values)
        assert digest("ab", "c") != digest("a", "bc")
        assert digest(["a"], "b") != digest(["a", "b"])

    def test_order_of_mappings_and_sets_does_not_matter(self) -> None:
        assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        assert digest({"x", "y", "z"}) == digest({"z", "y", "x"})
        assert digest(Color.RED) == digest("red")

    def test_a_path_stands_for_its_content(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        one.write_text("same")
        two.write_text("same")
        assert digest(one) == digest(two)
        two.write_text("other")
        assert digest(one) != digest(two)

    def test_a_directory_stands_for_names_and_contents(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name / "sub").mkdir(parents=True)
            (tmp_path / name / "sub" / "file").write_text("x")
        assert digest(tmp_path / "one") == digest(tmp_path / "two")
        (tmp_path / "two/sub/file").rename(tmp_path / "two/file")
        assert digest(tmp_path / "one") != digest(tmp_path / "two")

    def test_other_types_are_refused(self) -> None:
        with pytest.raises(TypeError):
            digest(object())


def test_errors_of_ours_are_not_taken_for_a_full_disk(store: Store) -> None:
    def build(directory: Path) -> None:
        raise UklError("something else")

    with pytest.raises(UklError, match="something else"):
        store.make("kind", "abc", {}, build)
