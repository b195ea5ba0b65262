// SPDX-License-Identifier: GPL-2.0
/* Opens its own files in /proc as a normal user. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
int main(int c, char **v)
{
	static const char *f[] = { "comm", "oom_score_adj", "coredump_filter", 0 }, *g[] = { "environ", "auxv", "pagemap", "mem", 0 };
	char n[64];
	if (!getenv("AGAIN")) { putenv("AGAIN=1"); setgid(65534); setuid(65534); execv("/proc/self/exe", v); perror("execv"); return 1; }
	printf("uid %d, dumpable %d\n", getuid(), prctl(PR_GET_DUMPABLE));
	for (int i = 0; f[i]; i++) { sprintf(n, "/proc/self/%s", f[i]); printf("write %s: %s\n", n, open(n, O_WRONLY) < 0 ? strerror(errno) : "ok"); }
	for (int i = 0; g[i]; i++) { sprintf(n, "/proc/self/%s", g[i]); printf("read %s: %s\n", n, open(n, O_RDONLY) < 0 ? strerror(errno) : "ok"); }
}
