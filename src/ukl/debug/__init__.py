# SPDX-License-Identifier: GPL-2.0
"""Debugging of guests: symbols of kernel and application at their run-time addresses."""
