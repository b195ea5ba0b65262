// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define SAMPLES		11	/* of a row; odd, the median is one of them */
#define MAX_ROWS	32
#define MAX_COUNT	(1UL << 30)

struct span {
	uint64_t ticks;
	uint64_t ns;
};

struct result {
	const struct bench_row *row;
	unsigned long count;
	struct span samples[SAMPLES];
};

static struct result results[MAX_ROWS];
static struct span total;
static uint64_t began_ticks, began_ns;

uint64_t bench_ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a" (low), "=d" (high) : : "memory");
	return (uint64_t)high << 32 | low;
}

uint64_t bench_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Read the counter innermost: it must not count the reading of the other clock. */
void bench_begin(void)
{
	began_ns = bench_ns();
	began_ticks = bench_ticks();
}

void bench_end(void)
{
	total.ticks += bench_ticks() - began_ticks;
	total.ns += bench_ns() - began_ns;
}

static uint64_t less(uint64_t all, uint64_t part, double scale)
{
	return all > part ? (uint64_t)((double)(all - part) * scale + 0.5) : 0;
}

void bench_less(uint64_t ticks, uint64_t ns, double scale)
{
	total.ticks = less(total.ticks, ticks, scale);
	total.ns = less(total.ns, ns, scale);
}

noreturn void bench_fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct span sample(const struct bench_row *row, unsigned long count)
{
	memset(&total, 0, sizeof(total));
	row->body(count);
	return total;
}

/* The shorter of two: other load on the machine must not decide the length of a loop. */
static uint64_t took(const struct bench_row *row, unsigned long count)
{
	uint64_t one = sample(row, count).ns, other = sample(row, count).ns;

	return one < other ? one : other;
}

/* Returns the count that takes at least `ns`; grows from 1. */
static unsigned long calibrate(const struct bench_row *row, uint64_t ns)
{
	for (unsigned long count = 1; count < MAX_COUNT;) {
		uint64_t time = took(row, count);

		if (time >= ns)
			return count;
		if (time * 16 < ns)
			count *= 8;
		else
			count = (unsigned long)(count * 1.1 * (double)ns / (double)time) + 1;
	}
	return MAX_COUNT;
}

static int wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(name, argv[i]) == 0)
			return 1;
	return argc == 0;
}

static void print(const struct result *result)
{
	printf("{\"row\": \"%s\", \"count\": %lu, \"ticks\": [", result->row->name,
	       result->count);
	for (int i = 0; i < SAMPLES; i++)
		printf("%s%llu", i ? ", " : "",
		       (unsigned long long)result->samples[i].ticks);
	printf("], \"ns\": [");
	for (int i = 0; i < SAMPLES; i++)
		printf("%s%llu", i ? ", " : "", (unsigned long long)result->samples[i].ns);
	printf("]}\n");
}

int bench_main(int argc, char **argv, const struct bench_row *rows, size_t number)
{
	uint64_t ns = 0;
	unsigned short cs;
	size_t done = 0;
	int used = 2;

	if (argc > 2 && strcmp(argv[1], "time") == 0) {
		ns = strtoull(argv[2], NULL, 10) * 1000000;
		used = 3;
	}
	if (argc < 2 || (strcmp(argv[1], "instructions") != 0 && ns == 0) ||
	    number > MAX_ROWS) {
		fprintf(stderr, "usage: %s instructions|time MILLISECONDS [ROW...]\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < number; i++) {
		struct result *result = &results[done];
		const struct bench_row *row = &rows[i];

		if (!wanted(row->name, argc - used, argv + used))
			continue;
		result->row = row;
		sample(row, row->count);	/* warms up page tables and the kernel's caches */
		result->count = ns ? calibrate(row, ns) : row->count;
		for (int j = 0; j < SAMPLES; j++)
			result->samples[j] = sample(row, result->count);
		done++;
	}
	__asm__("mov %%cs, %0" : "=r" (cs));
	printf("{\"bench\": \"%s\", \"mode\": \"%s\"}\n", argv[0],
	       (cs & 3) == 0 ? "supervisor" : "user");
	for (size_t i = 0; i < done; i++)
		print(&results[i]);
	return 0;
}
