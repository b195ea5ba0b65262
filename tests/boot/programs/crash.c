// SPDX-License-Identifier: GPL-2.0
/* Crashes as its argument says, some calls deep; in a thread if there is a second argument. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int depth = 40;

__attribute__((noinline)) static void crash_inner(const char *how)
{
	depth++;
	if (!strcmp(how, "segv"))
		*(volatile int *)8 = 1;	/* line of the crash */
	else if (!strcmp(how, "abort"))
		abort();
	else if (!strcmp(how, "reset"))	/* no page table: the fault cannot be handled */
		__asm__ volatile ("cli; xor %%eax, %%eax; mov %%rax, %%cr3" ::: "rax");
	else if (!strcmp(how, "spin"))
		for (;;)
			depth++;
	depth++;
}

__attribute__((noinline)) static void crash_panic(void)
{
	FILE *file = fopen("/proc/sysrq-trigger", "w");

	if (file) {
		fputs("c", file);
		fclose(file);
	}
	depth++;
}

__attribute__((noinline)) static void crash_outer(const char *how)
{
	if (!strcmp(how, "panic"))
		crash_panic();
	else
		crash_inner(how);
	depth++;
}

static void *thread(void *how)
{
	crash_outer(how);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t other;

	printf("crashing by %s\n", how);
	fflush(stdout);
	if (argc > 2) {
		pthread_create(&other, NULL, thread, argv[1]);
		pthread_join(other, NULL);
	} else {
		crash_outer(how);
	}
	return 0;
}
