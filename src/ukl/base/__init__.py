# SPDX-License-Identifier: GPL-2.0
"""What every other package may import: values, errors, progress, shipped files."""
