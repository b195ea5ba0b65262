// SPDX-License-Identifier: GPL-2.0
// What C++ asks of its runtime: each line says what came of one part of it.

#include <atomic>
#include <exception>
#include <fstream>
#include <future>
#include <iostream>
#include <locale>
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

void exceptions_cross_threads()
{
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
			std::cout << "logic " << error.what() << '\n';
		} catch (const std::exception &error) {
			std::cout << "other " << error.what() << '\n';
		}
	std::cout << unwound << " unwound, here " << own << '\n';
}

} // namespace

int main(int argc, char **argv)
{
	std::cout << early.text << '\n';
	exceptions_cross_threads();

	auto future = std::async(std::launch::async, []() -> int {
		throw std::domain_error("from a future");
	});
	try {
		future.get();
	} catch (const std::domain_error &error) {
		std::cout << error.what() << '\n';
	}

	std::smatch match;
	const std::string mail = "to bob@example.org, now";
	if (std::regex_search(mail, match, std::regex("([a-z]+)@([a-z]+)\\.org")))
		std::cout << match[1] << " at " << match[2] << '\n';

	std::ostringstream text;
	text.imbue(std::locale::classic());
	text << std::hex << std::showbase << 255 << ' ' << 3.25;
	std::cout << text.str() << '\n';
	try {
		std::locale("no_SUCH.locale");
	} catch (const std::runtime_error &) {
		std::cout << "no such locale\n";
	}

	std::string name;
	std::ifstream("/proc/self/comm") >> name;
	std::cout << "comm " << name << std::endl;
	return argc > 1 ? std::stoi(argv[1]) : 0;
}
