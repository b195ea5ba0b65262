-- SPDX-License-Identifier: GPL-2.0
-- A web server of one thread, which calls the system through the compiler's own interface to C.
local ffi = require("ffi")
ffi.cdef[[
struct in { uint16_t family, port; uint32_t address; char zero[8]; };
struct poll { int fd; short events, revents; };
int socket(int domain, int type, int protocol);
int bind(int fd, const struct in *address, unsigned int size);
int listen(int fd, int backlog);
int accept(int fd, void *address, void *size);
int poll(struct poll *fds, unsigned long count, int timeout);
long read(int fd, void *data, size_t size);
long write(int fd, const void *data, size_t size);
int close(int fd);
]]
local C = ffi.C
local AF_INET, SOCK_STREAM, POLLIN = 2, 1, 1

local function answer(number)
	local total = 0
	for each = 0, 1999 + number do total = (total + each * 7) % 1000003 end
	return ("%d %d\n"):format(number, total):rep(100)
end

assert(jit.status())
local server = C.socket(AF_INET, SOCK_STREAM, 0)
local address = ffi.new("struct in", AF_INET, 8000 / 256 + 8000 % 256 * 256)
assert(C.bind(server, address, ffi.sizeof(address)) == 0)
assert(C.listen(server, 64) == 0)
print("serving")
io.flush()

local clients, data, fds = {}, ffi.new("char[4096]"), ffi.new("struct poll[100]")
while true do
	local order = {}
	fds[0].fd, fds[0].events = server, POLLIN
	for fd in pairs(clients) do
		order[#order + 1] = fd
		fds[#order].fd, fds[#order].events = fd, POLLIN
	end
	assert(C.poll(fds, #order + 1, -1) > 0)
	for at, fd in ipairs(order) do
		if fds[at].revents ~= 0 then
			local got = tonumber(C.read(fd, data, 4096))
			local text = clients[fd] .. ffi.string(data, math.max(got, 0))
			if got <= 0 then
				C.close(fd)
				clients[fd] = nil
			elseif text:find("\r\n\r\n", 1, true) then
				local body = answer(tonumber(text:match("^GET /(%d+) ")))
				local whole = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(#body) .. body
				assert(C.write(fd, whole, #whole) == #whole)
				clients[fd] = ""
			else
				clients[fd] = text
			end
		end
	end
	if fds[0].revents ~= 0 then
		clients[C.accept(server, nil, nil)] = ""
	end
end
