// SPDX-License-Identifier: GPL-2.0
/* Runs a loop, and says whether LuaJIT has compiled it. */
#include <luajit-2.1/lauxlib.h>
#include <luajit-2.1/lualib.h>
#include <stdio.h>

static const char script[] =
	"local sum = 0\n"
	"for i = 1, 2000 do sum = sum + i % 7 end\n"
	"print('sum ' .. sum)\n"
	"print('compiled ' .. (require('jit.util').traceinfo(1) and 1 or 0))\n";

int main(void)
{
	lua_State *state = luaL_newstate();

	luaL_openlibs(state);
	if (luaL_dostring(state, script)) {
		printf("error: %s\n", lua_tostring(state, -1));
		return 1;
	}
	return 0;
}
