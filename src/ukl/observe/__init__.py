# SPDX-License-Identifier: GPL-2.0
"""Examines a running or crashed guest: gdb, drgn, perf, trace."""
