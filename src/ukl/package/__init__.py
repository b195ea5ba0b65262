# SPDX-License-Identifier: GPL-2.0
"""Writes images to run on other machines and clusters, and lists what is in them."""
