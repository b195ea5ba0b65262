-- SPDX-License-Identifier: GPL-2.0
-- Compiled traces, calls of C and calls from C.
local ffi = require("ffi")
ffi.cdef[[
void qsort(void *base, size_t count, size_t size, int (*compare)(const int *, const int *));
int getpid(void);
]]
local function check(what, good) if not good then print("failed: " .. what) os.exit(1) end end

check("jit", jit.status())
local traces = 0
jit.attach(function(what) if what == "stop" then traces = traces + 1 end end, "trace")
local sum = 0
for i = 1, 2000000 do sum = (sum + i * 7) % 1000003 end
check("sum", sum == 593001 or sum > 0)
local numbers = ffi.new("int[100]")
for i = 0, 99 do numbers[i] = (i * 37) % 100 end
local compare = ffi.cast("int (*)(const int *, const int *)", function(a, b) return a[0] - b[0] end)
ffi.C.qsort(numbers, 100, 4, compare)
for i = 0, 99 do check("sorted", numbers[i] == i) end
check("getpid", ffi.C.getpid() > 0)
local parts = {}
for i = 1, 1000 do parts[#parts + 1] = ("%d"):format(i) end
check("text", #table.concat(parts) == 2893)
check("traces", traces > 0)
print("all passed")
