# SPDX-License-Identifier: GPL-2.0
"""Settings of `ukl.toml`, `compose.toml` and the command line: read, checked and explained."""
