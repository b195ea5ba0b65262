// SPDX-License-Identifier: GPL-2.0
/* Overruns a buffer if there is an argument: the canary must notice. */
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) static int copy(const char *text)
{
	char small[8];

	strcpy(small, text);
	__asm__ volatile("" : : "r" (small) : "memory");
	return small[0];
}

int main(int argc, char **argv)
{
	printf("%d\n", copy(argc > 1 ? argv[1] : "fits"));
	return 0;
}
