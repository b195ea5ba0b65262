# SPDX-License-Identifier: GPL-2.0
"""Compiles an application and links it into the object that goes into the kernel."""
