# SPDX-License-Identifier: GPL-2.0
"""Virtual machines: QEMU's argument vector, the session with it, how a run ended."""
