# SPDX-License-Identifier: GPL-2.0
"""This machine: processes, the cache, packages, what it can do."""
