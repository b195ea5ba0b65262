# SPDX-License-Identifier: GPL-2.0
"""Functions of the kernel compiled into the application: `--lto`.

The kernel stays as it is, compiled by gcc. Of each function that the application imports, the
source is compiled once more, by clang into LLVM's intermediate code with the kernel's own flags
(build.py); its body is cut out of that, and what may not run as application text is refused
(bodies.py); then both sides are optimised as one program.
"""
