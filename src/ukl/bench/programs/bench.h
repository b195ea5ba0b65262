/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bench - rows of a measurement: what is done COUNT times between two looks at the clock
 *
 * A body does its work in a loop between bench_begin() and bench_end(); what is prepared
 * outside of them is no part of the figure. It may do so several times in one sample. The
 * row called "loop" is an empty loop of the same shape: who reads the samples subtracts it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

/*
 * `count` is how often one sample does it under -icount: few enough that most samples see
 * no tick of the timer, where that is possible.
 */
struct bench_row {
	const char *name;
	void (*body)(unsigned long count);
	unsigned long count;
};

void bench_begin(void);
void bench_end(void);

/* Of what was measured so far, take so much away, and scale the rest. */
void bench_less(uint64_t ticks, uint64_t ns, double scale);

/* Time-stamp counter; under -icount shift=0 it counts instructions. */
uint64_t bench_ticks(void);

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t bench_ns(void);

/* End the program with a message, and what errno says. */
noreturn void bench_fail(const char *what);

/* A statement that the compiler must leave where it is. */
#define bench_barrier() __asm__ volatile("" : : : "memory")

/*
 * Arguments: `instructions`, or `time MILLISECONDS` (each sample takes at least that long);
 * then the names of rows, none: all. Prints a line of JSON about the program, and one for
 * each row when all are done: nothing is written meanwhile.
 */
int bench_main(int argc, char **argv, const struct bench_row *rows, size_t number);

#define BENCH_MAIN(argc, argv, rows) \
	bench_main(argc, argv, rows, sizeof(rows) / sizeof((rows)[0]))

#endif
