# SPDX-License-Identifier: GPL-2.0
"""Values, errors, progress lines and shipped files, for all other packages."""
