# SPDX-License-Identifier: GPL-2.0
"""What a person sets: `ukl.toml`, `compose.toml`, options; read, checked and explained."""
