# SPDX-License-Identifier: GPL-2.0
"""Measurements: what a run printed, made into numbers. Builds and starts nothing."""
