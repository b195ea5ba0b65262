// SPDX-License-Identifier: GPL-2.0
// Tests the C++ runtime: each line of output says whether one part of it works. The exit status is
// the first argument, or 0; 1 if something does not work.

#include <atomic>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <future>
#include <iostream>
#include <locale>
#include <mutex>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Counted {
	std::atomic<int> &count;
	~Counted() { ++count; }
};

struct Early {
	std::string text = "constructed before main";
} early;

thread_local std::string own = "own";

bool all_well = true;

void check(const std::string &what, bool works)
{
	std::cout << (works ? "ok " : "not ok ") << what << std::endl;
	all_well = all_well && works;
}

void exceptions_cross_threads()
{
	std::string caught_here;
	constexpr int threads = 8;
	std::atomic<int> unwound{0};
	std::vector<std::exception_ptr> caught(threads);
	std::vector<std::thread> all;

	for (int i = 0; i < threads; i++)
		all.emplace_back([&, i] {
			try {
				Counted counted{unwound};
				own += std::to_string(i);
				if (i % 2)
					throw std::out_of_range(own);
				throw std::runtime_error(own);
			} catch (...) {
				caught[i] = std::current_exception();
			}
		});
	for (auto &thread : all)
		thread.join();
	for (auto &each : caught)
		try {
			std::rethrow_exception(each);
		} catch (const std::logic_error &error) {
			caught_here += std::string(" logic ") + error.what();
		} catch (const std::exception &error) {
			caught_here += std::string(" other ") + error.what();
		}
	check("exceptions cross threads", caught_here ==
	      " other own0 logic own1 other own2 logic own3"
	      " other own4 logic own5 other own6 logic own7");
	check("destructors run while the stack is unwound", unwound == threads);
	check("each thread has variables of its own", own == "own");
}

void exceptions_cross_futures()
{
	auto future = std::async(std::launch::async, []() -> int {
		throw std::domain_error("from a future");
	});
	std::string told;

	try {
		future.get();
	} catch (const std::domain_error &error) {
		told = error.what();
	}
	check("exceptions cross futures", told == "from a future");
}

void threads_wait_for_each_other()
{
	std::mutex lock;
	std::condition_variable turn;
	int next = 0;
	std::vector<std::thread> all;

	for (int i = 0; i < 4; i++)
		all.emplace_back([&, i] {
			for (int round = 0; round < 100; round++) {
				std::unique_lock held(lock);
				turn.wait(held, [&] { return next % 4 == i; });
				next++;
				turn.notify_all();
			}
		});
	for (auto &thread : all)
		thread.join();
	check("threads wait for each other", next == 400);
}

void regular_expressions()
{
	std::smatch match;
	const std::string mail = "to bob@example.org, now";
	const bool found =
		std::regex_search(mail, match, std::regex("([a-z]+)@([a-z]+)\\.org"));

	check("regular expressions", found && match[1] == "bob" && match[2] == "example");
}

void streams()
{
	std::ostringstream text;
	text.imbue(std::locale::classic());
	text << std::hex << std::showbase << 255 << ' ' << 3.25;
	check("streams format", text.str() == "0xff 3.25");

	const char *path = "/tmp/streams";
	std::string word;
	int number = 0;
	std::ofstream(path) << "answer " << 42 << '\n';
	std::ifstream(path) >> word >> number;
	check("streams write and read files", word == "answer" && number == 42);

	std::string name;
	std::ifstream("/proc/self/comm") >> name;
	check("its name is " + name, name == "cxx");
}

void locales()
{
	bool refused = false;

	try {
		std::locale("no_SUCH.locale");
	} catch (const std::runtime_error &) {
		refused = true;
	}
	check("a locale that is not there is an exception", refused);
}

} // namespace

int main(int argc, char **argv)
{
	check("objects are constructed before main()", early.text == "constructed before main");
	exceptions_cross_threads();
	exceptions_cross_futures();
	threads_wait_for_each_other();
	regular_expressions();
	streams();
	locales();
	if (!all_well)
		return 1;
	return argc > 1 ? std::stoi(argv[1]) : 0;
}
