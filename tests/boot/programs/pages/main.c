// SPDX-License-Identifier: GPL-2.0
/*
 * Touches each page of new memory of several kinds, and prints the number of faults.
 * With an argument: executes itself without privileges, and with a low RLIMIT_MEMLOCK.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096L
#define HUGE_PAGE	(2L << 20)
#define SIZE	(2 * HUGE_PAGE)

static char bss[SIZE];

static void touch(const char *name, volatile char *memory)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	for (long i = 0; i < SIZE; i += PAGE)
		memory[i] = 1;
	getrusage(RUSAGE_SELF, &after);
	printf("%s: %ld\n", name, after.ru_minflt - before.ru_minflt);
}

static void *mapped(void)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(2);
	return memory;
}

/* Memory for which huge pages are asked, and that begins with one. */
static void *advised(void)
{
	char *memory = mmap(NULL, SIZE + HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || madvise(memory, SIZE + HUGE_PAGE, MADV_HUGEPAGE))
		exit(4);
	return (char *)(((unsigned long)memory + HUGE_PAGE - 1) & -HUGE_PAGE);
}

/* What a garbage collector or a sanitizer reserves, and never uses in full. */
static void reserve(const char *name, int protection)
{
	void *memory = mmap(NULL, 1L << 40, protection,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	printf("%s: %d\n", name, memory == MAP_FAILED ? errno : 0);
	munmap(memory, 1L << 40);
}

/* Locked memory of this process, in KiB. */
static long locked(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[128];
	long size = -1;

	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "VmLck: %ld", &size);
	fclose(status);
	return size;
}

int main(int argc, char **argv)
{
	struct rlimit little = { 64 << 10, 64 << 10 };
	char *memory;

	if (argc > 1) {
		argv[1] = NULL;
		if (!setrlimit(RLIMIT_MEMLOCK, &little) && !setuid(1000))
			execv("/proc/self/exe", argv);
		return 3;
	}
	memory = mapped();
	setvbuf(stdout, NULL, _IONBF, 0);
	touch("mapped", memory);
	touch("bss", bss);
	touch("heap", (char *)sbrk(SIZE + PAGE) + PAGE / 2);
	printf("locked: %ld\n", locked());
	touch("advised", advised());
	reserve("reserved", PROT_READ | PROT_WRITE);
	reserve("inaccessible", PROT_NONE);
	/* A child gets its own copies, one fault each. */
	if (!fork()) {
		touch("copied", memory);
		_exit(0);
	}
	wait(NULL);
	munlockall();
	printf("unlocked: %ld\n", locked());
	return 0;
}
