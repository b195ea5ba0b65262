/* SPDX-License-Identifier: GPL-2.0 */
#ifndef STRESS_H
#define STRESS_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("not ok %s:%d: %s (errno %d)\n", __FILE__,	\
		       __LINE__, #condition, errno);			\
		fflush(stdout);						\
		_exit(1);						\
	}								\
} while (0)

/* For handlers, which cannot print: the first line that failed; 0: none. */
extern atomic_int failed_line;
#define CHECK_IN_HANDLER(condition) do {				\
	int none = 0;							\
	if (!(condition))						\
		atomic_compare_exchange_strong(&failed_line, &none, __LINE__);	\
} while (0)

#define PERIOD_NS	10000000L
#define PAGES		32L
#define PAGE		4096L

/* A thread, and the counts of it and its signal handlers. */
struct worker {
	const char *name;
	void (*run)(struct worker *worker);
	pthread_t thread;
	unsigned long rounds;
	/* Signals that were queued for it, and that arrived in order */
	atomic_ulong sent, received;
	/* Expiries of its timer, and how many fewer there were than periods: the minimum
	 * of the last quarter
	 */
	timer_t timer;
	struct timespec start;
	atomic_ulong expiries;
	atomic_long missing;
	/* Writes to read-only pages; the address of the next one */
	unsigned long forbidden;
	atomic_ulong faults;
	char *volatile expected;
};

struct registers {
	unsigned long general[12], red_zone[16], sse[32];
};

void keep_registers(const struct registers *in, struct registers *out, unsigned long rounds);

extern atomic_bool stop;
extern __thread struct worker *self;

void compute(struct worker *worker);
void fault(struct worker *worker);
void split(struct worker *worker);
void count(struct worker *worker);
void fill(struct worker *worker);
void drain(struct worker *worker);

/* Prepare what workers share, before they start; and check the counts at the end. */
void workers_begin(void);
void workers_agree(const struct worker *workers, int n);

#endif /* STRESS_H */
