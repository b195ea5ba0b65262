# SPDX-License-Identifier: GPL-2.0
"""Recipes: build programs by their own build system, from a verified source.

newest.py     finds the version in a source package's name
debian.py     downloads source packages of the distribution, by apt
fetch.py      makes a tree from a directory, tarball or source package, and identifies its content
build.py      builds the tree in the cache: a program with its unikernel form
python.py     finds the files of a Python program, and what cannot run in a guest
"""
