// SPDX-License-Identifier: GPL-2.0
/* Crashes as its argument says, some calls deep; in a thread if there is a second argument. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int depth = 40;
static _Thread_local volatile int calls;
static unsigned char data[4096] __attribute__((aligned(4096))) = { 0xc3 };	/* ret */

__attribute__((noinline)) static void crash_inner(const char *how)
{
	depth++;
	calls++;
	if (!strcmp(how, "segv"))
		*(volatile int *)8 = 1;	/* line of the crash */
	else if (!strcmp(how, "abort"))
		abort();
	else if (!strcmp(how, "data"))
		((void (*)(void))(unsigned long)data)();
	else if (!strcmp(how, "made") && !mprotect(data, sizeof(data), PROT_READ | PROT_EXEC))
		((void (*)(void))(unsigned long)data)();
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

/* Nobody can unwind through glibc's clone3(), where the main thread may still be. */
static void wait_for_main(void)
{
	char state = 'R';

	while (state != 'S') {
		FILE *file = fopen("/proc/self/stat", "r");	/* of the main thread */

		if (!file || fscanf(file, "%*d %*s %c", &state) != 1)
			exit(1);
		fclose(file);
		usleep(1000);
	}
}

static void *thread(void *how)
{
	wait_for_main();
	crash_outer(how);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t other;

	printf("crashing by %s\n", how);
	fflush(stdout);
	if (!strcmp(how, "twice")) {
		if (!fork())
			crash_outer("abort");
		wait(NULL);
		crash_outer("segv");
	}
	if (argc > 2) {
		pthread_create(&other, NULL, thread, argv[1]);
		pthread_join(other, NULL);
	} else {
		crash_outer(how);
	}
	return 0;
}
