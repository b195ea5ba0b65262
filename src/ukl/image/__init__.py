# SPDX-License-Identifier: GPL-2.0
"""File-system images that guests boot from, written by us: no root, no loop devices."""
