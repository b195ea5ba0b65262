# SPDX-License-Identifier: GPL-2.0
"""Recipes: programs that are built by their own build system, from a source that is verified.

debian.py     source packages of the distribution, by apt
fetch.py      a directory, a tarball or a source package -> a tree, and what names its content
build.py      the tree built in the cache -> a program with its unikernel form
python.py     the files of a Python program, and what of it cannot be in a guest
"""
