// SPDX-License-Identifier: GPL-2.0
/*
 * processes - the cost of creating a process or thread, and of switching to another
 *
 * BENCH_SELF names the file to execute for this program again, BENCH_OTHER another program
 * that ends at once.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define LEAVE	"leave"		/* with this argument the program ends at once */

static void loop(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		bench_barrier();
	bench_end();
}

static void reap(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || status != 0)
		bench_fail("waitpid");
}

static void run(unsigned long count, const char *file)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++) {
		pid_t child = fork();

		if (child < 0)
			bench_fail("fork");
		if (child == 0) {
			if (file)
				execl(file, file, LEAVE, (char *)NULL);
			_exit(file != NULL);
		}
		reap(child);
	}
	bench_end();
}

static void do_fork(unsigned long count)
{
	run(count, NULL);
}

static void run_named(unsigned long count, const char *variable)
{
	const char *file = getenv(variable);

	if (!file)
		bench_fail(variable);
	run(count, file);
}

static void exec_self(unsigned long count)
{
	run_named(count, "BENCH_SELF");
}

static void exec_other(unsigned long count)
{
	run_named(count, "BENCH_OTHER");
}

static void *nothing(void *unused)
{
	return unused;
}

static void do_clone(unsigned long count)
{
	bench_begin();
	for (unsigned long i = 0; i < count; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL))
			bench_fail("pthread_create");
	}
	bench_end();
}

static int there[2], back[2];

static void pass(int from, int to)
{
	char byte;

	if (read(from, &byte, 1) != 1 || write(to, &byte, 1) != 1)
		bench_fail("pass a byte");
}

static void *answer(void *count)
{
	for (unsigned long i = 0; i < *(unsigned long *)count; i++)
		pass(there[0], back[1]);
	return NULL;
}

/* One byte to the other and back: half as many rounds as switches. */
static void ask(unsigned long count)
{
	char byte = 'x';

	bench_begin();
	for (unsigned long i = 0; i < count; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			bench_fail("pass a byte");
	bench_end();
}

static void open_pipes(void)
{
	if (pipe(there) || pipe(back))
		bench_fail("pipe");
}

static void close_pipes(void)
{
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
}

static void switch_processes(unsigned long count)
{
	pid_t child;

	open_pipes();
	child = fork();
	if (child < 0)
		bench_fail("fork");
	if (child == 0) {
		answer(&count);
		_exit(0);
	}
	ask(count);
	reap(child);
	close_pipes();
}

static void switch_threads(unsigned long count)
{
	pthread_t thread;

	open_pipes();
	if (pthread_create(&thread, NULL, answer, &count))
		bench_fail("pthread_create");
	ask(count);
	pthread_join(thread, NULL);
	close_pipes();
}

static const struct bench_row rows[] = {
	{ "loop", loop, 100 },
	{ "fork, exit, wait", do_fork, 10 },
	{ "thread, join", do_clone, 20 },
	{ "fork, exec itself", exec_self, 4 },
	{ "fork, exec other", exec_other, 4 },
	{ "round trip, processes", switch_processes, 50 },
	{ "round trip, threads", switch_threads, 50 },
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], LEAVE) == 0)
		return 0;
	return BENCH_MAIN(argc, argv, rows);
}
