# SPDX-License-Identifier: GPL-2.0
# Compiled methods, threads, fibers, processes, sockets.
require "socket"
require "digest"

def check(what, good)
  return if good
  puts "failed: #{what}"
  exit 1
end

def loop_of(count)
  sum = 0
  i = 0
  while i < count
    sum = (sum + i * 7) % 1000003
    i += 1
  end
  sum
end

first = loop_of(1000)
50.times { check("sum", loop_of(1000) == first) }
check("yjit", !defined?(RubyVM::YJIT) || RubyVM::YJIT.enabled?)
threads = 10.times.map { |n| Thread.new { (1..1000).sum + n } }
check("threads", threads.sum(&:value) == 5005045)
fiber = Fiber.new { 3.times { |n| Fiber.yield n }; :end }
check("fiber", 4.times.map { fiber.resume } == [0, 1, 2, :end])
server = TCPServer.new("127.0.0.1", 0)
child = fork do
  TCPSocket.open("127.0.0.1", server.addr[1]) { |client| client.puts "hello" }
  exit!(3)
end
connection = server.accept
check("socket", connection.gets == "hello\n")
Process.wait(child)
check("child", $?.exitstatus == 3)
check("digest", Digest::SHA256.hexdigest("").start_with?("e3b0c44298fc1c14"))
check("command", `echo $((6 * 7))` == "42\n")
GC.start
check("regex", ("x" * 10000).gsub(/x{10}/, "y") == "y" * 1000)
puts "all passed"
