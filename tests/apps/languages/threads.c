// SPDX-License-Identifier: GPL-2.0
/* Threads, signals, sockets, processes: what a C library does for a program. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS	8
#define ROUNDS	2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t signals;
static __thread int own;
static long sum;

static void handler(int number)
{
	signals++;
}

static void *work(void *number)
{
	for (int i = 0; i < ROUNDS; i++) {
		own++;
		pthread_mutex_lock(&lock);
		sum++;
		pthread_mutex_unlock(&lock);
		free(malloc(i));
	}
	return (void *)(long)(own == ROUNDS);
}

static void fail(const char *what)
{
	printf("failed: %s\n", what);
	exit(1);
}

int main(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	pthread_t threads[THREADS];
	int pair[2], status;
	unsigned long cs;
	char byte = 0;
	void *good;

	asm volatile("mov %%cs, %0" : "=r" (cs));
	printf("level %lu\n", cs & 3);
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < THREADS; i++) {
		pthread_kill(threads[i], SIGUSR1);
		pthread_join(threads[i], &good);
		if (!good)
			fail("thread-local variable");
	}
	if (sum != THREADS * ROUNDS)
		fail("sum");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		fail("socketpair");
	if (!fork()) {
		for (int i = 0; i < 1000; i++) {
			if (read(pair[1], &byte, 1) != 1 || write(pair[1], &byte, 1) != 1)
				_exit(1);
		}
		_exit(7);
	}
	for (int i = 0; i < 1000; i++) {
		byte = i;
		if (write(pair[0], &byte, 1) != 1 || read(pair[0], &byte, 1) != 1 || byte != (char)i)
			fail("echo");
	}
	wait(&status);
	if (WEXITSTATUS(status) != 7)
		fail("child");
	if (write(-1, "", 1) != -1 || errno != EBADF)
		fail("errno");
	puts("all passed");
	return 0;
}
