// SPDX-License-Identifier: GPL-2.0
/* The kernel says EFAULT of an address that is not there; nothing reads it before. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <signal.h>
#include <unistd.h>
#include <sys/wait.h>
#include <sys/syscall.h>
int main(int argc, char **argv)
{
	int st;
	if (argc < 2) {
		long r = syscall(SYS_clone3, (void *)0, 88L);
		printf("clone3(NULL): %ld, errno %d\n", r, errno);
	} else {
		long r = syscall(SYS_clone, SIGCHLD, 0x2000L, 0, 0, 0); /* a stack that is not there */
		waitpid(r, &st, 0);
		printf("clone(bad stack): child killed by %d\n", WTERMSIG(st));
	}
}
