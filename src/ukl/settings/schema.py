# SPDX-License-Identifier: GPL-2.0
"""JSON schemas for editors, made from what checks our TOML files.

An editor with a TOML language server finds the schema by the file's `#:schema` line, and
then completes keys, explains them and marks what is wrong. The schema is more lenient than
we are: what depends on files or on other keys is only found by `ukl` itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ukl.settings import manifest as manifest_room

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The version that TOML language servers read."""

PLACE = ".ukl/ukl.schema.json"
"""Where a new project has it, and its `#:schema` line names it."""

_TEXT_OR_NUMBER = {"type": ["string", "integer"]}

LENIENT: Mapping[str, Any] = {
    "run.ports": {"type": "array", "items": _TEXT_OR_NUMBER},
    "kernel.options": {
        "type": "object",
        "additionalProperties": {"type": ["string", "integer", "boolean"]},
    },
}
"""Keys whose values are converted before they are checked: the models do not tell."""

DESCRIPTIONS: Mapping[str, str] = {
    "app": "The program, and how it is started.",
    "app.name": "Name of the application: letters, digits, `.`, `_`, `-`; at most 31. "
    "Default: the directory's.",
    "app.sources": "C, C++ or assembly files.",
    "app.program": "An executable that ukl-cc linked, in place of `sources`.",
    "app.entrypoint": "Program in the guest that prepares things and starts the application.",
    "app.args": "The program's arguments, without its name.",
    "app.env": "Its variables.",
    "build": "A program with a build system of its own.",
    "build.source": "Where the source is: a directory, a tarball or a Debian source package.",
    "build.source.directory": "A directory, relative to this file; it is copied.",
    "build.source.inputs": 'Only these files of it: `["src/**"]`.',
    "build.source.url": "Address of a tarball.",
    "build.source.sha256": "Its SHA-256 sum.",
    "build.source.debian": "Name of a source package of the running distribution.",
    "build.source.version": "What its version must begin with.",
    "build.commands": "Commands, each run by `sh -e -c` in the source's top.",
    "build.program": "The executable they make, relative to the source's top.",
    "build.packages": "Debian packages the build needs; missing ones are installed.",
    "build.patches": "Files here, applied by `patch -p1`.",
    "build.overlay": "Files here, copied into the source's top before the commands.",
    "build.files": "Path in the guest = file of the built source.",
    "build.env": "Variables of the commands.",
    "python": "A Python program, in place of `sources`.",
    "python.script": "A file, or a directory with a `__main__.py`.",
    "python.path": "Directories with modules and packages.",
    "test": "The program's own tests: see `ukl compare`.",
    "test.commands": "Commands on this machine; HOST, PORT and PORT_N say where the guest is.",
    "test.runs": "Name of a test = the program's arguments; each is a guest of its own.",
    "test.quick": "A part of them that takes minutes.",
    "test.packages": "Debian packages the tests need.",
    "test.args": "The program's arguments while it is tested.",
    "test.files": "Path in the guest = file or directory here, for the tests only.",
    "test.disk": "Path in the guest where a new disk is mounted.",
    "test.shared": "Whether the guest has the built source under the path that it has here.",
    "test.ready": "A command, repeated until it ends with 0: then the program is ready.",
    "test.passed": "Regular expression for a line of output; its group is the test's name.",
    "test.failed": "The same for a test that failed.",
    "test.skipped": "The same for one that was skipped.",
    "test.timeout": "Seconds for each command.",
    "compile": "How `sources` are compiled.",
    "compile.cflags": "Compiler options, added to ours.",
    "link": "What is linked with them.",
    "link.libraries": 'Names of libraries: `"m"` for -lm; static archives are used.',
    "link.objects": "`.o` and `.a` files.",
    "link.rewrite_syscalls": "Whether `syscall` instructions become calls, where they can.",
    "link.level": "How the calls are done that `syscall` instructions become.",
    "link.lto": "Whether functions of the kernel that it imports are compiled into it.",
    "run": "The virtual machine.",
    "run.ports": '`"HOST:GUEST"` or `"ADDRESS:HOST:GUEST"`, TCP unless `/udp` stands behind it.',
    "run.volumes": '`"DIR:/path"`, with `:ro` for reading only: a directory here, mounted there.',
    "run.disks": '`"FILE:/path,size=1G"`: a disk with ext4, made if it is not there.',
    "run.memory": '`"256M"`, `"2G"`; at least 64M, with the profile `tiny` 11M.',
    "run.cpus": "Processors.",
    "run.returns": "How interrupts and exceptions return to the application.",
    "run.page_size": "Pages in which anonymous memory is given where it fits, like `64K`.",
    "run.populate": "Whether memory is there as soon as it is mapped, and stays.",
    "run.userspace": "Whether busybox and the program's normal form are beside it.",
    "run.files": "Path in the guest = file or directory here.",
    "kernel": "The kernel it is linked into.",
    "kernel.applications": "Further applications in the same kernel.",
    "kernel.profile": '`"debug"`: it checks itself; `"dwarf"`: it has types; '
    '`"tiny"`: it is small.',
    "kernel.pgo": "A file of counts that `ukl build --pgo` made, to compile both by.",
    "kernel.imports": "C prototypes of the kernel's functions that the sources call.",
    "kernel.options": '`CONFIG_X = "y"`, a number or a string; `CONFIG_` may be left out.',
}
"""Key -> what an editor says about it; docs/reference/ukl-toml.md says more."""


COMPOSE_LENIENT: Mapping[str, Any] = {
    "services.*.ports": {"type": "array", "items": _TEXT_OR_NUMBER},
    "services.*.network": {"type": ["boolean", "string"]},
    "services.*.depends_on": {
        "anyOf": [
            {"type": "array", "items": {"type": "string"}},
            {
                "type": "object",
                "additionalProperties": {"enum": ["started", "ready", "completed"]},
            },
        ]
    },
    "services.*.ready.ports": {"type": "array", "items": _TEXT_OR_NUMBER},
}

COMPOSE_DESCRIPTIONS: Mapping[str, str] = {
    "name": "The project's name; default: the directory's.",
    "services": "A table for each guest: [services.NAME].",
    "services.*.target": "What `ukl run` takes: an example, a directory, a C file, …",
    "services.*.applications": "Further targets in the same kernel.",
    "services.*.args": "The program's arguments, without its name.",
    "services.*.env": "Its variables.",
    "services.*.ports": '`"HOST:GUEST"` or `"ADDRESS:HOST:GUEST"`, TCP unless `/udp` ends it.',
    "services.*.volumes": '`"DIR:/path"`, with `:ro` for reading only.',
    "services.*.disks": '`"FILE:/path,size=1G"`: a disk with ext4, made if it is not there.',
    "services.*.memory": '`"256M"`, `"2G"`; at least 64M, with the profile `tiny` 11M.',
    "services.*.cpus": "Processors.",
    "services.*.level": "How the application calls the kernel.",
    "services.*.profile": '`"debug"`: it checks itself; `"dwarf"`: it has types; '
    '`"tiny"`: it is small.',
    "services.*.mode": '`"process"`: the same object as a normal process on the same kernel.',
    "services.*.network": "false: none; a name: that one; default: the project's own.",
    "services.*.address": '`"10.77.0.5/24"` or `"dhcp"` in that network.',
    "services.*.depends_on": "Services before it: a list (ready), or started, ready, completed.",
    "services.*.ready": "When it is ready; default: when somebody listens on all its ports.",
    "services.*.ready.ports": "Ports of the guest on which somebody has to listen.",
    "services.*.ready.command": "A command in the guest that has to end with 0.",
    "services.*.ready.timeout": "Seconds until it has to be ready.",
    "services.*.restart": "When it is started again after its end.",
    "services.*.log_size": "How large a file of what it says becomes, like `16M`.",
    "services.*.log_files": "How many of these files are kept, with the one that is written.",
    "services.*.append": "Words for the kernel's command line.",
}


def compose() -> dict[str, Any]:
    """Return the JSON schema of `compose.toml`."""
    from ukl.settings import compose  # noqa: PLC0415 - the manifest's is asked for without it

    return schema(compose.MODEL, "compose.toml", COMPOSE_DESCRIPTIONS, COMPOSE_LENIENT)


def manifest() -> dict[str, Any]:
    """Return the JSON schema of `ukl.toml`."""
    return schema(manifest_room.MODEL, "ukl.toml", DESCRIPTIONS, LENIENT)


def text(value: Mapping[str, Any]) -> str:
    """Return a schema as a file's content. Pure."""
    return json.dumps(value, indent=1) + "\n"


def schema(
    model: type[BaseModel],
    title: str,
    descriptions: Mapping[str, str],
    lenient: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON schema of a file that `model` checks. Pure.

    `descriptions` and `lenient` are by key, tables and keys joined by dots.
    """
    raw = model.model_json_schema()

    def plain(value: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Return it without references, titles and nulls, which TOML has not."""
        if reference := value.get("$ref"):
            value = {**raw["$defs"][reference.rpartition("/")[2]], **value}
        choices = [each for each in value.get("anyOf", ()) if each.get("type") != "null"]
        if len(choices) == 1:
            return plain({**choices[0], "default": value.get("default")}, path)
        left_out = {"title", "$ref", "$defs", "properties", "default"}
        result = {key: item for key, item in value.items() if key not in left_out}
        if path in descriptions:
            result["description"] = descriptions[path]
        if path in lenient:
            return {"description": descriptions[path], **lenient[path]}
        if value.get("default") not in (None, [], {}, "") and value.get("type") != "object":
            result["default"] = value["default"]
        if isinstance(items := value.get("items"), dict):
            result["items"] = plain(items, f"{path}[]")
        if isinstance(more := value.get("additionalProperties"), dict):
            result["additionalProperties"] = plain(more, f"{path}.*")
        if "properties" in value:
            result["properties"] = {
                name: plain(item, f"{path}.{name}".lstrip("."))
                for name, item in value["properties"].items()
            }
        return result

    return {"$schema": DRAFT, "title": title, **plain(raw, "")}
