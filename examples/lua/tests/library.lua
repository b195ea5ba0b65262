-- SPDX-License-Identifier: GPL-2.0
-- Tests the libraries: strings, tables, mathematics, UTF-8.

local ok = true
local function check(name, good)
  ok = ok and good
  print((good and "ok " or "not ok ") .. name)
end

check("format", string.format("%5.2f|%-5d|%x|%q|%g", 3.14159, 42, 255, "a\n", 1e100)
  == ' 3.14|42   |ff|"a\\\n"|1e+100')
check("hexadecimal floats", string.format("%a", 1.5) == "0x1.8p+0" and tonumber("0x.8p1") == 1.0)
check("patterns", ("key = value"):match("^(%w+)%s*=%s*(%w+)$") == "key")
check("gsub", ("hello world"):gsub("o", {o = "0"}) == "hell0 w0rld")
local words = {}
for word in ("one two three"):gmatch("%a+") do words[#words + 1] = word end
check("gmatch", table.concat(words, ",") == "one,two,three")
check("rep and reverse", ("ab"):rep(3, "-"):reverse() == "ba-ba-ba")
check("pack", string.unpack("<i4z", string.pack("<i4z", -5, "text")) == -5)
check("a long string", #(("x"):rep(10000000)) == 10000000)

local numbers, seed = {}, 42
for i = 1, 20000 do seed = (seed * 1103515245 + 12345) % 2147483648 numbers[i] = seed end
table.sort(numbers)
local sorted = true
for i = 2, #numbers do sorted = sorted and numbers[i - 1] <= numbers[i] end
check("sort", sorted)
check("sort refuses nonsense", not pcall(table.sort, {1, "x", 2}))
check("table functions", table.concat(table.move({1, 2, 3}, 1, 3, 2), " ") == "1 1 2 3"
  and table.unpack({1, 2, 3}, 2) == 2 and table.remove({4, 5}) == 5)

local function near(a, b) return math.abs(a - b) < 1e-12 end
check("sine and others", near(math.sin(1), 0.8414709848078965) and near(math.exp(1), 2.718281828459045)
  and near(math.log(10), 2.302585092994046) and near(math.atan(1, -1), 2.356194490192345)
  and near(math.sqrt(2), 1.4142135623730951) and near(math.fmod(7, 3), 1))
check("rounding", math.floor(-1.5) == -2 and math.ceil(1.2) == 2 and math.tointeger(3.0) == 3)
check("random", math.random(1, 6) <= 6)
check("number to text and back", tonumber(tostring(0.1)) == 0.1 and tostring(1e15) == "1e+15")
check("utf8", utf8.len("größe") == 5 and utf8.char(0x20ac) == "€" and utf8.codepoint("€") == 0x20ac)
os.exit(ok)
