# SPDX-License-Identifier: GPL-2.0
# A web server, a thread for each connection.
require "socket"

def answer(number)
  total = 0
  each = 0
  while each < 2000 + number
    total = (total + each * 7) % 1000003
    each += 1
  end
  "#{number} #{total}\n" * 100
end

server = TCPServer.new(8000)
server.listen(64)
$stdout.puts "serving"
$stdout.flush
loop do
  Thread.new(server.accept) do |client|
    while (line = client.gets)
      number = line[%r{^GET /(\d+) }, 1].to_i
      nil until client.gets.strip.empty?
      body = answer(number)
      client.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.size}\r\n\r\n#{body}")
    end
    client.close
  end
end
