# SPDX-License-Identifier: GPL-2.0
"""Looks at a running or a crashed guest: gdb, drgn, perf, trace, top."""
