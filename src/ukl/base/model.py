# SPDX-License-Identifier: GPL-2.0
"""Values handed from package to package.

Each class is frozen: a package makes one, the next reads it. None of them does
anything; whatever touches the machine lives in the package that makes the value.
Sizes are bytes, durations seconds, addresses plain integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal


class Level(StrEnum):
    """How the calls that an application's `syscall` instructions become are done.

    BASE: with all of Linux' work on entry and exit. FAST: without, unless somebody asks
    for it (a tracer, a filter, a signal, the scheduler).
    """

    BASE = "base"
    FAST = "fast"


class Returns(StrEnum):
    """How interrupts and exceptions return to the application: UKL_MARKER_RET of the kernel."""

    IRET = "iret"
    RET = "ret"


class Mode(StrEnum):
    """What a program runs as: in the kernel, or as a normal process beside it."""

    UNIKERNEL = "unikernel"
    PROCESS = "process"


class Protocol(StrEnum):
    """Transport protocol of a forwarded port."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class PortForward:
    """A port of this machine that QEMU forwards to the guest (`-p HOST:GUEST[/udp]`)."""

    host: int
    guest: int
    address: str = "127.0.0.1"
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory of this machine, mounted at `target` in the guest (`-v DIR:/path[:ro]`)."""

    source: Path
    target: str
    read_only: bool = False


DISK_SIZE = 1 << 30
"""Bytes of a disk that is made without a size."""


@dataclass(frozen=True, slots=True)
class Disk:
    """An ext4 image that the guest mounts at `target` (`--disk FILE:/path`).

    A file that is not there is made, `size` bytes large and sparse.
    """

    file: Path
    target: str
    size: int = DISK_SIZE


@dataclass(frozen=True, slots=True)
class Source:
    """Where a recipe's source is: one of `directory`, `url` with `sha256`, `debian`.

    `inputs` are patterns of the files of the directory that count (none: all);
    `version` is what that of the Debian package must begin with.
    """

    directory: Path | None = None
    inputs: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = None
    debian: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """How a program's own build system makes it: the content of `[build]`, checked.

    `commands` are of the shell and run in the source's top. `program`, and the values
    of `files` (path in the guest = path there), are relative to that.
    """

    source: Source
    commands: tuple[str, ...]
    program: str
    packages: tuple[str, ...] = ()
    patches: tuple[Path, ...] = ()
    overlay: tuple[Path, ...] = ()
    """Files of the recipe's own, put into the source's top."""
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """A program's own tests: the content of `[test]`. `timeout` is in seconds, for each command.

    They are `commands` on this machine that talk to it, or `runs`: names of tests and the
    program's arguments, each in a guest of its own, which passes by its exit status.
    `passed`, `failed` and `skipped` are regular expressions for lines of the output; their
    group is the test's name. `args` are the server's while it is tested; `files` (path in
    the guest = path here) and a new `disk` (where it is mounted) are there for the tests.
    `shared` mounts the tree that the commands run in, in the guest and under the same path.
    `ready` is a command that ends with status 0 once the server serves.
    """

    commands: tuple[str, ...]
    passed: str | None = None
    failed: str | None = None
    skipped: str | None = None
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    disk: str | None = None
    shared: bool = False
    ready: str | None = None
    quick: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    args: tuple[str, ...] | None = None
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class PythonSpec:
    """A Python program: the content of `[python]`, checked; absolute paths.

    `script` is a file, or a directory with a `__main__.py`; `path` are directories of
    packages.
    """

    script: Path
    path: tuple[Path, ...] = ()


SMALL = "tiny"
"""The kernel profile for one program in little memory."""


@dataclass(frozen=True, slots=True)
class AppSpec:
    """What to build and how to start it: the content of `ukl.toml`, checked.

    `origin` is the file (or C source) the specification was read from; paths
    are absolute. `files` maps a path in the guest to a path on this machine.
    """

    name: str
    origin: Path
    directory: Path
    sources: tuple[Path, ...] = ()
    cflags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    objects: tuple[Path, ...] = ()
    rewrite_syscalls: bool = True
    """Whether `syscall` instructions become calls, where they can."""
    level: Level = Level.FAST
    lto: bool = False
    """Whether functions of the kernel that it imports are compiled into it (ukl.lto)."""
    returns: Returns = Returns.IRET
    page_size: int = 0
    """Bytes of the pages in which anonymous memory is given where it can be; 0: only when asked
    for large ones (madvise)."""
    populate: bool = False
    """Whether it locks its memory before all else: that is there as soon as it is mapped."""
    userspace: bool | None = None
    """Whether busybox, and the application's normal form, are beside it in the guest; None: as
    the kernel's profile has it."""
    program: Path | None = None
    """An executable that ukl-cc linked: PROGRAM.ukl.o beside it is the application."""
    build: BuildSpec | None = None
    """How `program` is made; None where it is there, or needs no build system."""
    suite: SuiteSpec | None = None
    python: PythonSpec | None = None
    """What the interpreter runs, as long as it is not among the `files`."""
    command: tuple[str, ...] = ()
    """Arguments before `args`, which stay when the command line gives others."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: str = ""
    """Path in the guest of what is started first, and executes the application then."""
    ports: tuple[PortForward, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    memory: int = 256 << 20
    cpus: int = 1
    kernel_options: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
    """A profile of kernel/config, such as `debug`; empty: none."""
    imports: tuple[str, ...] = ()
    """C prototypes of the kernel's functions that it calls."""
    with_: tuple[AppSpec, ...] = ()
    """Further applications that are linked into the same kernel."""
    counting: bool = False
    """Whether its code counts how often each branch is taken (pgo/)."""
    pgo: Path | None = None
    """A file of such counts, by which it and the kernel are compiled."""

    @property
    def rewriting(self) -> Level | None:
        """What the `syscall` instructions become calls of; None: they stay."""
        return self.level if self.rewrite_syscalls else None


@dataclass(frozen=True, slots=True)
class SyscallCounts:
    """How many `syscall` instructions there are, by how each is made a call, or kept.

    `direct` of those that are calls go to the kernel's fast entry of their number.
    """

    in_place: int
    stub: int
    kept: int
    direct: int = 0


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the ELF tells about a partially linked application.

    Sizes of the merged `.ukl.*` sections, the symbols that stay undefined, and
    what became of its `syscall` instructions (None: they were left as they are).
    """

    text_size: int
    rodata_size: int
    data_size: int
    bss_size: int
    tls_size: int
    tls_align: int
    imports: tuple[str, ...]
    weak_undefined: tuple[str, ...]
    ifuncs: int
    syscalls: SyscallCounts | None = None
    functions: tuple[str, ...] = ()
    """The kernel's functions that it calls."""


@dataclass(frozen=True, slots=True)
class AppObject:
    """A partially linked application: one relocatable object and its facts.

    `path` is the `.o` that CONFIG_UKL_APP names; `user` the normal static
    executable made from the very same object. `variables` are the kernel's that functions of
    the kernel read which are compiled into it.
    """

    name: str
    path: Path
    user: Path
    facts: ObjectFacts
    key: str
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelSource:
    """An unpacked, unpatched kernel tree and where it came from.

    `key` names its content if it lies in the cache; a tree of the user's has none.
    """

    directory: Path
    version: str
    origin: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What kernel is wanted: the source, the series, the configuration.

    `patched` False means the source as it is: neither the series nor the options that
    it brings are applied, everything else of the configuration is.
    """

    source: KernelSource
    series: Path
    fragments: tuple[Path, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    compiler: str = "gcc"
    patched: bool = True
    pgo: Path | None = None
    """Directory with counts of branches for the compiler, named as the objects are."""


@dataclass(frozen=True, slots=True)
class KernelBuild:
    """Compiled kernel objects in the cache, ready for the final link.

    `data_limit` is the number of bytes that the application's data may take,
    from its link base to the end of .bss, with this kernel.
    """

    key: str
    source: Path
    directory: Path
    version: str
    data_limit: int


@dataclass(frozen=True, slots=True)
class LinkedApp:
    """A further application in an image: its marker file and its normal executable."""

    name: str
    marker: Path
    user: Path


@dataclass(frozen=True, slots=True)
class Image:
    """A bootable kernel with (or without) applications in it.

    `marker` is the small file whose execve() starts the application called `name`;
    it carries the kernel's build id. None where no application is linked in. `relocatable`
    is whether the decompressor may put the kernel elsewhere.
    """

    name: str
    directory: Path
    vmlinux: Path
    bzimage: Path
    system_map: Path
    marker: Path | None
    build_id: bytes
    key: str
    others: tuple[LinkedApp, ...] = ()
    relocatable: bool = True


class Accelerator(StrEnum):
    """How QEMU runs guest code; KVM counts only if a tiny guest booted with it."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class HostCaps:
    """What this machine can do, found by trying."""

    accelerator: Accelerator
    qemu: str | None
    qemu_version: tuple[int, ...] | None
    cpus: int
    notes: tuple[str, ...] = ()


class NetworkKind(StrEnum):
    """What a guest's second interface leads to."""

    NONE = "none"
    SHARED = "network"
    TAP = "tap"
    BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Network:
    """A guest's second interface: a network of guests, a tap device or a bridge, by its name.

    `address` is like `10.77.0.5/24`, or `dhcp`; empty: one is found. `mac` is the
    interface's, `cache` the directory whose guests share a network of this name.
    """

    kind: NetworkKind
    name: str = ""
    address: str = ""
    mac: str = ""
    cache: Path = Path()


NO_NETWORK = Network(NetworkKind.NONE)

DHCP = "dhcp"
"""The address of a guest that asks for one in its network."""

AUTOMATIC = ""
"""The address of a guest that gets one when it is registered."""

SUBNET = "10.77.0.0/24"
"""Addresses of a network of guests, where nobody says others; networks share no frames."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What QEMU's emulator writes down: each block of code that it translates, once.

    Of code in `ranges` of addresses (first, last), into `file`.
    """

    file: Path
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine to be: everything QEMU's argument vector depends on.

    `held` stops it where its kernel panics or it is reset, until somebody has looked at it;
    `paused` has it begin to run only when QEMU's monitor is told so. `trace` is for an
    emulated one. `firmware` is a file in place of QEMU's own.
    """

    kernel: Path
    initrd: Path
    cmdline: str
    memory: int
    cpus: int
    accelerator: Accelerator
    ports: tuple[PortForward, ...] = ()
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    network: Network = NO_NETWORK
    icount: bool = False
    interactive: bool = False
    held: bool = False
    paused: bool = False
    trace: Trace | None = None
    firmware: Path | None = None


class Restart(StrEnum):
    """When a guest in the background is started again after its end."""

    NO = "no"
    ON_FAILURE = "on-failure"
    """Its program failed, or it was lost."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much of what a guest says is kept: so many files of so many bytes each at most.

    The file that is written is one of them.
    """

    size: int = 16 << 20
    files: int = 3


LOG_FILES_MAX = 100

LOG_LIMITS = LogLimits()
"""Those of a guest of which nothing else was said."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What a guest is given besides the application.

    `init` is process 1: our init (`ukl`), or the program itself (`app`). `shell` gives a shell on
    the console, `companion` starts another program beside the application; `start` False leaves
    the application out. `uid` and `gid` are the application's. `timeout` is in seconds. `append`
    goes to the kernel's command line. `icount` has the guest's clock count instructions.
    `verbose` shows the kernel's messages. `network` is the second interface, `log` bounds the
    console's file (None: unbounded).
    """

    mode: Mode = Mode.UNIKERNEL
    init: Literal["ukl", "app"] = "ukl"
    shell: bool = False
    companion: tuple[str, ...] = ()
    start: bool = True
    uid: int = 0
    gid: int = 0
    timeout: float | None = None
    append: tuple[str, ...] = ()
    icount: bool = False
    verbose: bool = False
    network: Network = NO_NETWORK
    log: LogLimits | None = None

    @property
    def is_process(self) -> bool:
        """Whether the program runs as a normal process."""
        return self.mode is Mode.PROCESS


class Outcome(StrEnum):
    """How a run ended, told apart by the status channel alone."""

    EXITED = "exited"
    SIGNALED = "signaled"
    PANICKED = "panicked"
    TIMEOUT = "timeout"
    LOST = "lost"
    STOPPED = "stopped"
    FAILED = "failed"
    """The guest's init could not do what it was asked (execve of the program, above all)."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run. `status` is the exit status, or the signal's number.

    `started` is the guest's own time in seconds until the program was started.
    """

    outcome: Outcome
    status: int | None
    console: Path
    seconds: float
    detail: str = ""
    started: float | None = None
