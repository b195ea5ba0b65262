#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The part of `conf --allnoconfig` that matters: options that are not defined, or
# whose (single) dependency is off, are dropped silently.
awk '
	FNR == NR {
		if ($1 == "config") name = $2
		if ($1 == "config") known["CONFIG_" name] = 1
		if ($1 == "depends" && !done[name]++) needs["CONFIG_" name] = "CONFIG_" $3
		next
	}
	/^CONFIG_/ { split($0, part, "="); value[part[1]] = $0; order[++count] = part[1] }
	END {
		for (i = 1; i <= count; i++) {
			option = order[i]
			if (!known[option]) continue
			if (needs[option] != "" && value[needs[option]] != needs[option] "=y") continue
			print value[option]
		}
	}
' "$1" "$2"
