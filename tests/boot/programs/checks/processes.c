// SPDX-License-Identifier: GPL-2.0
/*
 * Threads, processes, programs, tracing, processors.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "checks.h"

/* ---- Threads ---- */

#define THREADS		8
#define ROUNDS		5000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, total;
static __thread int mine = 42;

static void *work(void *data)
{
	int number = (int)(intptr_t)data;

	CHECK(mine == 42);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		total++;
		pthread_mutex_unlock(&lock);
		mine++;
	}
	CHECK(mine == 42 + ROUNDS);
	pthread_mutex_lock(&lock);
	while (turn != number)
		pthread_cond_wait(&changed, &lock);
	printf("thread %d\n", number);
	turn++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return (void *)(intptr_t)(number * number);
}

int check_threads(void)
{
	pthread_t threads[THREADS];
	void *result;

	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i));
	for (int i = 0; i < THREADS; i++) {
		CHECK(!pthread_join(threads[i], &result));
		CHECK((intptr_t)result == i * i);
	}
	printf("total %d\n", total);
	CHECK(mine == 42);
	return 0;
}

/* ---- Processes ---- */

static int initialised[4096] = { [7] = 7 };
static int zeroed[4096];

int status_of(pid_t child)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

int check_fork(void)
{
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *heap = malloc(1 << 20);
	int status;
	pid_t pid;

	CHECK(shared != MAP_FAILED && heap);
	memset(heap, 'p', 1 << 20);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(initialised[7] == 7 && zeroed[9] == 0 && heap[99999] == 'p');
		initialised[7] = 70;
		zeroed[9] = 90;
		memset(heap, 'c', 1 << 20);
		shared[0] = 5;
		_exit(initialised[7] + zeroed[9] == 160 ? 3 : 4);
	}
	status = status_of(pid);
	printf("child: exited %d\n", WEXITSTATUS(status));
	printf("parent: %d %d %c, shared %d\n", initialised[7], zeroed[9], heap[99999], shared[0]);

	for (int i = 0; i < 20; i++) {
		pid = fork();
		if (!pid) {
			zeroed[i * 100] = i;
			_exit(i);
		}
		CHECK(WEXITSTATUS(status_of(pid)) == i && zeroed[i * 100] == 0);
	}
	pid = vfork();
	if (!pid) {
		shared[1] = 6;
		_exit(9);
	}
	printf("vfork: %d, exited %d\n", shared[1], WEXITSTATUS(status_of(pid)));
	pid = fork();
	if (!pid)
		*low = 1;
	status = status_of(pid);
	printf("fault in the child: %s\n", sigabbrev_np(WTERMSIG(status)));
	free(heap);
	return 0;
}

/* CHECKS names the file that we were started from. */
static const char *self(void)
{
	const char *path = getenv("CHECKS");

	CHECK(path);
	return path;
}

static int spawn(bool with_vfork, char *const words[])
{
	pid_t pid;

	fflush(stdout);
	pid = with_vfork ? vfork() : fork();
	if (!pid) {
		execv(words[0], words);
		_exit(111);
	}
	CHECK(pid > 0);
	return status_of(pid);
}

int check_exec(void)
{
	char *normal[] = { "/bin/busybox", "echo", "from a normal program", NULL };
	char *same[] = { (char *)self(), "exit", "21", NULL };
	char *absent[] = { "/nothing/here", NULL };

	for (int with_vfork = 0; with_vfork < 2; with_vfork++) {
		printf("normal: %d\n", WEXITSTATUS(spawn(with_vfork, normal)));
		printf("ourselves: %d\n", WEXITSTATUS(spawn(with_vfork, same)));
		printf("absent: %d\n", WEXITSTATUS(spawn(with_vfork, absent)));
	}
	printf("popen: ");
	fflush(stdout);
	CHECK(system("echo through the shell") == 0);
	fflush(stdout);
	execv(normal[0], normal);
	return 1;
}

int check_compute(void)
{
	unsigned int seed = atoi(argv[2]), sum = 0;

	for (int round = 0; round < 40; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(zeroed); i++)
			zeroed[i] += seed * i;
		sched_yield();
	}
	for (size_t i = 0; i < ARRAY_SIZE(zeroed); i++)
		sum += zeroed[i];
	printf("%u\n", sum);
	return 0;
}

#define INSTANCES	6

int check_instances(void)
{
	int readers[INSTANCES];
	pid_t pids[INSTANCES];
	char line[64];

	for (int i = 0; i < INSTANCES; i++) {
		char seed[8];
		char *words[] = { (char *)self(), "compute", seed, NULL };
		int pipes[2];

		snprintf(seed, sizeof(seed), "%d", i + 1);
		CHECK(!pipe2(pipes, O_CLOEXEC));
		pids[i] = fork();
		if (!pids[i]) {
			dup2(pipes[1], 1);
			execv(words[0], words);
			_exit(111);
		}
		close(pipes[1]);
		readers[i] = pipes[0];
	}
	for (int i = 0; i < INSTANCES; i++) {
		ssize_t got = read(readers[i], line, sizeof(line) - 1);

		CHECK(got > 0);
		line[got] = '\0';
		printf("instance %d: %s", i, line);
		CHECK(status_of(pids[i]) == 0);
	}
	return 0;
}

/* ---- Tracing ---- */

#define TRACED	50

int check_ptrace(void)
{
	int stops[2] = { 0 }, status;
	struct user_regs_struct registers;
	pid_t pid = fork();

	if (!pid) {
		CHECK(!ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		for (int i = 0; i < TRACED; i++) {
			ways[0].enter(SYS_getppid, 0, 0, 0);
			ways[1].enter(SYS_getpgrp, 0, 0, 0);
		}
		_exit(17);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	CHECK(!ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	for (;;) {
		CHECK(!ptrace(PTRACE_SYSCALL, pid, 0, 0));
		CHECK(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status))
			break;
		CHECK(WSTOPSIG(status) == (SIGTRAP | 0x80));
		CHECK(!ptrace(PTRACE_GETREGS, pid, 0, &registers));
		stops[0] += registers.orig_rax == SYS_getppid;
		stops[1] += registers.orig_rax == SYS_getpgrp;
	}
	printf("stops: %d by instruction, %d by call; exited %d\n", stops[0], stops[1],
	       WEXITSTATUS(status));
	return 0;
}

/* ---- Several processors ---- */

static volatile int arrived;

static void *meet(void *data)
{
	cpu_set_t one;
	int cpu = (int)(intptr_t)data;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	CHECK(sched_getcpu() == cpu);
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	/* Ends only if all threads run at the same time, or are preempted. */
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < sysconf(_SC_NPROCESSORS_ONLN))
		;
	return NULL;
}

int check_processors(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[16];

	printf("processors %ld\n", processors);
	CHECK(processors <= (long)ARRAY_SIZE(threads));
	for (intptr_t i = 0; i < processors; i++)
		CHECK(!pthread_create(&threads[i], NULL, meet, (void *)i));
	for (int i = 0; i < processors; i++)
		CHECK(!pthread_join(threads[i], NULL));
	printf("met\n");
	return 0;
}
