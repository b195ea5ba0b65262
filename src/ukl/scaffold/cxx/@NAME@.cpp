// SPDX-License-Identifier: 0BSD
// Answers each request with a line of text, in a thread of its own.

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>
#include <thread>

constexpr int port = 8080;

static void answer(int connection)
{
	std::array<char, 4096> request;
	const std::string body = "Hello from @NAME@.\n";

	if (read(connection, request.data(), request.size()) > 0) {
		const std::string text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
					 "Connection: close\r\nContent-Length: " +
					 std::to_string(body.size()) + "\r\n\r\n" + body;
		if (write(connection, text.data(), text.size()) < 0)
			std::perror("write");
	}
	close(connection);
}

int main()
{
	sockaddr_in any{};
	const int listener = socket(AF_INET, SOCK_STREAM, 0);
	const int on = 1;

	std::signal(SIGPIPE, SIG_IGN);
	any.sin_family = AF_INET;
	any.sin_port = htons(port);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listener < 0 || bind(listener, reinterpret_cast<sockaddr *>(&any), sizeof(any)) ||
	    listen(listener, SOMAXCONN)) {
		std::perror("@NAME@");
		return 1;
	}
	std::cout << "listening on port " << port << std::endl;
	for (;;) {
		const int connection = accept(listener, nullptr, nullptr);

		if (connection >= 0)
			std::thread(answer, connection).detach();
	}
}
