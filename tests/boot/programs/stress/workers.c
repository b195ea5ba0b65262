// SPDX-License-Identifier: GPL-2.0
/* What the threads do: each keeps a count that another count must confirm. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "stress.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned long counted;		/* by all, under the mutex */
static int ends[2];			/* of the pipe */
static unsigned long filled, drained;	/* bytes */
static atomic_ulong *children;		/* that ran, counted by themselves */
static unsigned long forked;

void workers_begin(void)
{
	CHECK(!pipe(ends));
	children = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(children != MAP_FAILED);
}

/* Interrupts, signals, NMIs and migrations preserve all registers. */
void compute(struct worker *worker)
{
	unsigned long *words, seed = (unsigned long)worker;
	struct registers in, out;
	size_t i;

	while (!stop) {
		words = (unsigned long *)&in;
		for (i = 0; i < sizeof(in) / sizeof(*words); i++)
			words[i] = seed = seed * 6364136223846793005UL + 1442695040888963407UL;
		memset(&out, 0, sizeof(out));
		keep_registers(&in, &out, 20000 + seed % 100000);
		CHECK(!memcmp(&in, &out, sizeof(in)));
		worker->rounds++;
	}
}

/* New pages are zero, keep what is written, and refuse access as protected. */
void fault(struct worker *worker)
{
	char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct rusage before, after;
	long i;

	CHECK(area != MAP_FAILED);
	CHECK(!getrusage(RUSAGE_THREAD, &before));
	while (!stop) {
		for (i = 0; i < PAGES; i++) {
			CHECK(!area[i * PAGE]);
			area[i * PAGE] = (char)(i + 1);
		}
		CHECK(!mprotect(area, PAGES * PAGE, PROT_READ));
		for (i = 0; i < PAGES; i += 4) {
			worker->forbidden++;
			worker->expected = area + i * PAGE + 1;
			area[i * PAGE + 1] = 'x';
		}
		CHECK(!mprotect(area, PAGES * PAGE, PROT_READ | PROT_WRITE));
		for (i = 0; i < PAGES; i++) {
			CHECK(area[i * PAGE] == (char)(i + 1));
			CHECK(area[i * PAGE + 1] == (i % 4 ? 0 : 'x'));
		}
		CHECK(!madvise(area, PAGES * PAGE, MADV_DONTNEED));
		worker->rounds++;
	}
	CHECK(!getrusage(RUSAGE_THREAD, &after));
	CHECK(after.ru_minflt - before.ru_minflt >= (long)worker->rounds * PAGES);
	CHECK(!munmap(area, PAGES * PAGE));
}

static _Noreturn void child(volatile char *memory, char seen)
{
	long i;

	for (i = 0; i < PAGES; i++) {
		if (memory[i * PAGE] != seen)
			_exit(1);
		memory[i * PAGE] = 'c';
	}
	atomic_fetch_add(children, 1);
	_exit(40);
}

/* A child's memory is a copy of data, bss and mappings. */
void split(struct worker *worker)
{
	static char data[PAGES * PAGE];
	char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *memory = data;
	int status;
	pid_t pid;
	long i;

	CHECK(area != MAP_FAILED);
	while (!stop) {
		char now = (char)(worker->rounds % 64);

		for (i = 0; i < PAGES; i++)
			memory[i * PAGE] = now;
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			child(memory, now);
		forked++;
		/* While the child shares it */
		for (i = 0; i < PAGES; i += 2)
			memory[i * PAGE] = 'p';
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 40);
		for (i = 0; i < PAGES; i++)
			CHECK(memory[i * PAGE] == (i % 2 ? now : 'p'));
		memory = memory == data ? area : data;
		worker->rounds++;
	}
	CHECK(!munmap(area, PAGES * PAGE));
}

/* A contended mutex sleeps and wakes by a futex. */
void count(struct worker *worker)
{
	while (!stop) {
		CHECK(!pthread_mutex_lock(&mutex));
		counted++;
		if (!(counted % 16))
			sched_yield();
		CHECK(!pthread_mutex_unlock(&mutex));
		worker->rounds++;
	}
}

/* A pipe loses no data, and keeps the order. */
void fill(struct worker *worker)
{
	unsigned char bytes[512];
	size_t i, done;

	while (!stop) {
		for (i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)(filled + i);
		for (done = 0; done < sizeof(bytes); ) {
			ssize_t n = write(ends[1], bytes + done, sizeof(bytes) - done);

			CHECK(n > 0);
			done += (size_t)n;
		}
		filled += done;
		worker->rounds++;
	}
	CHECK(!close(ends[1]));
}

void drain(struct worker *worker)
{
	unsigned char bytes[300];
	ssize_t n, i;

	while ((n = read(ends[0], bytes, sizeof(bytes)))) {
		CHECK(n > 0);
		for (i = 0; i < n; i++)
			CHECK(bytes[i] == (unsigned char)(drained + (unsigned long)i));
		drained += (unsigned long)n;
		worker->rounds++;
	}
}

void workers_agree(const struct worker *workers, int n)
{
	unsigned long locked = 0;
	int i;

	for (i = 0; i < n; i++) {
		if (workers[i].run == count)
			locked += workers[i].rounds;
		CHECK(workers[i].faults == workers[i].forbidden);
		CHECK(workers[i].rounds > 0);
	}
	CHECK(counted == locked);
	CHECK(filled == drained);
	CHECK(*children == forked);
	printf("agree mutex %lu pipe %lu children %lu\n", counted, filled, forked);
}
