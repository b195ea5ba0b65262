# SPDX-License-Identifier: GPL-2.0
"""Evaluates measurements, from a run's output to figures. Builds and starts nothing."""
