// SPDX-License-Identifier: GPL-2.0
/* Denies itself the time stamp counter. */
#include <stdio.h>
#include <sys/prctl.h>
#include <x86intrin.h>
int main(void)
{
	int r = prctl(PR_SET_TSC, PR_TSC_SIGSEGV), now = 0;
	prctl(PR_GET_TSC, &now);
	fprintf(stderr, "set: %d, now %d\n", r, now);
	fprintf(stderr, "rdtsc worked: %d\n", __rdtsc() != 0);
}
