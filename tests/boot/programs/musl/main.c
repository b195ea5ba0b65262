// SPDX-License-Identifier: GPL-2.0
/* Tests another C library on this kernel: each line has the result of one part. */

#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS	4
#define CANCELS	500

extern char **environ;

static volatile sig_atomic_t caught;
static _Thread_local int own;

static void take(int number)
{
	caught = number;
}

static void *count(void *argument)
{
	own++;
	*(int *)argument += own;
	return NULL;
}

static void clean_up(void *argument)
{
	*(int *)argument = 5;
}

static void *wait_for_ever(void *argument)
{
	int ends[2];
	char byte;

	if (pipe(ends))
		return NULL;
	pthread_cleanup_push(clean_up, argument);
	for (;;)
		(void)!read(ends[0], &byte, 1);
	pthread_cleanup_pop(0);
	return NULL;
}

static void threads(void)
{
	pthread_t all[THREADS];
	int counts[THREADS] = { 0 }, sum = 0;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&all[i], NULL, count, &counts[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(all[i], NULL);
		sum += counts[i];
	}
	printf("threads %d\nthread-local %d\n", sum, own);
}

static void signals(void)
{
	struct sigaction action = { .sa_handler = take };

	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	printf("signal %d\n", (int)caught);
}

static void children(void)
{
	char *const argv[] = { "sh", "-c", "exit 4", NULL };
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child)
		_exit(3);
	waitpid(child, &status, 0);
	printf("child %d\n", WEXITSTATUS(status));
	if (posix_spawn(&child, "/bin/sh", NULL, NULL, argv, environ))
		return;
	waitpid(child, &status, 0);
	printf("spawned %d\n", WEXITSTATUS(status));
}

/* musl decides by the address whether a signal came before the system call or in it. */
static void cancellation(void)
{
	struct timespec moment = { .tv_nsec = 50000000 };
	pthread_t thread;
	int cleaned = 0;

	pthread_create(&thread, NULL, wait_for_ever, &cleaned);
	nanosleep(&moment, NULL);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	printf("cancelled %d\n", cleaned);
}

static int ends[2];
static _Atomic int taken;

static void *take_bytes(void *argument)
{
	char byte;

	for (;;)
		if (read(ends[0], &byte, 1) == 1)
			taken++;
	return argument;
}

/* At whatever instruction the signal comes: a byte is counted or still in the pipe. */
static void cancel_at_any_time(void)
{
	int given = 0, cancelled = 0, left;
	pthread_t thread;
	void *result;

	if (pipe(ends))
		return;
	for (int i = 0; i < CANCELS; i++) {
		pthread_create(&thread, NULL, take_bytes, NULL);
		for (int n = 0; n <= i % 5; n++)
			given += write(ends[1], "", 1);
		for (volatile int spin = i * 97 % 5000; spin; spin--)
			;
		pthread_cancel(thread);
		pthread_join(thread, &result);
		cancelled += result == PTHREAD_CANCELED;
	}
	ioctl(ends[0], FIONREAD, &left);
	printf("cancelled %d, lost %d\n", cancelled, given - taken - left);
}

static void clocks(void)
{
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	usleep(1000);
	clock_gettime(CLOCK_MONOTONIC, &after);
	if (after.tv_sec > before.tv_sec || after.tv_nsec > before.tv_nsec)
		puts("clock goes");
	if (getauxval(AT_SYSINFO_EHDR))
		puts("vdso clock");
}

int main(int argc, char **argv)
{
	threads();
	signals();
	children();
	cancellation();
	cancel_at_any_time();
	printf("sin %.6f\n", sin(argc > 1 ? 1.0 : 0.0));
	clocks();
	return argc > 1 ? atoi(argv[1]) : 0;
}
