// SPDX-License-Identifier: GPL-2.0
/* Has its own name after fexecve(). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/prctl.h>
extern char **environ;
int main(int c, char **v)
{
	char n[17] = "", *again[] = { v[0], "x", 0 };
	if (c == 1) { fexecve(open("/proc/self/exe", O_RDONLY), again, environ); perror("fexecve"); return 1; }
	prctl(PR_GET_NAME, n);
	printf("comm %s\n", n);
}
