# SPDX-License-Identifier: GPL-2.0
"""Sequences of steps in other packages: build, boot, train, measure and compare."""
