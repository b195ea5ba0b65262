# SPDX-License-Identifier: GPL-2.0
"""Root file systems are made of images and directories, without root, and once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import containers
from tests.conftest import OPTIONAL
from tests.containers import Member, directory, file, hard, layout, program, symlink, whiteout
from ukl.base.errors import InputError
from ukl.base.model import AppSpec, Mode
from ukl.base.progress import Progress
from ukl.base.root import RootKind, RootSource
from ukl.container import root, squash
from ukl.container.directory import scan
from ukl.flow import containers as flow
from ukl.flow.context import Context
from ukl.host.exec import CommandFailed
from ukl.host.store import Store

pytestmark = pytest.mark.skipif(
    shutil.which("sqfstar") is None, reason=f"{OPTIONAL} no squashfs-tools on this machine"
)

QUIET = Progress.quiet()

CAPABILITY = (b"\x01\0\0\x02\0\x04\0\0\xff\xfe\n=" + bytes(8)).decode("utf-8", "surrogateescape")
LOWER: tuple[Member, ...] = (
    directory("etc", 0o755),
    file("etc/passwd", "web:x:33:34::/srv:/bin/sh\n"),
    directory("home/web", 0o700, uid=1000, gid=70000),
    file("gone", "x"),
    file(
        "bin/ping",
        containers.elf(),
        0o755,
        pax_headers={"SCHILY.xattr.security.capability": CAPABILITY},
    ),
    program("bin/su", mode=0o4755),
    ("dev/null", None, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666}),
)
UPPER: tuple[Member, ...] = (
    whiteout("gone"),
    program("bin/server", mtime=12),
    hard("bin/again", "bin/server"),
    symlink("run", "bin/server"),
    file("big", os.urandom(3 << 20)),
    file(f"{'x' * 150}/{'y' * 200}", "long"),
    file("ümläut", ""),
)


def made(path: Path, store: Store, kind: RootKind = RootKind.OCI) -> tuple[Path, Any]:
    return root.made(RootSource(kind, str(path)), store, QUIET)


def listed(image: Path) -> dict[str, str]:
    """Return path -> mode and owner, as unsquashfs lists them."""
    argv = ["unsquashfs", "-lln", "-dest", "", str(image)]
    ran = subprocess.run(argv, check=True, capture_output=True, text=True)
    rows = [line.split(None, 5) for line in ran.stdout.splitlines() if line[:1] in "-dlcbp"]
    return {row[-1]: f"{row[0]} {row[1]}" for row in rows if len(row) > 4}


def content(image: Path, path: str) -> bytes:
    argv = ["unsquashfs", "-cat", str(image), path]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def test_an_image(tmp_path: Path, store: Store) -> None:
    path = layout(
        tmp_path / "i", LOWER, UPPER, Cmd=["server"], WorkingDir="/srv/new", Volumes={"/data": {}}
    )
    image, found = made(path, store)
    files = listed(image)
    assert files["/etc/passwd"] == "-rw-r--r-- 0/0"
    assert files["/home/web"] == "drwx------ 1000/70000"
    assert files["/bin/su"] == "-rwsr-xr-x 0/0"
    assert files["/srv/new"] == files["/data"] == "drwxr-xr-x 0/0"
    assert "/gone" not in files
    assert any(path.endswith("y" * 200) for path in files)
    assert content(image, "big") == UPPER[4][1]
    assert content(image, "bin/again") == containers.elf()
    assert found.tree.root.children["bin"].children["su"].mode == 0o104755
    assert found.texts["/etc/passwd"].startswith("web:")
    assert not list(image.parent.glob("layers"))
    # Hard links and attributes are in the file, where only a mount shows them all.
    ran = subprocess.run(["unsquashfs", "-s", image], check=True, capture_output=True, text=True)
    assert "Number of xattr ids 1" in ran.stdout
    names = sum(1 for _ in found.tree.walk())
    assert f"Number of inodes {names}" in ran.stdout  # with the root, and two names for one


def test_it_is_made_once(tmp_path: Path, store: Store) -> None:
    path = layout(tmp_path / "i", LOWER, Cmd=["su"])
    first, _ = made(path, store)
    time = first.stat().st_mtime_ns
    again, found = made(path, store)
    assert (again, again.stat().st_mtime_ns) == (first, time)
    assert found.tree.find("/bin/su")[1].head == "elf x86-64 "
    other, _ = made(layout(tmp_path / "j", LOWER, Cmd=["su"], WorkingDir="/x"), store)
    assert other != first


def test_archives_and_directories(tmp_path: Path, store: Store) -> None:
    saved = containers.saved(tmp_path / "s.tar", LOWER, UPPER)
    plain = tmp_path / "plain.tar"
    plain.write_bytes(containers.tar(LOWER))
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/server").write_bytes(containers.elf())
    (tree / "bin/server").chmod(0o755)
    (tree / "bin/again").hardlink_to(tree / "bin/server")
    for path, kind, name in (
        (saved, RootKind.DOCKER_ARCHIVE, "/bin/server"),
        (plain, RootKind.FILES, "/bin/su"),
        (tree, RootKind.FILES, "/bin/again"),
    ):
        image, found = made(path, store, kind)
        assert found.tree.find(name)[1].head == "elf x86-64 "
        assert listed(image)[name].endswith(" 0/0")
    assert root.extracted(image, "/bin/again", store).read_bytes() == containers.elf()
    with pytest.raises(CommandFailed):
        root.extracted(image, "/bin/none", store)


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_layers(tmp_path: Path, store: Store, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{OPTIONAL} no {program} on this machine")
    plain = tmp_path / "plain.tar"
    plain.write_bytes(containers.tar([*LOWER, file("noise", os.urandom(50000))]))
    packed = tmp_path / "packed"
    with packed.open("wb") as out:
        subprocess.run([program, "-c", plain], check=True, stdout=out)
    _, found = made(packed, store, RootKind.FILES)
    assert found.tree.find("/bin/su") is not None
    packed.write_bytes(packed.read_bytes()[:-20000])
    with pytest.raises(InputError, match="cut off or damaged"):
        made(packed, store, RootKind.FILES)
    plain.write_bytes(plain.read_bytes()[:30000])
    with pytest.raises(InputError, match=r"not a readable tar archive|the archive is cut off"):
        made(plain, store, RootKind.FILES)
    assert len(list((store.root / "container").iterdir())) == 1


def test_a_file_that_shrinks_meanwhile(tmp_path: Path, store: Store) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(b"x" * 100000)

    tree = scan(tmp_path / "d")
    (tmp_path / "d/a").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot read it to its end"):
        squash.write(tree, tmp_path / "o", lambda done, total: None)


def test_sqfstar_says_why_it_ends(tmp_path: Path) -> None:

    tree = containers.merged(LOWER, UPPER)
    with pytest.raises(CommandFailed, match="sqfstar"):
        squash.write(tree, tmp_path / "no/such", lambda done, total: None)


# --- what flow makes of it -------------------------------------------------------------------


def spec_of(path: Path, **more: Any) -> AppSpec:
    return AppSpec("app", path, path.parent, root=RootSource(RootKind.OCI, str(path)), **more)


def test_a_specification_gets_what_the_image_says(tmp_path: Path, store: Store) -> None:
    context = Context(store, QUIET)
    ports: dict[str, Any] = {"ExposedPorts": {"80/tcp": {}}}
    path = layout(tmp_path / "i", LOWER, UPPER, Cmd=["run", "-x"], Env=["PATH=/"], **ports)
    spec = flow.described(spec_of(path), context)
    assert [(port.host, port.guest) for port in spec.ports] == [(8080, 80)]
    spec = flow.prepared(spec, context, Mode.UNIKERNEL)
    assert spec.start is not None
    assert (spec.start.path, spec.start.argv) == ("//run", ("run", "-x"))
    assert spec.executable == "//run"
    assert spec.program is not None
    assert spec.program.read_bytes() == containers.elf()  # through the symbolic link
    assert [disk.target for disk in spec.disks] == ["/"]
    assert spec.disks[0].is_root


def test_a_setuid_program_is_refused_in_ring_0_alone(tmp_path: Path, store: Store) -> None:
    context = Context(store, QUIET)
    path = layout(tmp_path / "i", LOWER, Cmd=["/bin/su"])
    with pytest.raises(InputError, match="set-user-ID") as caught:
        flow.prepared(spec_of(path), context, Mode.UNIKERNEL)
    assert caught.value.where == f"oci:{path}, /bin/su"
    process = flow.prepared(spec_of(path), context, Mode.PROCESS)
    assert process.start is not None
    assert process.start.program == ""
    assert process.program is not None
    assert process.program.stat().st_mode & 0o7111 == 0  # on this machine it is a mere file


def test_what_is_wrong_leaves_nothing(tmp_path: Path, store: Store) -> None:
    bad: Iterable[Member] = [symlink("up", ".."), file("up/x")]
    with pytest.raises(InputError, match="climbs out"):
        made(layout(tmp_path / "i", LOWER, bad), store)
    assert list((store.root / "container").iterdir()) == []
