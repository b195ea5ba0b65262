// SPDX-License-Identifier: GPL-2.0
/* The other half of common.c. */
extern void other(void);

int jiffies;
char shared[100];

void other(void)
{
	jiffies = 42;
	shared[99] = 9;
}
