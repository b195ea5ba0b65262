/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bench - rows of a measurement: work that is done COUNT times between two clock readings
 *
 * A body does its work in a loop between bench_begin() and bench_end(); preparations outside
 * of them do not count. It may call the pair several times in one sample. The row called
 * "loop" is an empty loop of the same shape: the reader of the samples subtracts it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

/*
 * `count` is how often one sample repeats the work under -icount: where possible, few enough
 * that most samples have no timer tick.
 */
struct bench_row {
	const char *name;
	void (*body)(unsigned long count);
	unsigned long count;
};

void bench_begin(void);
void bench_end(void);

/* Subtract @ticks and @ns from what was measured so far, and scale the rest. */
void bench_less(uint64_t ticks, uint64_t ns, double scale);

/* Time-stamp counter; under -icount shift=0 it counts instructions. */
uint64_t bench_ticks(void);

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t bench_ns(void);

/* End the program with a message and the text of errno. */
noreturn void bench_fail(const char *what);

/* A statement that the compiler must not move. */
#define bench_barrier() __asm__ volatile("" : : : "memory")

/*
 * Arguments: `instructions`, or `time MILLISECONDS` (each sample takes at least that long);
 * then the names of rows, none: all. Prints a line of JSON about the program, and one for
 * each row, when all rows are done; it writes nothing before that.
 */
int bench_main(int argc, char **argv, const struct bench_row *rows, size_t number);

#define BENCH_MAIN(argc, argv, rows) \
	bench_main(argc, argv, rows, sizeof(rows) / sizeof((rows)[0]))

#endif
