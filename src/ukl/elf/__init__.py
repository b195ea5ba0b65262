# SPDX-License-Identifier: GPL-2.0
"""Reads and changes ELF files, and reads archives. Starts no process."""
