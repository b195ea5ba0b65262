// SPDX-License-Identifier: GPL-2.0
/*
 * stress SECONDS: threads that compute, fault, fork, lock and communicate, all under
 * a stream of queued signals and timers. Both sides of each exchange count, and the
 * counts have to agree in the end. The test adds CPU hotplug and non-maskable
 * interrupts from outside.
 *
 * Exits with 0 and "agree" lines, or with 1 and the first "not ok".
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "stress.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id	_sigev_un._tid
#endif

#define SIG_QUEUED	(SIGRTMIN)
#define SIG_TIMER	(SIGRTMIN + 1)
#define ALTSTACK	(64 << 10)
/* Seconds to wait for pending signals at the end, on a busy machine */
#define PATIENCE	120

atomic_int failed_line;
atomic_bool stop;
__thread struct worker *self;

static struct worker workers[] = {
	{ .name = "compute", .run = compute },
	{ .name = "compute", .run = compute },
	{ .name = "compute", .run = compute },
	{ .name = "fault", .run = fault },
	{ .name = "fault", .run = fault },
	{ .name = "fork", .run = split },
	{ .name = "count", .run = count },
	{ .name = "count", .run = count },
	{ .name = "fill", .run = fill },
	{ .name = "drain", .run = drain },
};

#define N	((int)(sizeof(workers) / sizeof(workers[0])))

static atomic_int ready;
static atomic_bool leave, late;

static long nanoseconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000000000L + now.tv_nsec - start->tv_nsec;
}

static void on_queued(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	CHECK_IN_HANDLER(info->si_code == SI_QUEUE);
	CHECK_IN_HANDLER(info->si_pid == getpid());
	/* In the order of sending */
	CHECK_IN_HANDLER((unsigned long)info->si_value.sival_ptr ==
			 atomic_fetch_add(&self->received, 1));
}

static void on_timer(int sig, siginfo_t *info, void *context)
{
	long missing;

	(void)sig;
	(void)context;
	CHECK_IN_HANDLER(info->si_code == SI_TIMER && info->si_value.sival_ptr == self);
	self->expiries += 1 + (unsigned long)info->si_overrun;
	missing = nanoseconds_since(&self->start) / PERIOD_NS - (long)self->expiries;
	/* No expiry is early, and lost expiries do not come later. */
	CHECK_IN_HANDLER(missing >= 0);
	if (late && missing < self->missing)
		self->missing = missing;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)((unsigned long)info->si_addr & ~(PAGE - 1));

	(void)sig;
	(void)context;
	if (!self || info->si_code != SEGV_ACCERR || info->si_addr != self->expected) {
		static const char words[] = "not ok: an unexpected fault\n";

		if (write(1, words, sizeof(words) - 1) < 0)
			_exit(2);
		_exit(1);
	}
	self->faults++;
	CHECK_IN_HANDLER(!mprotect(page, PAGE, PROT_READ | PROT_WRITE));
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {
		.sa_sigaction = handler,
		/* Threads that have an alternate stack use it. */
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
	};

	CHECK(!sigaction(sig, &action, NULL));
}

static void start_timer(struct worker *worker)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIG_TIMER,
		.sigev_value.sival_ptr = worker,
	};
	struct itimerspec when = { .it_interval.tv_nsec = PERIOD_NS };

	event.sigev_notify_thread_id = gettid();
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &worker->timer));
	CHECK(!clock_gettime(CLOCK_MONOTONIC, &worker->start));
	when.it_value = worker->start;
	when.it_value.tv_nsec += PERIOD_NS;
	if (when.it_value.tv_nsec >= 1000000000L) {
		when.it_value.tv_nsec -= 1000000000L;
		when.it_value.tv_sec++;
	}
	CHECK(!timer_settime(worker->timer, TIMER_ABSTIME, &when, NULL));
}

static void *run(void *argument)
{
	static char stacks[N][ALTSTACK];
	struct worker *worker = argument;
	stack_t alternate = { .ss_sp = stacks[worker - workers], .ss_size = ALTSTACK };

	self = worker;
	worker->missing = 1000000;
	if ((worker - workers) % 2)
		CHECK(!sigaltstack(&alternate, NULL));
	start_timer(worker);
	ready++;
	worker->run(worker);
	/* Wait for pending signals */
	while (!leave)
		usleep(1000);
	CHECK(!timer_delete(worker->timer));
	return NULL;
}

/* Keep sending signals to each worker until the time is over. */
static void pelt(const struct timespec *begin, long seconds)
{
	long length = seconds * 1000000000L, now;

	while ((now = nanoseconds_since(begin)) < length) {
		for (int i = 0; i < N; i++) {
			union sigval value = { .sival_ptr = (void *)workers[i].sent };
			int err = pthread_sigqueue(workers[i].thread, SIG_QUEUED, value);

			/* EAGAIN: too many are queued. */
			CHECK(!err || err == EAGAIN);
			if (!err)
				workers[i].sent++;
		}
		if (now > length / 4 * 3)
			late = true;
		CHECK(!failed_line);
		usleep(2000);
	}
}

/* Wait until all signals have arrived, and a last one of each timer. */
static void settle(void)
{
	struct timespec begin;
	int i = 0;

	CHECK(!clock_gettime(CLOCK_MONOTONIC, &begin));
	while (i < N) {
		if (workers[i].received == workers[i].sent && workers[i].missing <= 1) {
			i++;
			continue;
		}
		if (nanoseconds_since(&begin) > PATIENCE * 1000000000L) {
			printf("not ok: %s got %lu of %lu signals; %lu expiries, %ld missing\n",
			       workers[i].name, workers[i].received, workers[i].sent,
			       workers[i].expiries, workers[i].missing);
			exit(1);
		}
		usleep(2000);
	}
}

int main(int argc, char **argv)
{
	unsigned long signals = 0, expiries = 0, faults = 0;
	struct timespec begin;
	int i;

	CHECK(argc == 2);
	setvbuf(stdout, NULL, _IOLBF, 0);
	handle(SIG_QUEUED, on_queued);
	handle(SIG_TIMER, on_timer);
	handle(SIGSEGV, on_fault);
	workers_begin();
	for (i = 0; i < N; i++)
		CHECK(!pthread_create(&workers[i].thread, NULL, run, &workers[i]));
	while (ready < N)
		usleep(1000);
	CHECK(!clock_gettime(CLOCK_MONOTONIC, &begin));
	pelt(&begin, atol(argv[1]));
	stop = true;
	settle();
	leave = true;
	for (i = 0; i < N; i++) {
		CHECK(!pthread_join(workers[i].thread, NULL));
		printf("# %s %lu rounds\n", workers[i].name, workers[i].rounds);
		signals += workers[i].received;
		expiries += workers[i].expiries;
		faults += workers[i].faults;
	}
	CHECK(!failed_line);
	workers_agree(workers, N);
	printf("agree signals %lu expiries %lu faults %lu\n", signals, expiries, faults);
	return 0;
}
