# SPDX-License-Identifier: GPL-2.0
"""`ukl check`: finds what would go wrong with a program in the kernel, before the build.

target.py and unit.py read the files; each of the other modules searches them for one
kind of hazard and yields findings. rules.py has the texts.
"""
