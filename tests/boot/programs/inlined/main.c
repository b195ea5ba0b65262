// SPDX-License-Identifier: GPL-2.0
/*
 * Each line says whether a function of the kernel has its known result.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ukl-imports.h>

#include "other.h"

static void row(const char *name, int good)
{
	printf("%s: %s\n", name, good ? "ok" : "wrong");
}

int main(int argc, char **argv)
{
	static const unsigned char digits[] = "123456789";
	unsigned long long switches;
	unsigned long now;

	if (!ukl_in_kernel()) {
		puts("not here");
		return 0;
	}
	row("sqrt", root(1000000) == 1000);
	/*
	 * The check value of CRC-32 (ISO-HDLC). If it were called in the kernel, SMAP would deny
	 * access to the string: the function does not accept a user pointer.
	 */
	if (argc < 2 || strcmp(argv[1], "called") != 0)
		row("crc", ~kernel_crc32_le(~0u, digits, strlen((const char *)digits)) == 0xcbf43926);
	switches = kernel_nr_context_switches();
	usleep(10000);
	row("switches", kernel_nr_context_switches() > switches);
	now = kernel_ktime_get_mono_fast_ns();
	row("clock", now && kernel_ktime_get_mono_fast_ns() >= now);
	return 0;
}
