# SPDX-License-Identifier: GPL-2.0
"""Writes the compiled standard library into the zip file that the argument names.

Run it with the Python it is for. The times in it are fixed: equal input gives equal bytes.
"""

import importlib.util
import marshal
import pathlib
import sys
import zipfile

LIBRARY = pathlib.Path(f"/usr/lib/python3.{sys.version_info.minor}")

LEFT_OUT = {
    "__pycache__", "ensurepip", "idlelib", "lib-dynload",
    "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo",
}  # fmt: skip
"""Names of directories: tests, tools for people, and what needs a missing module."""

EPOCH = (2020, 1, 1, 0, 0, 0)


def sources():
    """Return the source files, sorted by name."""
    for file in sorted(LIBRARY.rglob("*.py")):
        parents = file.relative_to(LIBRARY).parts[:-1]
        if not LEFT_OUT.intersection(parents) and "tests" not in parents:
            yield file


def compiled(file, name):
    """Return the content of the .pyc file for the source; tracebacks say `name`."""
    code = compile(file.read_bytes(), name, "exec", dont_inherit=True, optimize=0)
    # A .pyc that Python never compares with its source: flags 1, and no hash.
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def main(output):
    """Write the zip file."""
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sources():
            name = file.relative_to(LIBRARY)
            content = compiled(file, str(file))
            member = zipfile.ZipInfo(str(name.with_suffix(".pyc")), EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)


main(sys.argv[1])
