# SPDX-License-Identifier: GPL-2.0
"""Parts of CPython's and numpy's own tests, with the interpreter of Debian's packages as it is.

Each part runs in ring 0 and as a normal process. No test may fail, or differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.apps.test_installed import LIBRARIES, libraries, unpacked
from tests.boot.harness import Built, Lab, mode_of
from ukl.base.model import AppSpec, Code, Guest, Outcome, Volume
from ukl.flow.bootable import bootable
from ukl.vm.launch import Options

PYTHON = ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib")
MODULES = "usr/lib/python3/dist-packages"
RESULTS = "/results"

LEFT_OUT = (
    "test_find_library_with_gcc",  # which the guest does not have, nor ld
    "test_find_library_with_ld",
    "test_access_parameter",  # executes a file that it may write
)
"""Tests of CPython that no guest passes, or none in ring 0."""


@dataclass(frozen=True)
class Suite:
    """A suite of the packages: how many of its tests pass at least, and its arguments.

    `files` are further files of these: path in the guest -> path in the packages.
    """

    packages: tuple[str, ...]
    args: tuple[str, ...]
    passed: int
    files: Mapping[str, str] = field(default_factory=dict)


SUITES = {
    "cpython": Suite(
        ("libpython3.11-testsuite",),
        (
            *("-m", "test", "--junit-xml", f"{RESULTS}/results.xml"),
            *(word for name in LEFT_OUT for word in ("--ignore", name)),
            *("test_ctypes", "test_faulthandler", "test_fork1", "test_json", "test_mmap"),
            *("test_signal", "test_socket", "test_subprocess", "test_threading"),
        ),
        passed=1700,
    ),
    "numpy": Suite(
        (
            *("python3-numpy", "libblas3", "liblapack3", "libgfortran5", "libquadmath0"),
            *("python3-pytest", "python3-attr", "python3-iniconfig", "python3-packaging"),
            *("python3-pluggy", "python3-hypothesis", "python3-sortedcontainers"),
            *("python3-pkg-resources",),
        ),
        (
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={RESULTS}/results.xml"),
            *(
                f"/{MODULES}/numpy/{each}"
                for each in (
                    "core/tests/test_dtype.py",
                    "core/tests/test_indexing.py",
                    "core/tests/test_ufunc.py",
                    "fft/tests",
                    "linalg/tests/test_linalg.py",
                    "random/tests/test_random.py",
                )
            ),
        ),
        passed=1000,
        files={
            f"/{MODULES}": MODULES,
            f"/{LIBRARIES}/libblas.so.3": f"{LIBRARIES}/blas/libblas.so.3",
            f"/{LIBRARIES}/liblapack.so.3": f"{LIBRARIES}/lapack/liblapack.so.3",
        },
    ),
}


def results(file: Path) -> list[tuple[str, str]]:
    """Return name and result of each test: passed, or what an element below it says."""
    found = []
    for case in ElementTree.parse(file).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = f"{case.get('classname', '')} {case.get('name')}"
        found.append((name, "".join(sorted(kinds)) or "passed"))
    return sorted(found)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SUITES)
def test_suite(lab: Lab, tmp_path: Path, name: str) -> None:
    suite = SUITES[name]
    top = unpacked(lab, f"python-{name}", (*PYTHON, *suite.packages))
    own = {"/usr/lib/python3.11": top / "usr/lib/python3.11"}
    spec = AppSpec(
        f"python-{name}",
        top,
        tmp_path,
        program=top / "usr/bin/python3.11",
        files={
            **libraries(top),
            **own,
            **{guest: top / path for guest, path in suite.files.items()},
        },
        env={"LC_ALL": "C.UTF-8"},
        code=Code.FILES,
        memory=2 << 30,
        cpus=2,
    )
    found = {}
    for user in (False, True):
        directory = tmp_path / mode_of(user)
        directory.mkdir()
        guest = Guest(mode=mode_of(user), timeout=1700)
        made = bootable(spec, lab.context, guest)
        volumes = (Volume(directory, RESULTS),)
        built = Built(replace(made.spec, volumes=volumes), made.image, made.initrd)
        options = Options(guest)
        ran = lab.run(built, *suite.args, cpus=2, env=dict(spec.env), options=options)
        assert ran.result.outcome is Outcome.EXITED, ran.result.detail + ran.text[-3000:]
        found[user] = results(directory / "results.xml")
        failed = [test for test, kind in found[user] if kind not in {"passed", "skipped"}]
        assert not failed, ran.text[-5000:]
        assert ran.result.status == 0, ran.text[-3000:]
        assert [kind for _, kind in found[user]].count("passed") >= suite.passed
    assert found[False] == found[True]
