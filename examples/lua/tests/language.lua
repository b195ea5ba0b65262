-- SPDX-License-Identifier: GPL-2.0
-- Tests the language: calls, closures, errors, coroutines, numbers, garbage collection.

local ok = true
local function check(name, good)
  ok = ok and good
  print((good and "ok " or "not ok ") .. name)
end

check("arguments", arg[0] == "/test/language.lua" and arg[1] == "a" and arg[2] == "b" and #arg == 2)
check("varargs", select("#", ...) == 2 and select(2, ...) == "b")

local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
check("recursion", fib(20) == 6765)

local function loop(n) if n == 0 then return "end" end return loop(n - 1) end
check("tail calls", loop(1000000) == "end")

local function counter()
  local n = 0
  return function() n = n + 1 return n end
end
local one, two = counter(), counter()
one() one()
check("closures", one() == 3 and two() == 1)

-- Errors use longjmp().
local good, what = pcall(function() error({code = 7}) end)
check("errors", not good and what.code == 7)
local function deep() return 1 + deep() end
good, what = pcall(deep)
check("stack overflow is an error", not good and tostring(what):find("stack overflow") ~= nil)
check("traceback", select(2, xpcall(error, debug.traceback, "x")):find("traceback") ~= nil)
do
  local closed = 0
  pcall(function()
    local x <close> = setmetatable({}, {__close = function() closed = closed + 1 end})
    error("out")
  end)
  check("to-be-closed variables", closed == 1)
end

local squares = coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i * i) end end)
local sum = 0
for _ = 1, 100 do sum = sum + squares() end
check("coroutines", sum == 338350)
local many = {}
for i = 1, 1000 do many[i] = coroutine.create(function(x) return coroutine.yield(x) + i end) end
sum = 0
for i = 1, 1000 do coroutine.resume(many[i], i) sum = sum + select(2, coroutine.resume(many[i], 1)) end
check("a thousand coroutines", sum == 501500)

check("integers wrap", math.maxinteger + 1 == math.mininteger)
check("division", 7 // 2 == 3 and -7 // 2 == -4 and 7 % -3 == -2 and 7 / 2 == 3.5)
check("division by zero", 1 / 0 == math.huge and not pcall(function() return 1 // 0 end))
check("floats", 0.1 + 0.2 ~= 0.3 and 2 ^ 53 == 9007199254740992.0 and (0 / 0) ~= (0 / 0))
check("bits", 5 & 3 == 1 and 5 | 3 == 7 and 5 ~ 3 == 6 and ~0 == -1 and 1 << 62 >> 61 == 2)
goto over
check("goto", false)
::over::

local vector = setmetatable({x = 1}, {
  __add = function(a, b) return a.x + b.x end,
  __index = function(_, key) return key .. "!" end,
  __call = function(_, y) return y * 2 end,
})
check("metatables", vector + vector == 2 and vector.word == "word!" and vector(4) == 8)

local collected = 0
for _ = 1, 1000 do setmetatable({}, {__gc = function() collected = collected + 1 end}) end
collectgarbage()
check("finalizers", collected == 1000)
local weak = setmetatable({{}, {}}, {__mode = "v"})
collectgarbage()
check("weak tables", #weak == 0)
collectgarbage("generational")
local list = {}
for i = 1, 200000 do list[i] = {i, tostring(i)} end
check("many objects", list[200000][2] == "200000" and collectgarbage("count") > 10000)
list = nil
collectgarbage()
check("memory comes back", collectgarbage("count") < 10000)
check("load", load("return 6 * 7")() == 42 and load("return (") == nil)
check("dump", load(string.dump(function(x) return x + 1 end))(1) == 2)
os.exit(ok)
