# SPDX-License-Identifier: GPL-2.0
"""Runs apt with sources and package lists of our own; the machine's stay unchanged.

apt's other configuration applies: proxies, credentials, certificates. No root is needed, and
nothing is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ukl.host import exec as host_exec

UPDATE_TIMEOUT = 300.0
DOWNLOAD_TIMEOUT = 900.0

ONLINE_REMEDY = "check that this machine reaches the mirrors: apt-get update"

_CONFIGURATION = """\
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/sources.list.d";
Dir::State::Lists "{root}/lists";
Dir::Cache "{root}/cache";
Debug::NoLocking "true";
APT::Sandbox::User "";
Acquire::Retries "2";
Acquire::Languages "none";
// The machine's commands are about its own lists.
#clear APT::Update;
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One of apt's indexes: what its Release file says, and the file that names it.

    `origin` and `label` are empty before the first update; `uri` is the archive's.
    """

    origin: str
    label: str
    uri: str
    file: str


def read_targets(text: str) -> list[Target]:
    """Parse the output of `apt-get indextargets`. Pure."""
    targets = []
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+): (.*)$", paragraph))
        if fields.get("Created-By") == "Packages" and (entry := fields.get("Sourcesentry")):
            origin, label = fields.get("Origin", ""), fields.get("Label", "")
            file = entry.rpartition(":")[0]
            targets.append(Target(origin, label, fields.get("Repo-URI", ""), file))
    return targets


def machine_targets() -> list[Target]:
    """Return the indexes of the machine's own configuration."""
    return read_targets(host_exec.run(["apt-get", "indextargets"], check=False).stdout)


class Apt:
    """apt with its files below `root`, an empty directory.

    `sources` are the files of its sources.list.d: name -> content. `more` is added to the
    configuration.
    """

    def __init__(self, root: Path, log: Path, sources: Mapping[str, str], more: str = "") -> None:
        self._log = log
        parts = root / "sources.list.d"
        for directory in (parts, root / "lists/partial", root / "cache/archives/partial"):
            directory.mkdir(parents=True)
        for name, text in sources.items():
            (parts / name).write_text(text)
        configuration = root / "apt.conf"
        configuration.write_text(_CONFIGURATION.format(root=root) + more)
        self.options = ("-c", str(configuration))

    def get(
        self, *words: str, cwd: Path | None = None, timeout: float = UPDATE_TIMEOUT
    ) -> host_exec.Completed:
        """Run apt-get and return its status and output."""
        argv = ["apt-get", *self.options, "-q", *words]
        return host_exec.run(argv, cwd=cwd, log=self._log, timeout=timeout, check=False)

    def cache(self, *words: str) -> str:
        """Return the output of apt-cache."""
        argv = ["apt-cache", *self.options, *words]
        done = host_exec.run(argv, log=self._log, timeout=UPDATE_TIMEOUT, check=False)
        return done.stdout
