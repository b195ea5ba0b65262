# SPDX-License-Identifier: GPL-2.0
"""Starts, watches and stops the guests of a `compose.toml`."""
