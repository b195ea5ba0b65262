# SPDX-License-Identifier: GPL-2.0
"""The table of settings: one row for each thing that a person can set about a guest.

From a row come the key of `ukl.toml` and of `compose.toml`, their schema and its remedies, the
option of each verb that takes it, its help, its completion and man page, and the tables of the
documentation. `AppSpec` has a field of the same name; a test compares both. To add a setting,
write a row here, a field in `AppSpec`, and the use of it.

Nothing here is slow to import: a shell that completes a word loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ukl.base.model import (
    LOG_FILES_MAX,
    LOG_LIMITS,
    AppSpec,
    Level,
    Mode,
    Restart,
    Returns,
)
from ukl.settings import values
from ukl.settings.setting import (
    EVERY,
    KERNELS,
    MAKES,
    Form,
    Option,
    Setting,
    Verb,
    longer,
    text,
    united,
)
from ukl.settings.volumes import merged, parse_disk, parse_volume, write_disk, write_volume

_TEXT_OR_NUMBER = (str, int)

APPLICATION: tuple[Setting, ...] = (
    Setting(
        "name",
        "app.name",
        Form.TEXT,
        "Name of the application.",
        '"tcp-echo"',
        more="letters, digits, `.`, `_`, `-`; at most 31",
        parse=text(values.parse_name),
        default="the directory's name",
    ),
    Setting(
        "sources",
        "app.sources",
        Form.LIST,
        "C, C++ or assembly files.",
        '["main.c"]',
        parse=values.host_file,
        merge=longer,
        default="none; then `objects` names something",
    ),
    Setting(
        "program",
        "app.program",
        Form.TEXT,
        "An executable that ukl-cc linked, in place of `sources`.",
        '"./server"',
        parse=values.host_file,
    ),
    Setting(
        "args",
        "app.args",
        Form.LIST,
        "Arguments of the program, without its name.",
        '["-p", "5555"]',
        option=Option(
            (),
            frozenset({Verb.RUN, Verb.PACKAGE, Verb.TRIM}),
            "[-- ARGS]...",
            "Arguments of the program, instead of the manifest's.",
        ),
        compose=True,
    ),
    Setting(
        "env",
        "app.env",
        Form.TABLE,
        "Environment variables of the program.",
        '{ KEY = "value" }',
        names=text(values.parse_variable),
        merge=united,
        option=Option(
            ("--env", "-e"),
            MAKES,
            "KEY=VALUE",
            "Set an environment variable (repeatable).",
            values.parse_env,
        ),
        compose=True,
    ),
    Setting(
        "entrypoint",
        "app.entrypoint",
        Form.TEXT,
        "Program in the guest that prepares things and starts the application.",
        '"/bin/start"',
        more="an absolute path. It runs as root in normal userspace in place of the application, "
        "gets the application's path as its first argument and `args` behind that, and executes "
        "the application",
        parse=text(values.parse_guest_path),
    ),
    Setting(
        "cflags",
        "compile.cflags",
        Form.LIST,
        "Compiler options, after those of `ukl`.",
        '["-O2", "-DNDEBUG"]',
        merge=longer,
    ),
    Setting(
        "libraries",
        "link.libraries",
        Form.LIST,
        "Libraries to link with.",
        '["m", "event"]',
        more='`"m"` stands for `-lm`; static archives are used',
        parse=text(values.parse_library),
        merge=longer,
    ),
    Setting(
        "objects",
        "link.objects",
        Form.LIST,
        "Object files and archives to link with.",
        '["util.o", "libextra.a"]',
        parse=values.host_file,
        merge=longer,
    ),
    Setting(
        "rewrite_syscalls",
        "link.rewrite_syscalls",
        Form.FLAG,
        "Turn `syscall` instructions into calls, where they can be.",
        "false",
    ),
    Setting(
        "level",
        "link.level",
        Form.CHOICE,
        "How the application calls the kernel.",
        '"base"',
        more='`"fast"`: without the work on entry and exit that only a tracer, a filter, a signal '
        'or the scheduler needs, unless one of them asks for it; `"base"`: with all of it '
        "([fast calls](kernel-abi.md#fast-calls))",
        choices=Level,
        option=Option(("--level",), MAKES),
        compose=True,
    ),
    Setting(
        "lto",
        "link.lto",
        Form.FLAG,
        "Compile the kernel's functions that it imports into it (clang).",
        "true",
        more="as far as they can be "
        "([how](../howto/kernel-functions.md#compile-them-into-the-program))",
        option=Option(("--lto",), MAKES),
        compose=True,
    ),
    Setting(
        "ports",
        "run.ports",
        Form.LIST,
        "Ports of this machine that are forwarded to the guest.",
        '["5555:5555"]',
        more='`"HOST:GUEST"` or `"ADDRESS:HOST:GUEST"`; TCP unless `/udp` ends it; the address is '
        "127.0.0.1 unless given",
        parse=text(values.parse_port),
        accepts=_TEXT_OR_NUMBER,
        write=values.write_port,
        option=Option(
            ("--publish", "-p"),
            frozenset({Verb.RUN}),
            "[ADDR:]HOST:GUEST[/udp]",
            "Forward a port (repeatable; instead of the manifest's).",
        ),
        compose=True,
    ),
    Setting(
        "volumes",
        "run.volumes",
        Form.LIST,
        "Directories of this machine that the guest mounts.",
        '["data:/data", "conf:/etc/app:ro"]',
        more='`"DIR:/path"`, with `:ro` behind it for reading only ([more](volumes.md))',
        parse=parse_volume,
        write=write_volume,
        merge=merged,
        option=Option(
            ("--volume", "-v"),
            frozenset({Verb.RUN}),
            "DIR:/PATH[:ro]",
            "Mount a directory of this machine in the guest (repeatable).",
        ),
        compose=True,
    ),
    Setting(
        "disks",
        "run.disks",
        Form.LIST,
        "Disks with ext4 that the guest mounts.",
        '["data.img:/data,size=1G"]',
        more='`"FILE"` or `"FILE:/path"`, with `,size=1G` behind it or not; on `/data` unless '
        "given; made if it is not there",
        parse=parse_disk,
        write=write_disk,
        merge=merged,
        option=Option(
            ("--disk",),
            frozenset({Verb.RUN}),
            "FILE[:/PATH][,size=SIZE]",
            "Mount a disk with ext4, made if it is not there (repeatable; on /data).",
        ),
        compose=True,
    ),
    Setting(
        "memory",
        "run.memory",
        Form.TEXT,
        "Memory of the guest.",
        '"256M"',
        more="at least 64M, with the profile `tiny` 11M",
        parse=text(values.parse_memory),
        accepts=_TEXT_OR_NUMBER,
        write=values.write_size,
        option=Option(("--memory", "-m"), EVERY, "SIZE", "Memory of the guest, like 256M."),
        compose=True,
    ),
    Setting(
        "cpus",
        "run.cpus",
        Form.NUMBER,
        "Processors of the guest.",
        "2",
        bounds=(1, values.CPUS_MAX),
        option=Option(("--cpus",), EVERY, "N", old=("--smp",)),
        compose=True,
    ),
    Setting(
        "returns",
        "run.returns",
        Form.CHOICE,
        "How interrupts and exceptions return to the application.",
        '"iret"',
        more='`"ret"`: by POPF and RET, which use 16 bytes below the red zone; `"iret"`: by IRET '
        "([more](kernel-abi.md#returns))",
        choices=Returns,
        option=Option(("--returns",), MAKES),
        compose=True,
    ),
    Setting(
        "page_size",
        "run.page_size",
        Form.TEXT,
        "Give anonymous memory in pages of this size where it fits.",
        '"64K"',
        more='`"16K"` to `"512K"`, `"1M"`, `"2M"`; for all programs in the guest. Fewer faults at '
        "first touches, more memory in use",
        parse=text(values.parse_page_size),
        write=values.write_size,
        option=Option(
            ("--page-size",),
            EVERY,
            "SIZE",
            "Give anonymous memory in pages of this size where it fits, like 64K.",
        ),
        compose=True,
        default="4 KiB, and 2 MiB where a program asks for it (madvise)",
    ),
    Setting(
        "populate",
        "run.populate",
        Form.FLAG,
        "Have memory there as soon as it is mapped.",
        "true",
        more="Before all else the program, as unikernel or as normal process, does "
        "`mlockall(MCL_CURRENT | MCL_FUTURE)`. Memory, threads' stacks too, is not swapped: no "
        "first touch is a fault, unless the main stack grows. `madvise(MADV_DONTNEED)` fails with "
        "EINVAL, and the program can map no more than there is. That takes CAP_IPC_LOCK, or a "
        "RLIMIT_MEMLOCK large enough: else the program writes a line to stderr and ends with "
        "status 126. Children of `fork()` have nothing locked",
        option=Option(("--populate",), EVERY),
        compose=True,
    ),
    Setting(
        "userspace",
        "run.userspace",
        Form.FLAG,
        "Have busybox and the program's normal form in the guest.",
        "false",
        more="`false`: neither busybox nor `/user/NAME` is there and takes memory; `ukl exec` and "
        "`ukl shell` find nothing. Options that need them (`--shell`, `--mode process`, `dhcp`) "
        "bring them",
        option=Option(("--userspace",), EVERY),
        compose=True,
        default="`true`; with the profile `tiny` `false`",
    ),
    Setting(
        "files",
        "run.files",
        Form.TABLE,
        "Files and directories of this machine that are copied into the guest.",
        '{ "/etc/app.conf" = "app.conf" }',
        more="absolute path in the guest = file or directory here",
        names=text(values.parse_guest_path),
        parse=values.host_path,
        merge=united,
    ),
    Setting(
        "with_",
        "kernel.with",
        Form.LIST,
        "Further applications in the same kernel.",
        '["../other", "hello"]',
        more="examples, directories, files, as TARGET; each is started by executing `/ukl/NAME`",
        merge=longer,
        option=Option(
            ("--with",),
            MAKES,
            "TARGET",
            "Link a further application into the same kernel (repeatable).",
            complete="targets",
        ),
        compose=True,
    ),
    Setting(
        "profile",
        "kernel.profile",
        Form.TEXT,
        "Kernel profile: `debug` (self-checks), `dwarf` (debug information), `tiny` (small).",
        '"debug"',
        option=Option(("--profile",), KERNELS, "NAME", complete="profiles"),
        compose=True,
        default="none",
    ),
    Setting(
        "pgo",
        "kernel.pgo",
        Form.TEXT,
        "Compile kernel and application by the counts of a training run.",
        '"app.pgo"',
        more="a file that `ukl build --pgo` made ([how](../howto/pgo.md))",
        parse=values.host_path,
        option=Option(
            ("--pgo",),
            KERNELS,
            "FILE",
            "Compile kernel and application by the counts of a training run; `ukl build` makes "
            "the file if it is not there.",
            Path,
        ),
        compose=True,
    ),
    Setting(
        "imports",
        "kernel.imports",
        Form.LIST,
        "C prototypes of the kernel's functions that the sources call.",
        '["unsigned long ktime_get_ns(void)"]',
        more="they are `kernel_NAME` for what includes `ukl-imports.h` "
        "([more](../howto/kernel-functions.md))",
        parse=text(values.parse_prototype),
    ),
    Setting(
        "kernel_options",
        "kernel.options",
        Form.TABLE,
        "Options of the kernel's configuration.",
        '{ TMPFS = "y" }',
        more='`"y"`, `"m"`, `"n"`, a number or a string; `true` is `"y"`, `false` is `"n"`; '
        "`CONFIG_` may be left out",
        names=text(values.parse_option_name),
        parse=lambda value, directory: values.parse_option_value(value),
        accepts=(str, int, bool),
        merge=united,
        option=Option(
            ("--set",),
            KERNELS,
            "CONFIG_X=VALUE",
            "Set a kernel option (repeatable).",
            values.parse_option,
        ),
    ),
)
"""What `ukl.toml` says of an application and its guest; the fields of AppSpec."""

GUEST: tuple[Setting, ...] = (
    Setting(
        "mode",
        "mode",
        Form.CHOICE,
        "Run it as a unikernel, or as a normal process on the same kernel.",
        '"process"',
        choices=Mode,
        option=Option(("--mode",), frozenset({Verb.RUN})),
        compose=True,
    ),
    Setting(
        "restart",
        "restart",
        Form.CHOICE,
        "When a guest in the background is started again after its end.",
        '"on-failure"',
        more='`"no"`, `"on-failure"` (a status other than 0, a signal, a panic, a lost machine) or '
        '`"always"`. Not after `stop`. The pause before is 0.5 s, twice as long each time up to '
        "60 s, and short again after 10 s of running",
        choices=Restart,
        option=Option(("--restart",), frozenset({Verb.RUN})),
        compose=True,
    ),
    Setting(
        "append",
        "append",
        Form.LIST,
        "Words for the kernel's command line.",
        '["threadirqs"]',
        option=Option(
            ("--append",),
            frozenset({Verb.RUN, Verb.BUILD, Verb.PACKAGE}),
            "WORD",
            "Add a word to the kernel's command line (repeatable).",
        ),
        compose=True,
    ),
    Setting(
        "log_size",
        "log_size",
        Form.TEXT,
        "Size at which the console's log file is rotated.",
        '"16M"',
        parse=text(values.parse_log_size),
        accepts=_TEXT_OR_NUMBER,
        write=values.write_size,
        option=Option(("--log-size",), frozenset({Verb.RUN}), "SIZE"),
        compose=True,
        default=f"`{values.write_size(LOG_LIMITS.size)}`",
    ),
    Setting(
        "log_files",
        "log_files",
        Form.NUMBER,
        "Keep N log files, including the current one.",
        "5",
        bounds=(1, LOG_FILES_MAX),
        option=Option(("--log-files",), frozenset({Verb.RUN}), "N"),
        compose=True,
        default=str(LOG_LIMITS.files),
    ),
)
"""What is said of a run, and not of the application: on the command line and in compose.toml."""

ROWS = {row.name: row for row in (*APPLICATION, *GUEST)}

Said = Mapping[str, Any]
"""What a command line or a compose file says: name of a row -> value. Absent: nothing."""

TABLES: Mapping[str, str] = {
    "app": "The program, and how it is started.",
    "compile": "How `sources` are compiled.",
    "link": "What is linked with them.",
    "run": "The virtual machine.",
    "kernel": "The kernel that the program is linked into.",
}
"""The tables of `ukl.toml` that the rows make up."""

OLD_KEYS: Mapping[str, str] = {"kernel.applications": "kernel.with"}
"""Keys of `ukl.toml` with another name now. They work, with a notice."""

OLD_SERVICE_KEYS: Mapping[str, str] = {"applications": "with"}
"""The same for a service of `compose.toml`."""


def overridden(spec: AppSpec, said: Said) -> AppSpec:
    """Return the specification with what was said in the place of what it says. Pure."""
    changes = {
        name: ROWS[name].merge(getattr(spec, name), value)
        for name, value in said.items()
        if hasattr(spec, name)
    }
    if "pgo" in said:  # one file has the counts of all applications of a kernel
        applications = changes.get("with_", spec.with_)
        changes["with_"] = tuple(replace(each, pgo=said["pgo"]) for each in applications)
    return replace(spec, **changes)
