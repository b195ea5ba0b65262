# SPDX-License-Identifier: GPL-2.0
"""The initramfs that a guest boots from.

It has two parts, which the kernel unpacks in order. The base depends only on the application
and is kept in the cache. `with_run` appends a small archive whose run description replaces
that of the base, so that other arguments, and the nonce of each run, need no new base.

An application that is PID 1 (`--init app`) has the same files and the static device nodes
below, standard streams on the console, loopback and, if the kernel can configure it, the
network. No file system is mounted: it has neither /proc nor /sys.
"""

from __future__ import annotations

import gzip
import posixpath
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from ukl.base.errors import InputError, MissingError
from ukl.base.model import DHCP, SMALL, AppSpec, Guest, Image
from ukl.base.progress import Progress
from ukl.elf import described
from ukl.elf.reader import Elf
from ukl.guest import build as guest_build
from ukl.guest import rundesc
from ukl.guest.mounts import marker_path, mounts
from ukl.guest.rundesc import GuestRun
from ukl.host import exec as host_exec
from ukl.host.requirements import install_command
from ukl.host.store import Store, digest
from ukl.image import cpio, names
from ukl.kernel import symbols

BUSYBOX = Path("/bin/busybox")
NO_APPLETS = frozenset({"busybox", "init", "linuxrc"})
"""Applets that get no link: busybox itself, and those that would be a second init."""

PLAIN_MAX = 16 << 20
"""Bytes up to which an initrd is not compressed.

An emulated guest needs 23 instructions to unpack a byte: for busybox as many as for the whole
boot of a small kernel. But until the end of unpacking both forms are in memory, of which a
large initrd needs too much if it is not compressed.
"""

GZIP_LEVEL = 1
"""The fastest level: an initrd is made for each application and read once."""

USER_DIRECTORY = "/user"

DIRECTORIES: Mapping[str, int] = {
    "/bin": 0o755,
    "/data": 0o755,  # for the data of recipes; the default mount point of disks
    "/dev": 0o755,
    "/etc": 0o755,
    "/proc": 0o555,
    "/root": 0o700,
    "/run": 0o755,
    "/sys": 0o555,
    "/tmp": 0o1777,
    "/ukl": 0o755,
    "/user": 0o755,
    "/usr": 0o755,
    "/var": 0o755,
    "/var/log": 0o755,
}

LINKS: Mapping[str, str] = {
    "/sbin": "bin",
    "/usr/bin": "../bin",
    "/usr/sbin": "../bin",
    "/var/tmp": "../tmp",
    "/var/run": "../run",
    "/etc/mtab": "../proc/self/mounts",
}

NODES: Mapping[str, tuple[int, int, int]] = {
    "/dev/console": (5, 1, 0o600),
    "/dev/full": (1, 7, 0o666),
    "/dev/kmsg": (1, 11, 0o600),
    "/dev/null": (1, 3, 0o666),
    "/dev/random": (1, 8, 0o666),
    "/dev/tty": (5, 0, 0o666),
    "/dev/ttyS0": (4, 64, 0o600),
    "/dev/urandom": (1, 9, 0o666),
    "/dev/zero": (1, 5, 0o666),
}
"""Device nodes (major, minor, mode) from the kernel's Documentation/admin-guide/devices.txt."""

TEXTS: Mapping[str, str] = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "/etc/resolv.conf": "nameserver 10.0.2.3\n",
    "/etc/profile": "PS1='\\h:\\w\\$ '\n",
}

DHCP_SCRIPT = """\
#!/bin/sh
# The script of busybox's udhcpc: the event is in $1, the lease in variables.
case $1 in
deconfig)
	ip addr flush dev "$interface"
	;;
bound | renew)
	ip addr flush dev "$interface"
	ip addr add "$ip/${mask:-24}" dev "$interface"
	[ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
	[ -z "$dns" ] || for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
	;;
esac
"""
"""Configures an interface from its DHCP lease: guest/net.c starts the client."""


def user_path(name: str) -> str:
    """Return the path of an application's normal executable in the guest."""
    return f"{USER_DIRECTORY}/{name}"


def has_userspace(spec: AppSpec) -> bool:
    """Tell whether the specification includes a normal userspace. Pure.

    An entrypoint is a program of that userspace, or a script for its shell.
    """
    if spec.userspace is not None:
        return spec.userspace
    return bool(spec.entrypoint) or spec.profile != SMALL


def needs_userspace(spec: AppSpec, guest: Guest) -> bool:
    """Tell whether the guest needs a normal userspace: as specified, or for its options. Pure."""
    dhcp = guest.network.address == DHCP  # its client is in that userspace
    if spec.root is not None:  # its own programs are all that others see
        return dhcp
    return has_userspace(spec) or guest.is_process or guest.shell or dhcp or not guest.start


def skeleton(name: str, init: bytes) -> dict[str, cpio.Entry]:
    """Return the files that every guest has. Pure."""
    entries = {path: cpio.directory(mode) for path, mode in DIRECTORIES.items()}
    entries.update({path: cpio.symlink(target) for path, target in LINKS.items()})
    for path, (major, minor, mode) in NODES.items():
        entries[path] = cpio.character_device(major, minor, mode)
    entries.update({path: cpio.regular(text.encode()) for path, text in TEXTS.items()})
    entries["/etc/hosts"] = cpio.regular(f"127.0.0.1 localhost\n10.0.2.15 {name}\n".encode())
    entries["/init"] = cpio.regular(init, 0o755)
    return entries


def userland(busybox: bytes, applets: list[str]) -> dict[str, cpio.Entry]:
    """Return the programs of the normal userspace. Pure."""
    entries = {
        "/etc/ukl/udhcpc": cpio.regular(DHCP_SCRIPT.encode(), 0o755),
        "/bin/busybox": cpio.regular(busybox, 0o755),
    }
    for applet in applets:
        if applet not in NO_APPLETS:
            entries[f"/bin/{applet}"] = cpio.symlink("busybox")
    return entries


def portable(base: bytes, spec: AppSpec, image: Image, *, reset: bool = False) -> bytes:
    """Return an initrd for another hypervisor, whose network has a DHCP server. Pure.

    `reset`: its machine cannot power off, and ends by a reset.
    """
    return with_run(base, replace(default_run(spec, image), dhcp=True, reset=reset))


def default_run(spec: AppSpec, image: Image | None) -> GuestRun:
    """Return the run in the base of an initrd: the application as specified."""
    path = marker_path(spec.name) if _has_marker(image) else user_path(spec.name)
    argv = argument_vector(spec, path)
    run = GuestRun(
        name=spec.name,
        path=spec.entrypoint or path,
        argv=argv,
        env={**rundesc.DEFAULT_ENV, **spec.env},
        cwd=spec.workdir or "/",
        mounts=mounts(spec),
    )
    return started(run, spec)


def started(run: GuestRun, spec: AppSpec, *, process: bool = False) -> GuestRun:
    """Return the run of a program in a root file system; others stay as they are. Pure."""
    start = spec.start
    if start is None:
        return run
    in_ring0 = start.program and not start.aside and not process
    argv = start.argv
    if in_ring0 and start.interpreter:
        argv = (*start.interpreter, *start.argv[1:])
    return replace(
        run,
        path=marker_path(spec.name) if in_ring0 else start.path,
        argv=argv,
        env=start.env,
        cwd=start.directory,
        owner=rundesc.Owner(start.uid, start.gid, start.groups),
        stop=replace(run.stop, signal=start.stop_signal),
    )


def argument_vector(spec: AppSpec, path: str) -> tuple[str, ...]:
    """Return the argument vector of what init starts, for an application at `path`. Pure.

    An entrypoint gets that path as an argument, followed by the application's arguments.
    """
    own = spec.invoked or spec.executable or spec.name
    words = (spec.entrypoint, path) if spec.entrypoint else (own,)
    return (*words, *spec.command, *spec.args)


def _has_marker(image: Image | None) -> bool:
    return image is not None and image.marker is not None


def _through_links(path: str) -> str:
    """Return the path where a file is that has `path` in the guest, which has symbolic links."""
    for link, target in LINKS.items():
        if path.startswith(f"{link}/"):
            return (
                posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
                + (path[len(link) :])
            )
    return path


def application_files(files: Mapping[str, Path]) -> dict[str, cpio.Entry]:
    """Return the members for `files` (guest path -> file or directory of the host).

    The owner becomes root, and only the executable bit of the mode is kept. Raises InputError
    for a missing file, and for one that is neither file, directory nor symbolic link.
    """
    entries: dict[str, cpio.Entry] = {}
    for target, source in sorted(files.items()):
        base = _through_links(f"/{cpio.normalise(target)}")
        entries[base] = _entry(source, follow=True)
        if source.is_dir():
            for below in sorted(source.rglob("*")):
                inside = f"{base}/{below.relative_to(source).as_posix()}"
                entries[inside] = _entry(below, follow=False)
    return entries


def _entry(source: Path, *, follow: bool) -> cpio.Entry:
    try:
        status = source.stat() if follow else source.lstat()
        if stat.S_ISLNK(status.st_mode):
            return cpio.symlink(str(source.readlink()))
        if stat.S_ISDIR(status.st_mode):
            return cpio.directory()
        if stat.S_ISREG(status.st_mode):
            executable = status.st_mode & 0o111
            return cpio.regular(source.read_bytes(), 0o755 if executable else 0o644)
    except OSError as error:
        raise InputError(
            f"cannot read a file for the guest: {error.strerror}",
            where=source,
            remedy="check the paths in [files] of the manifest",
        ) from error
    raise InputError("neither a file nor a directory", where=source)


def build(
    image: Image | None,
    spec: AppSpec,
    user: Path | None,
    store: Store,
    progress: Progress,
    *,
    userspace: bool = True,
) -> Path:
    """Return the base initrd for `image`, the same for the same inputs.

    `user` is the normal executable of the application. Without `userspace` the initrd has no
    normal programs, and no normal executables of applications except for one that is not
    linked into the kernel. The base starts the application as the manifest says; `with_run`
    makes an initrd for a certain run.
    """
    if not _has_marker(image) and user is None:
        raise InputError(f"nothing to start: the kernel does not contain {spec.name}")
    with progress.stage(f"initrd {spec.name}") as stage:
        init = guest_build.init(store)
        entries = skeleton(spec.name, init.read_bytes())
        entries.update(names.services())
        entries.update(names.zones(spec))
        if userspace:
            entries.update(names.locale())
            entries.update(userland(_busybox(), _applets()))
        if spec.workdir:
            entries.setdefault(_through_links(spec.workdir), cpio.directory())
        for each in (*reversed(spec.with_), spec):  # the main application's files override
            entries.update(application_files(each.files))
        if image is not None and image.marker is not None:
            entries[marker_path(spec.name)] = _marker(image.marker, spec)
        specs = {each.name: each for each in spec.with_}
        for other in image.others if image is not None else ():
            entries[marker_path(other.name)] = _marker(other.marker, specs[other.name])
            if userspace:
                entries[user_path(other.name)] = _normal(other.user, specs[other.name])
        if spec.executable:
            entries[user_path(spec.name)] = cpio.symlink(spec.executable)
            if spec.invoked:
                entries.setdefault(_through_links(spec.invoked), cpio.symlink(spec.executable))
        elif user is not None and (userspace or not _has_marker(image)):
            entries[user_path(spec.name)] = _normal(user, spec)
        run = rundesc.encode(default_run(spec, image))
        entries[rundesc.PATH] = cpio.regular(run, 0o600)
        data = cpio.archive(entries)
        level = 0 if len(data) <= PLAIN_MAX else GZIP_LEVEL
        inputs = {"name": spec.name, "content": digest(data), "gzip": level}
        key = digest(inputs)
        if store.get("initrd", key) is not None:
            stage.cached()
        return store.make("initrd", key, inputs, lambda out: _write(out, data, level)) / "initrd"


def _marker(file: Path, spec: AppSpec) -> cpio.Entry:
    tree = spec.start is not None and bool(spec.start.interpreter)
    marker = symbols.with_flags(file.read_bytes(), spec.returns, spec.code, tree=tree)
    return cpio.regular(_with_appended(marker, spec), 0o755)


def _normal(user: Path, spec: AppSpec) -> cpio.Entry:
    return cpio.regular(_with_appended(user.read_bytes(), spec), 0o755)


def _with_appended(content: bytes, spec: AppSpec) -> bytes:
    """Return an executable of the application with what was appended to the program."""
    if spec.program is None or spec.executable or content.startswith(symbols.MARKER_MAGIC):
        return content
    return described.with_appended(content, *described.appended(Elf.open(spec.program)))


def _write(directory: Path, data: bytes, level: int) -> None:
    # Time 0 and no name in the header, so that the bytes are always the same.
    content = gzip.compress(data, level, mtime=0) if level else data
    (directory / "initrd").write_bytes(content)


def _busybox() -> bytes:
    try:
        return BUSYBOX.read_bytes()
    except OSError as error:
        raise MissingError(
            "busybox is not installed",
            where=BUSYBOX,
            remedy=install_command("busybox-static"),
        ) from error


def _applets() -> list[str]:
    return host_exec.run([BUSYBOX, "--list"], timeout=20).stdout.split()


def unpacked_size(base: bytes) -> int:
    """Return the bytes of the archive in a base initrd. Pure."""
    # The end of a gzip member is its size, modulo 4 GiB (RFC 1952).
    return int.from_bytes(base[-4:], "little") if base[:2] == b"\x1f\x8b" else len(base)


def with_run(
    base: bytes, run: GuestRun, files: Mapping[str, cpio.Entry] = MappingProxyType({})
) -> bytes:
    """Return `base` with another run description and further files. Pure.

    The kernel requires archives to begin at multiples of 4 bytes, and skips zeros.
    """
    entry = cpio.regular(rundesc.encode(run), 0o600)
    return base + bytes(-len(base) % 4) + cpio.archive({**files, rundesc.PATH: entry})
