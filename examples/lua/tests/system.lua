-- SPDX-License-Identifier: GPL-2.0
-- Tests functions that use the kernel: files, time, the environment, other processes.

local ok = true
local function check(name, good)
  ok = ok and good
  print((good and "ok " or "not ok ") .. name)
end

local name = os.tmpname()
local file = assert(io.open(name, "w+"))
for i = 1, 1000 do file:write(i, "\n") end
file:seek("set", 0)
local sum = 0
for line in file:lines() do sum = sum + tonumber(line) end
check("write and read", sum == 500500)
check("seek", file:seek("end") == 3893 and file:seek("set", 2) == 2 and file:read("n") == 2)
file:close()
check("a closed file", not pcall(file.read, file))
local numbers = 0
for _ in io.lines(name) do numbers = numbers + 1 end
check("lines", numbers == 1000)
check("buffers", io.stdout:setvbuf("line"))
check("rename", os.rename(name, name .. ".new") and io.open(name) == nil)
check("remove", os.remove(name .. ".new") and not os.remove(name .. ".new"))
local _, words, number = io.open("/nowhere/x")
check("errno", number == 2 and words == "/nowhere/x: No such file or directory")

check("environment", os.getenv("PATH") ~= nil and os.getenv("NO_SUCH_NAME") == nil)
check("time", os.time({year = 2000, month = 1, day = 1, hour = 12}) == 946728000
  and os.date("!%Y-%m-%d", 86400) == "1970-01-02")
local begin = os.clock()
repeat until os.clock() > begin
check("clock", os.time() > 1600000000)

-- system() and popen() start normal processes from application mode.
check("execute", select(3, os.execute("exit 3")) == 3)
local pipe = io.popen("echo one; echo two; exit 5")
check("popen", pipe:read("a") == "one\ntwo\n" and select(3, pipe:close()) == 5)
pipe = io.popen("cat > /tmp/there", "w")
pipe:write(("x"):rep(100000))
pipe:close()
check("popen for writing", #io.open("/tmp/there"):read("a") == 100000)
check("require", package.loaded.string == string and not pcall(require, "nothing.there"))
os.exit(ok)
