# SPDX-License-Identifier: GPL-2.0
"""ELF files and archives: bytes in, facts out. Nothing here starts a process."""
