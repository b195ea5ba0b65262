# SPDX-License-Identifier: GPL-2.0
"""The order of things: builds, boots, trains, measures and compares with the other packages."""
