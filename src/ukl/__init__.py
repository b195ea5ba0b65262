# SPDX-License-Identifier: GPL-2.0
"""Unikernel Linux: an ordinary program, linked into the Linux kernel."""

__version__ = "0.2.0"
