// SPDX-License-Identifier: GPL-2.0
/*
 * interrupts - the cost of a timer interrupt, by what it interrupts
 *
 * Does the same work without the timer and with it. The figure is the difference, divided by
 * the number of interrupts (/proc/interrupts): entry, the timer's handler, return. The timer
 * is that of a perf event, since a process's own timers stop until the process handles them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define SIZE	(8UL << 20)
#define PERIOD	20000	/* ns; instructions with -icount */

static char *buffer;
static int zero, timer;

/*
 * For about a second after the boot, until the kernel trusts its clock, it has no timer except
 * the tick (kernel/time/hrtimer.c, hrtimer_switch_to_hres()).
 */
static void wait_for_timers(void)
{
	for (int i = 0; i < 200; i++) {
		FILE *file = fopen("/proc/timer_list", "r");
		int active = 0;
		char line[256];

		while (file && !active && fgets(line, sizeof(line), file))
			active = sscanf(line, " .hres_active : %d", &active) == 1 && active;
		if (!file)
			bench_fail("/proc/timer_list");
		fclose(file);
		if (active)
			return;
		usleep(50000);
	}
	bench_fail("no timers of high resolution");
}

static void prepare(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = PERIOD,
		.disabled = 1,
	};

	cpu_set_t first;

	/* The first processor in /proc/interrupts. */
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof(first), &first))
		bench_fail("sched_setaffinity");
	zero = open("/dev/zero", O_RDONLY);
	timer = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	buffer = malloc(SIZE);
	if (zero < 0 || timer < 0 || !buffer)
		bench_fail("prepare");
	memset(buffer, 1, SIZE);
	wait_for_timers();
}

/* Returns the number of interrupts of the processor's timer. */
static unsigned long long interrupts(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	unsigned long long number = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " LOC: %llu", &number) == 1)
			break;
	if (!file || !number)
		bench_fail("/proc/interrupts");
	fclose(file);
	return number;
}

/* Work in one system call, which clears memory. */
static void in_kernel(void)
{
	if (read(zero, buffer, SIZE) != (ssize_t)SIZE)
		bench_fail("read");
}

static void in_program(void)
{
	for (unsigned long i = 0; i < SIZE / 4; i++)
		bench_barrier();
}

static void interrupted(void (*work)(void), unsigned long count)
{
	unsigned long long before, between, after;
	uint64_t ticks, ns;

	before = interrupts();
	ticks = bench_ticks();
	ns = bench_ns();
	work();
	ns = bench_ns() - ns;
	ticks = bench_ticks() - ticks;

	between = interrupts();
	if (ioctl(timer, PERF_EVENT_IOC_ENABLE, 0))
		bench_fail("perf event");
	bench_begin();
	work();
	bench_end();
	if (ioctl(timer, PERF_EVENT_IOC_DISABLE, 0))
		bench_fail("perf event");
	after = interrupts();
	bench_less(ticks, ns, (double)count / (double)(after - between - (between - before)));
}

static void loop(unsigned long count)
{
	(void)count;
	bench_begin();
	bench_end();
}

static void kernel(unsigned long count)
{
	interrupted(in_kernel, count);
}

static void program(unsigned long count)
{
	interrupted(in_program, count);
}

static const struct bench_row rows[] = {
	{ "loop", loop, 100 },
	{ "in the kernel", kernel, 100 },
	{ "in the program", program, 100 },
};

int main(int argc, char **argv)
{
	prepare();
	return BENCH_MAIN(argc, argv, rows);
}
