# SPDX-License-Identifier: GPL-2.0
"""Compiles kernel functions into the application: `--lto`.

The kernel itself stays unchanged, compiled by gcc. For each function that the application
imports, build.py has clang compile its source again, with the kernel's flags, to LLVM's
intermediate code. bodies.py extracts the function's body and rejects code that must not run as
application text. LLVM then optimises bodies and application as one program.
"""
