# SPDX-License-Identifier: GPL-2.0
"""Rewrites an application's `syscall` instructions to calls. Starts no process."""
