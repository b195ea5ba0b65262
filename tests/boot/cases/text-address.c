// SPDX-License-Identifier: GPL-2.0
/* System calls with an address in the own text. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/mman.h>
#define P(e) do { errno = 0; long r = (e); printf("%-45s %ld errno %d\n", #e, r, errno); } while (0)
int main(void)
{
	char *page = (char *)((unsigned long)main & -4096L);
	unsigned char v;
	int fds[2];
	pipe(fds);
	P(write(fds[1], main, 16));
	P(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	P(mlock(page, 4096));
	P(madvise(page, 4096, MADV_WILLNEED));
	P(mincore(page, 4096, &v));
}
