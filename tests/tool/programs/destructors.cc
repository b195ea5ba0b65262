// SPDX-License-Identifier: GPL-2.0
/* Cancelled threads run destructors: the unwinder starts where the system call is. */
#include <atomic>
#include <cstdio>
#include <poll.h>
#include <pthread.h>
#include <stdexcept>
#include <unistd.h>

static std::atomic<int> gone;
static int pipes[2];

struct Counted {
	~Counted() { gone++; }
};

static void __attribute__((noinline)) wait_long(long kind)
{
	pollfd poll_in = { pipes[0], POLLIN, 0 };
	Counted inner;
	char byte;

	switch (kind) {
	case 0:
		(void)!read(pipes[0], &byte, 1);
		break;
	case 1:
		poll(&poll_in, 1, -1);
		break;
	case 2:
		sleep(1000);
		break;
	case 3:
		pause();
	}
}

static void *run(void *kind)
{
	Counted outer;

	wait_long((long)kind);
	return nullptr;
}

int main()
{
	int caught = 0;

	if (pipe(pipes))
		return 1;
	for (long i = 0; i < 20; i++) {
		pthread_t thread;

		pthread_create(&thread, nullptr, run, (void *)(i % 4));
		usleep(20000);
		pthread_cancel(thread);
		pthread_join(thread, nullptr);
	}
	for (int i = 0; i < 100; i++) {
		try {
			throw std::runtime_error("thrown");
		} catch (const std::exception &) {
			caught++;
		}
	}
	printf("%d destructors, %d exceptions\n", (int)gone, caught);
	return gone == 40 && caught == 100 ? 20 : 1;
}
