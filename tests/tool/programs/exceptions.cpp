// SPDX-License-Identifier: GPL-2.0
// C++ at run time: exceptions through frames and threads, constructors, TLS
// destructors, templates' statics (GNU_UNIQUE), thread cancellation.
#include <cstdio>
#include <iostream>
#include <map>
#include <pthread.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>

static int unwound;

struct Guard {
	~Guard() { unwound++; }
};

template <typename T> struct Counter {
	static inline int value = 5;
};

struct Global {
	std::string text;
	Global() : text("constructed") {}
	~Global() { std::printf("global destroyed\n"); }
};
static Global global;

struct PerThread {
	int number = 0;
	~PerThread() { std::printf("thread-local destroyed %d\n", number); }
};
static thread_local PerThread per_thread;

__attribute__((noinline)) static int descend(int depth)
{
	Guard guard;
	if (depth == 0)
		throw std::runtime_error("from the depth");
	return descend(depth - 1) + 1;
}

static void *cancelled(void *)
{
	Guard guard;
	for (;;)
		pause();
	return nullptr;
}

static bool in_constructor = [] {
	try {
		descend(3);
	} catch (const std::exception &) {
		return true;
	}
	return false;
}();

int main()
{
	std::printf("before main: %d, %s\n", in_constructor, global.text.c_str());
	unwound = 0;
	try {
		descend(50);
	} catch (const std::exception &error) {
		std::printf("caught: %s, unwound %d\n", error.what(), unwound);
	}
	std::thread worker([] {
		per_thread.number = 2;
		try {
			std::map<int, int>().at(1);
		} catch (const std::out_of_range &) {
			std::puts("caught in thread");
		}
	});
	worker.join();

	unwound = 0;
	pthread_t thread;
	void *result;
	pthread_create(&thread, nullptr, cancelled, nullptr);
	usleep(10000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	std::printf("cancelled: %d, unwound %d\n", result == PTHREAD_CANCELED, unwound);
	std::ostringstream stream;
	stream << Counter<int>::value << ' ' << 1.5 << std::hex << ' ' << 255;
	std::cout << stream.str() << std::endl;
	per_thread.number = 1;
	return 0;
}
