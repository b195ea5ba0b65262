# SPDX-License-Identifier: GPL-2.0
"""Finds an application's `syscall` instructions and makes them calls. Starts no process."""
