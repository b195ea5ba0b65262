# SPDX-License-Identifier: GPL-2.0
"""The rows of the table of settings (table.py) that belong to a run rather than an application."""

from __future__ import annotations

from ukl.base.model import LOG_FILES_MAX, LOG_LIMITS, Mode, Restart
from ukl.settings import values
from ukl.settings.setting import MAKES, TEXT_OR_NUMBER, Form, Option, Setting, Verb, text

GUEST: tuple[Setting, ...] = (
    Setting(
        "ring0",
        "ring0",
        Form.TEXT,
        "Program of a container image that runs in ring 0, instead of its first one.",
        '"/usr/bin/redis-server"',
        more="its absolute path in the image; whoever executes it "
        "([more](../howto/container-images.md#which-program-runs-in-ring-0))",
        parse=text(values.parse_guest_path),
        option=Option(
            ("--ring0",),
            frozenset({Verb.RUN, Verb.PACKAGE}),
            "PATH",
            "Program of a container image that runs in ring 0, instead of its first one.",
        ),
        compose=True,
        default="the first one",
    ),
    Setting(
        "venv",
        "venv",
        Form.TEXT,
        "Virtual environment with the packages of a Python script.",
        '"venv"',
        parse=values.python_venv,
        option=Option(
            ("--venv",),
            MAKES,
            "DIR",
            "Virtual environment with the packages of a Python script.",
        ),
    ),
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
        "When a guest in the background is restarted after it has ended.",
        '"on-failure"',
        more='`"no"`, `"on-failure"` (a status other than 0, a signal, a panic, a lost machine) or '
        '`"always"`. Never after `stop`. The delay is 0.5 s; it doubles with each restart, up to '
        "60 s, and is reset after the guest has run for 10 s",
        choices=Restart,
        option=Option(("--restart",), frozenset({Verb.RUN})),
        compose=True,
    ),
    Setting(
        "append",
        "append",
        Form.LIST,
        "Words to add to the kernel's command line.",
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
        accepts=TEXT_OR_NUMBER,
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
"""Settings of a run rather than an application: options, and keys of `compose.toml`."""
