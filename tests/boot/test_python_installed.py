# SPDX-License-Identifier: GPL-2.0
"""A Python program with an extension module: the installed interpreter, in ring 0 as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.boot.harness import Lab, mode_of
from tests.conftest import OPTIONAL
from ukl.base.model import AppSpec, Guest, PythonSpec
from ukl.settings import manifest
from ukl.vm.launch import Options

INCLUDES = sorted(Path("/usr/include").glob("python3.[1-9]*/Python.h"))
PYTHON = Path("/usr/bin/python3")

MODULE = r"""
#include <Python.h>

static PyObject *level(PyObject *self, PyObject *args)
{
	unsigned long cs;

	asm volatile("mov %%cs, %0" : "=r" (cs));
	return PyLong_FromLong(cs & 3);
}

static PyMethodDef methods[] = { { "level", level, METH_NOARGS, NULL }, { NULL } };
static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, "ring", NULL, -1, methods };

PyMODINIT_FUNC PyInit_ring(void)
{
	return PyModule_Create(&module);
}
"""

SCRIPT = """
import ctypes, ring, sqlite3, ssl, sys, threading

numbers = (ctypes.c_int * 3)(3, 1, 2)
pointer = ctypes.POINTER(ctypes.c_int)
order = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)(lambda a, b: a[0] - b[0])
ctypes.CDLL("libc.so.6").qsort(numbers, 3, 4, order)
thread = threading.Thread(target=lambda: print("thread", ring.level()))
thread.start(), thread.join()
print("level", ring.level(), "sorted", *numbers, "arguments", sys.argv[1:])
print("cached", bool(ring.__spec__), ssl.__cached__ is not None, sys.executable)
sys.exit(5)
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> AppSpec:
    """A script, and a directory with an extension module."""
    version = PYTHON.resolve().name
    headers = [file for file in INCLUDES if file.parent.name == version]
    if not headers:
        pytest.skip(f"{OPTIONAL} no headers of the installed interpreter (python3-dev)")
    top = tmp_path_factory.mktemp("extension")
    (top / "ring.c").write_text(MODULE)
    (top / "app.py").write_text(SCRIPT)
    (top / "lib").mkdir()
    words = ["-shared", "-fPIC", f"-I{headers[0].parent}", "ring.c", "-o", "lib/ring.so"]
    subprocess.run(["gcc", *words], check=True, cwd=top)
    (top / "ukl.toml").write_text('[python]\nscript = "app.py"\npath = ["lib"]\n')
    found = manifest.load(top / "ukl.toml")
    assert found.python == PythonSpec(top / "app.py", (top / "lib",))
    return found


@pytest.mark.parametrize("user", [False, True], ids=["unikernel", "process"])
def test_an_extension_module(lab: Lab, spec: AppSpec, user: bool) -> None:
    built = lab.build(spec)
    options = Options(Guest(mode=mode_of(user)))
    ran = lab.run(built, "a", env=dict(built.spec.env), options=options)
    level = 3 * user
    assert f"thread {level}" in ran.lines, ran.text
    assert f"level {level} sorted 1 2 3 arguments ['a']" in ran.lines
    assert f"cached True True {PYTHON.resolve()}" in ran.lines
    assert ran.result.status == 5
