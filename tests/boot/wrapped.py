# SPDX-License-Identifier: GPL-2.0
"""Builds programs as people do, by `ukl wrap -- COMMAND`, for tests that boot them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.boot.harness import Built, Lab
from ukl.base.model import AppSpec
from ukl.settings import manifest
from ukl.wrap import settings

SECONDS = 600
"""What a build may take."""


def build(lab: Lab, directory: Path, program: str, *command: str, **variables: str) -> Built:
    """Run `command` in `directory`, and return the program that it makes, linked into a kernel."""
    return lab.build(made(lab, directory, program, *command, **variables))


def made(lab: Lab, directory: Path, program: str, *command: str, **variables: str) -> AppSpec:
    """Run `command` in `directory`, and return the description of the program that it makes."""
    environment = {
        **os.environ,
        **settings.environment(store=lab.store),
        "UKL_CACHE_DIR": str(lab.store.root),
        **variables,
    }
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return manifest.resolve(str(directory / program))
