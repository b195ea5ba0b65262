// SPDX-License-Identifier: GPL-2.0
/*
 * Restartable sequences, and time slice extensions: a thread asks in its rseq area not to be
 * preempted for some microseconds (Linux 7.0 and later). That kernel has stricter rules for an area
 * that is larger than the one of glibc before 2.41.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "matrix.h"

#define MY_AT_RSEQ_FEATURE_SIZE		27
#define MY_PR_RSEQ_SLICE_EXTENSION	79
#define MY_SLICE_EXTENSION_SET		2
#define MY_SLICE_EXT_ENABLE		1
#define MY_NR_rseq_slice_yield		471

/* struct rseq of Linux 7.0; the C library's ends before `request`. */
static struct {
	uint32_t cpu_id_start, cpu_id;
	uint64_t rseq_cs;
	uint32_t flags, node_id, mm_cid;
	uint8_t request, granted;
	uint8_t reserved[34];
} __attribute__((aligned(64))) volatile area;

/* Take the place of the C library's area; its length is not in any header. */
static void take_area(void)
{
	char *old = (char *)__builtin_thread_pointer() + __rseq_offset;
	long length = 32;

	while (__rseq_size && syscall(SYS_rseq, old, length, RSEQ_FLAG_UNREGISTER, RSEQ_SIG))
		CHECK(errno == EINVAL && ++length <= 256);
	CHECK(!syscall(SYS_rseq, &area, sizeof(area), 0, RSEQ_SIG));
}

/* Start one that sleeps and wakes up, each time in order to preempt this process. */
static pid_t disturb(void)
{
	struct timespec little = { 0, 50000 };
	pid_t pid;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	pid = split();
	if (pid)
		return pid;
	while (getppid() != 1)
		nanosleep(&little, NULL);
	_exit(0);
}

/* Run `work` in a process that is disturbed. */
static void disturbed(int (*work)(void))
{
	pid_t disturber = disturb(), worker = split();

	if (!worker)
		_exit(work());
	OK("%s", end_of(worker));
	kill(disturber, SIGKILL);
	OK("%s", end_of(disturber));
}

/* Count down in a sequence. Return 0 if it was completed, 1 if it was aborted. */
static int count_down(unsigned long turns)
{
	int aborted;

	__asm__ volatile(".pushsection .data\n"
			 ".balign 32\n"
			 "6:\n"
			 ".long 0, 0\n"
			 ".quad 1f, 2f - 1f, 4f\n"
			 ".popsection\n"
			 "lea 6b(%%rip), %%rax\n"
			 "movq %%rax, %1\n"
			 "1:\n"
			 "decq %2\n"
			 "jnz 1b\n"
			 "2:\n"
			 "xorl %0, %0\n"
			 "jmp 5f\n"
			 ".long %c3\n"
			 "4:\n"
			 "movl $1, %0\n"
			 "5:\n"
			 : "=&a" (aborted), "=m" (area.rseq_cs), "+r" (turns)
			 : "i" (RSEQ_SIG) : "cc", "memory");
	return aborted;
}

static volatile sig_atomic_t rung;

static void ring(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	rung++;
}

static int count_disturbed(void)
{
	take_area();
	CHECK(!count_down(1));
	for (int i = 0; i < 200; i++) {
		CHECK(count_down(1UL << 40));
		CHECK(getppid() > 1);
	}
	return 0;
}

static void restart(void)
{
	struct itimerval every = { { 0, 20000 }, { 0, 20000 } }, never = { 0 };

	disturbed(count_disturbed);
	take_area();
	handle(SIGALRM, ring, 0);
	CHECK(!setitimer(ITIMER_REAL, &every, NULL));
	while (rung < 5)
		CHECK(count_down(1UL << 40));
	CHECK(!setitimer(ITIMER_REAL, &never, NULL));
	CHECK(!count_down(1));
	OK("aborted by the scheduler, and by signals");
}

static int ask(void)
{
	time_t end = time(NULL) + 20;
	int granted = 0, yielded = 0;

	take_area();
	CHECK(!prctl(MY_PR_RSEQ_SLICE_EXTENSION, MY_SLICE_EXTENSION_SET, MY_SLICE_EXT_ENABLE, 0, 0));
	while ((granted < 30 || !yielded) && time(NULL) < end) {
		area.request = 1;
		while (area.request)
			;
		if (!area.granted)
			continue;
		switch (granted++ % 3) {
		case 0:	/* Given back. */
			yielded += syscall(MY_NR_rseq_slice_yield);
			break;
		case 1:	/* Any other call ends it, too. */
			getppid();
			break;
		case 2:	/* The kernel takes back what is not given back. */
			while (area.granted)
				;
		}
		CHECK(!area.granted);
	}
	CHECK(granted >= 30);
	CHECK(yielded);
	return 0;
}

static void slice(void)
{
	if (getauxval(MY_AT_RSEQ_FEATURE_SIZE) > 32)
		disturbed(ask);
	else
		OK("none in this kernel");
}

const struct check sequence_checks[] = {
	{ "sequences.restart", restart },
	{ "sequences.slice", slice },
	{ NULL, NULL },
};
