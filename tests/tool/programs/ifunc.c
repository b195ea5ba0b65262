// SPDX-License-Identifier: GPL-2.0
/* Functions chosen at start: one's own, static and global, and the C library's. */
#include <stdio.h>
#include <string.h>

static int fast(int n) { return n * 2; }

static int (*resolve(void))(int) { return fast; }
int chosen(int n) __attribute__((ifunc("resolve")));
static int local(int n) __attribute__((ifunc("resolve")));
static int (*volatile pointer)(int) = chosen;

int main(int argc, char **argv)
{
	char a[300], b[300];
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;

	memset(a, 'x', sizeof(a));
	copy(b, a, sizeof(b));
	printf("%d %d %d %d %zu\n", chosen(2), local(3), pointer(4), memcmp(a, b, sizeof(a)),
	       strlen(argv[0]) > 0 ? (size_t)argc : 0);
	return 0;
}
