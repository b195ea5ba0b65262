# SPDX-License-Identifier: GPL-2.0
"""Initrds, looked at with a cpio that is not ours."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Image
from ukl.base.progress import Progress
from ukl.guest.rundesc import GuestRun
from ukl.host.store import Store
from ukl.image import initrd


@pytest.fixture
def spec(tmp_path: Path) -> AppSpec:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "page.html").write_text("<p>")
    (data / "run.sh").write_text("#!/bin/sh\n")
    (data / "run.sh").chmod(0o700)
    (data / "link").symlink_to("sub/page.html")
    return AppSpec(
        name="web",
        origin=tmp_path / "ukl.toml",
        directory=tmp_path,
        sources=(),
        args=("--port", "80"),
        files={"/srv": data, "/etc/web.conf": data / "sub" / "page.html"},
    )


@pytest.fixture
def image(tmp_path: Path) -> Image:
    marker = tmp_path / "marker"
    marker.write_bytes(b"\x7fUKL" + bytes(60))
    file = tmp_path / "vmlinux"
    return Image("web", tmp_path, file, file, file, marker, bytes(20), "key")


@pytest.fixture
def user(tmp_path: Path) -> Path:
    file = tmp_path / "user"
    file.write_bytes(b"\x7fELF of the user")
    return file


def listing(data: bytes) -> dict[str, tuple[str, str]]:
    """Return name -> (mode and owner, the rest) as `busybox cpio -tv` prints it."""
    done = subprocess.run(["busybox", "cpio", "-tv"], input=data, capture_output=True, check=True)
    found = {}
    for line in done.stdout.decode().splitlines():
        mode, owner, *middle, name = line.split(" -> ")[0].split()
        found[name] = (f"{mode} {owner}", " ".join(middle) + line.partition(" -> ")[2])
    return found


def content(data: bytes, name: str) -> bytes:
    argv = ["busybox", "cpio", "-i", "--to-stdout", name]
    return subprocess.run(argv, input=data, capture_output=True, check=True).stdout


@pytest.fixture(autouse=True)
def _tools(need: Callable[..., None]) -> None:
    need("busybox", "musl-gcc")


def test_content(spec: AppSpec, image: Image, user: Path, store: Store, progress: Progress) -> None:
    data = initrd.build(image, spec, user, store, progress).read_bytes()
    found = listing(data)
    assert found["ukl/web"][0] == "-rwxr-xr-x 0/0"
    assert content(data, "ukl/web") == image.marker.read_bytes()  # type: ignore[union-attr]
    assert content(data, "user/web") == user.read_bytes()
    assert found["init"][0] == "-rwxr-xr-x 0/0"
    assert found["dev/console"][0] == "crw------- 0/0"
    assert found["tmp"][0] == "drwxrwxrwt 0/0"
    assert found["bin/ps"][1].endswith("busybox")
    assert "bin/init" not in found
    # Files of the application: directories whole, owner root, mode by executability.
    assert found["srv/run.sh"][0] == "-rwxr-xr-x 0/0"
    assert found["srv/sub/page.html"][0] == "-rw-r--r-- 0/0"
    assert found["srv/link"][1].endswith("sub/page.html")
    assert content(data, "etc/web.conf") == b"<p>"
    run = content(data, "etc/ukl/run")
    assert b"path /ukl/web\n" in run
    assert b"arg --port\narg 80\n" in run


def test_without_userspace_only_the_application_is_in_it(
    spec: AppSpec, image: Image, user: Path, store: Store, progress: Progress
) -> None:
    data = initrd.build(image, spec, user, store, progress, userspace=False).read_bytes()
    found = listing(data)
    assert {"init", "ukl/web", "srv/run.sh", "dev/console"} <= found.keys()
    assert not {name for name in found if name.startswith(("bin/", "user/"))}
    assert len(data) < (256 << 10)
    # What the kernel has no marker file of is started in its normal form.
    bare = replace(image, marker=None)
    data = initrd.build(bare, spec, user, store, progress, userspace=False).read_bytes()
    assert "user/web" in listing(data)


def test_who_has_a_userspace(spec: AppSpec) -> None:
    tiny = replace(spec, profile="tiny")
    assert initrd.has_userspace(spec)
    assert not initrd.has_userspace(tiny)
    assert initrd.has_userspace(replace(tiny, userspace=True))
    assert initrd.has_userspace(replace(tiny, entrypoint="/srv/run.sh"))
    assert not initrd.has_userspace(replace(spec, userspace=False))


def test_a_large_one_is_compressed(
    spec: AppSpec,
    image: Image,
    user: Path,
    store: Store,
    progress: Progress,
) -> None:
    plain = initrd.build(image, spec, user, store, progress).read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(initrd, "PLAIN_MAX", len(plain) - 1)
        packed = initrd.build(image, spec, user, store, progress).read_bytes()
    assert gzip.decompress(packed) == plain


def test_same_inputs_give_the_same_bytes(
    spec: AppSpec, image: Image, user: Path, tmp_path: Path, progress: Progress
) -> None:
    one = initrd.build(image, spec, user, Store(tmp_path / "one"), progress)
    (spec.files["/srv"] / "run.sh").touch()
    other = initrd.build(image, spec, user, Store(tmp_path / "other"), progress)
    assert one.read_bytes() == other.read_bytes()


def test_cached_until_a_file_changes(
    spec: AppSpec, image: Image, user: Path, store: Store, progress: Progress
) -> None:
    first = initrd.build(image, spec, user, store, progress)
    assert initrd.build(image, spec, user, store, progress) == first
    (spec.files["/srv"] / "sub" / "page.html").write_text("<b>")
    assert initrd.build(image, spec, user, store, progress) != first


def test_kernel_without_application(
    spec: AppSpec, image: Image, user: Path, store: Store, progress: Progress
) -> None:
    bare = replace(image, marker=None)
    data = initrd.build(bare, spec, user, store, progress).read_bytes()
    assert "ukl/web" not in listing(data)
    assert b"path /user/web\n" in content(data, "etc/ukl/run")
    with pytest.raises(InputError, match="nothing to start"):
        initrd.build(bare, spec, None, store, progress)


def test_missing_file_is_named(
    spec: AppSpec, image: Image, tmp_path: Path, store: Store, progress: Progress
) -> None:
    broken = replace(spec, files={"/etc/a": tmp_path / "absent"})
    with pytest.raises(InputError) as caught:
        initrd.build(image, broken, None, store, progress)
    assert caught.value.where == str(tmp_path / "absent")


def test_files_below_the_links_of_the_guest(tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    paths = {"/usr/bin/tool": "/bin/tool", "/sbin/tool": "/bin/tool", "/usr/lib/x": "/usr/lib/x"}
    for given, found in paths.items():
        assert list(initrd.application_files({given: tmp_path / "tool"})) == [found]


def test_file_in_the_place_of_a_directory(
    spec: AppSpec, image: Image, tmp_path: Path, store: Store, progress: Progress
) -> None:
    broken = replace(spec, files={"/etc": tmp_path / "marker"})
    with pytest.raises(InputError, match="not a directory"):
        initrd.build(image, broken, None, store, progress)


def test_run_is_appended_where_the_kernel_finds_it() -> None:
    """Behind a compressed archive of any length the next begins at a multiple of 4."""
    for length in range(5):
        base = b"x" * length
        whole = initrd.with_run(base, GuestRun(name="a", path="/a", argv=("a",), nonce="42"))
        begin = whole.index(b"070701")
        assert begin % 4 == 0
        assert whole[:length] == base
        assert not whole[length:begin].strip(b"\0")
        assert b"nonce 42\n" in content(whole[begin:], "etc/ukl/run")
