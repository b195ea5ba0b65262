# SPDX-License-Identifier: GPL-2.0
"""Finds the kernel options that an application does not use, for a smaller kernel."""
