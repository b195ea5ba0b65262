// SPDX-License-Identifier: GPL-2.0
/* Says hello, and prints what it is, how it was started, and which kernel runs it. */

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	struct utsname kernel;
	unsigned short cs;

	__asm__("mov %%cs, %0" : "=r" (cs));
	if (uname(&kernel)) {
		perror("uname");
		return 1;
	}
	printf("Hello from %s mode.\n", (cs & 3) == 0 ? "supervisor" : "user");
	printf("kernel: %s %s %s\n", kernel.sysname, kernel.release, kernel.machine);
	printf("process: %d, child of %d, user %d\n", getpid(), getppid(), getuid());
	for (int i = 0; i < argc; i++)
		printf("argv[%d]: %s\n", i, argv[i]);
	for (char **variable = environ; *variable; variable++)
		printf("env: %s\n", *variable);
	/* The first argument is the exit status. */
	return argc > 1 ? atoi(argv[1]) : 0;
}
