// SPDX-License-Identifier: GPL-2.0
/*
 * Threads: many, cancelled, with robust and PI mutexes, thread-local storage of all
 * models, exceptions, fork and exec among them.
 */
#include <atomic>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <execinfo.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>

#include "matrix.h"

namespace {

/* ---- Many ---- */

pthread_barrier_t barrier;
std::atomic<int> sum;

void *meet(void *data)
{
	int number = (int)(intptr_t)data;

	/* All of them are there at the same time. */
	pthread_barrier_wait(&barrier);
	sum += number;
	pthread_barrier_wait(&barrier);
	return data;
}

void many()
{
	const int n = 400;
	std::vector<pthread_t> threads(n);
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	CHECK(!pthread_attr_setstacksize(&attributes, 256 << 10));
	CHECK(!pthread_barrier_init(&barrier, nullptr, n + 1));
	for (int i = 0; i < n; i++)
		CHECK(!pthread_create(&threads[i], &attributes, meet, (void *)(intptr_t)i));
	CHECK(field("/proc/self/status", "Threads") == n + 1);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < n; i++) {
		void *result;

		CHECK(!pthread_join(threads[i], &result) && (intptr_t)result == i);
	}
	OK("%d threads at once, sum %d", n, sum.load());
	for (int i = 0; i < 500; i++)
		std::thread([] { sum++; }).join();
	OK("500 one after the other, sum %d", sum.load());
}

/* ---- Cancellation ---- */

std::string trail;

void note(void *what)
{
	trail += (const char *)what;
}

struct Noted {
	~Noted() { trail += "destructor "; }
};

/* No frame with a destructor may be where an asynchronous cancellation strikes. */
__attribute__((noinline)) void compute_for_ever(int *begun)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
	__atomic_store_n(begun, 1, __ATOMIC_SEQ_CST);
	for (;;)
		__asm__ volatile("" : : : "memory");
}

void *cancelled(void *data)
{
	int *how = (int *)data;
	Noted noted;

	pthread_cleanup_push(note, (void *)"first ");
	pthread_cleanup_push(note, (void *)"second ");
	if (how[0] == 0) {
		char byte;

		how[1] = 1;
		(void)!read(how[2], &byte, 1);
	} else if (how[0] == 1) {
		compute_for_ever(&how[1]);
	} else {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
		how[1] = 1;
		milliseconds(60);
		trail += "undisturbed ";
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
		pthread_testcancel();
	}
	pthread_cleanup_pop(0);
	pthread_cleanup_pop(0);
	return nullptr;
}

void cancel()
{
	static const char *const names[] = { "in read()", "while computing", "when enabled" };
	int pipes[2];

	CHECK(!pipe(pipes));
	for (int i = 0; i < 3; i++) {
		volatile int how[3] = { i, 0, pipes[0] };
		pthread_t thread;
		void *result;

		trail.clear();
		CHECK(!pthread_create(&thread, nullptr, cancelled, (void *)how));
		while (!how[1])
			sched_yield();
		milliseconds(20);
		CHECK(!pthread_cancel(thread));
		CHECK(!pthread_join(thread, &result));
		OK("%s: %d, %s", names[i], result == PTHREAD_CANCELED, trail.c_str());
	}
}

/* ---- Mutexes ---- */

void *die_with(void *mutex)
{
	pthread_mutex_lock((pthread_mutex_t *)mutex);
	return nullptr;
}

void make(pthread_mutex_t *mutex, int protocol, bool shared)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	CHECK(!pthread_mutexattr_setprotocol(&attributes, protocol));
	if (shared)
		pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	CHECK(!pthread_mutex_init(mutex, &attributes));
}

void robust_as(int protocol, const char *name)
{
	pthread_mutex_t mutex;
	pthread_t thread;
	timespec soon;
	int counter = 0;

	make(&mutex, protocol, false);
	CHECK(!pthread_create(&thread, nullptr, die_with, &mutex));
	CHECK(!pthread_join(thread, nullptr));
	OK("%s: of a dead thread: owner dead %d", name, pthread_mutex_lock(&mutex) == EOWNERDEAD);
	CHECK(!pthread_mutex_consistent(&mutex));
	std::thread([&] {
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 20000000;
		soon.tv_sec += soon.tv_nsec / 1000000000;
		soon.tv_nsec %= 1000000000;
		OK("%s: timed out %d", name, pthread_mutex_timedlock(&mutex, &soon) == ETIMEDOUT);
	}).join();
	CHECK(!pthread_mutex_unlock(&mutex));

	auto shared = (pthread_mutex_t *)mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
					      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	make(shared, protocol, true);
	pid_t pid = split();
	if (!pid) {
		pthread_mutex_lock(shared);
		raise(SIGKILL);
	}
	OK("%s: %s", name, end_of(pid));
	OK("%s: of a dead process: owner dead %d", name, pthread_mutex_lock(shared) == EOWNERDEAD);

	std::vector<std::thread> threads;
	for (int i = 0; i < 8; i++)
		threads.emplace_back([&] {
			for (int n = 0; n < 500; n++) {
				CHECK(!pthread_mutex_lock(&mutex));
				counter++;
				if (n % 50 == 0)
					sched_yield();
				CHECK(!pthread_mutex_unlock(&mutex));
			}
		});
	for (auto &each : threads)
		each.join();
	OK("%s: counted %d", name, counter);
}

void robust() { robust_as(PTHREAD_PRIO_NONE, "plain"); }
void inherit() { robust_as(PTHREAD_PRIO_INHERIT, "pi"); }

/* ---- Thread-local storage ---- */

__thread int exec_model __attribute__((tls_model("local-exec"))) = 1;
__thread int initial_model __attribute__((tls_model("initial-exec"))) = 2;
__thread int local_model __attribute__((tls_model("local-dynamic"))) = 3;
__thread char big[64 << 10];
alignas(256) __thread char aligned_one[8] = "aligned";
std::atomic<int> made, gone;

struct Counted {
	int value = 5;
	Counted() { made++; }
	~Counted() { gone += value; }
};
thread_local Counted counted;
thread_local std::string text = "constructed in each thread, longer than the small buffer";

} // namespace

__thread int global_model __attribute__((tls_model("global-dynamic"))) = 4;

namespace {

void tls_of_one(int number)
{
	CHECK(exec_model == 1 && initial_model == 2 && local_model == 3 && global_model == 4);
	CHECK(!big[0] && !big[sizeof(big) - 1] && !strcmp(aligned_one, "aligned"));
	CHECK((uintptr_t)aligned_one % 256 == 0 && text.size() == 56);
	exec_model = initial_model = local_model = global_model = number;
	memset(big, number, sizeof(big));
	text += std::to_string(number);
	counted.value = number;
	sched_yield();
	CHECK(exec_model == number && initial_model == number && local_model == number &&
	      global_model == number && big[999] == (char)number && big[sizeof(big) - 1] == (char)number);
}

void tls()
{
	pthread_key_t key;
	std::vector<std::thread> threads;

	CHECK(!pthread_key_create(&key, [](void *value) { gone += (int)(intptr_t)value; }));
	for (int i = 0; i < 20; i++)
		threads.emplace_back([=] {
			tls_of_one(i + 10);
			pthread_setspecific(key, (void *)1000);
		});
	for (auto &thread : threads)
		thread.join();
	OK("made %d, gone %d", made.load(), gone.load());
	tls_of_one(77);
	pid_t pid = split();
	if (!pid)
		_exit(exec_model == 77 && global_model == 77 && counted.value == 77 ? 7 : 1);
	OK("after fork: %s", end_of(pid));
}

/* ---- Exceptions ---- */

__attribute__((noinline)) int descend(int depth)
{
	Noted noted;

	if (!depth)
		throw std::runtime_error("from below");
	return descend(depth - 1) + 1;
}

volatile int *volatile nowhere = (volatile int *)0x10;

__attribute__((noinline)) void touch(volatile int *p)
{
	*p = 1;
}

void fault_to_exception(int, siginfo_t *info, void *)
{
	throw info->si_addr;
}

void exceptions()
{
	std::exception_ptr carried;
	std::atomic<int> caught{0};
	std::vector<std::thread> threads;

	trail.clear();
	try {
		descend(3);
	} catch (const std::exception &error) {
		OK("%s, %s", error.what(), trail.c_str());
	}
	std::thread([&] {
		try {
			descend(1);
		} catch (...) {
			carried = std::current_exception();
		}
	}).join();
	try {
		std::rethrow_exception(carried);
	} catch (const std::runtime_error &error) {
		OK("carried over: %s", error.what());
	}
	for (int i = 0; i < 8; i++)
		threads.emplace_back([&] {
			for (int n = 0; n < 50; n++) {
				try {
					try {
						throw n;
					} catch (long) {
					} catch (int) {
						throw std::to_string(n);
					}
				} catch (const std::string &) {
					caught++;
				}
			}
		});
	for (auto &thread : threads)
		thread.join();
	OK("in eight threads: %d", caught.load());
	handle(SIGSEGV, fault_to_exception, SA_NODEFER);
	try {
		touch(nowhere);
	} catch (void *address) {
		OK("thrown by a signal handler: %p", address);
	}
	pid_t pid = split();
	if (!pid) {
		fclose(stderr);
		throw 1;
	}
	OK("uncaught: %s", end_of(pid));
}

/* ---- fork, exec, exit among threads ---- */

std::atomic<bool> stop;
std::string forks;

void fork_in_threads()
{
	std::vector<std::thread> threads;
	int good = 0;

	pthread_atfork([] { forks += "prepare "; }, [] { forks += "parent "; },
		       [] { forks += "child "; });
	for (int i = 0; i < 4; i++)
		threads.emplace_back([] {
			while (!stop)
				free(malloc(5000 + rand() % 5000));
		});
	for (int i = 0; i < 20; i++) {
		forks.clear();
		pid_t pid = split();
		if (!pid) {
			int seen = 0;

			/* Alone, with a heap that works, and able to have threads. */
			std::thread([&] { seen = (int)std::string(9000, 'x').size(); }).join();
			/* It can be joined before the kernel has done with it. */
			for (int n = 0; n < 1000 && field("/proc/self/status", "Threads") != 1; n++)
				milliseconds(1);
			_exit(field("/proc/self/status", "Threads") == 1 && seen == 9000 &&
			      forks == "prepare child " ? 3 : 1);
		}
		good += !strcmp(end_of(pid), "exited 3") && forks == "prepare parent ";
	}
	stop = true;
	for (auto &thread : threads)
		thread.join();
	OK("good children %d", good);
}

void endings()
{
	pid_t pid = split();
	if (!pid) {
		std::thread([] {
			const char *argv[] = { "matrix", "exit", "12", nullptr };

			execv(self(), (char **)argv);
		}).join();
		_exit(1);
	}
	OK("exec in a thread: %s", end_of(pid));
	pid = split();
	if (!pid) {
		std::thread([] { milliseconds(30); exit(13); }).detach();
		pthread_exit(nullptr);
	}
	OK("the first thread ends before: %s", end_of(pid));
	pid = split();
	if (!pid) {
		for (int i = 0; i < 4; i++)
			std::thread([] { for (;;) __asm__ volatile("" : : : "memory"); }).detach();
		milliseconds(20);
		_exit(14);
	}
	OK("while others compute: %s", end_of(pid));
	pid = split();
	if (!pid) {
		std::thread([] { touch(nowhere); }).detach();
		for (;;)
			pause();
	}
	OK("a thread faults: %s", end_of(pid));
}

void limits()
{
	sem_t semaphore;
	pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
	timespec past = { 1, 0 };
	void *frames[64];

	CHECK(!sem_init(&semaphore, 0, 1) && !sem_wait(&semaphore));
	OK("semaphore: %d", sem_timedwait(&semaphore, &past) && errno == ETIMEDOUT);
	CHECK(!pthread_rwlock_rdlock(&lock) && !pthread_rwlock_rdlock(&lock));
	std::thread([&] {
		OK("rwlock: %d", pthread_rwlock_trywrlock(&lock) == EBUSY);
	}).join();
	/* The guard page of a thread's stack */
	pid_t pid = split();
	if (!pid) {
		std::thread([] {
			pthread_attr_t attributes;
			void *low;
			size_t size;

			pthread_getattr_np(pthread_self(), &attributes);
			pthread_attr_getstack(&attributes, &low, &size);
			((volatile char *)low)[-1] = 1;
		}).join();
		_exit(0);
	}
	OK("guard page: %s", end_of(pid));
	OK("backtrace sees its callers: %d", backtrace(frames, 64) >= 3);
}

} // namespace

extern "C" const struct check thread_checks[] = {
	{ "threads.many", many },
	{ "threads.cancel", cancel },
	{ "threads.robust", robust },
	{ "threads.pi", inherit },
	{ "threads.tls", tls },
	{ "threads.exceptions", exceptions },
	{ "threads.fork", fork_in_threads },
	{ "threads.endings", endings },
	{ "threads.limits", limits },
	{ nullptr, nullptr },
};
