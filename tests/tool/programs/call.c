// SPDX-License-Identifier: GPL-2.0
/* System calls by `call ukl_syscall`, the ones that return twice among them. */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("call ukl_syscall"
			 : "=a" (result), "+D" (a), "+S" (b), "+d" (c)
			 : "0" (number)
			 : "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	return result;
}

/* clone or clone3; the child calls fn and ends with what it returns. */
long call_clone(long number, long a, long b, int (*fn)(void));
__asm__(".text\n.globl call_clone\ncall_clone:\n"
	"push %rbx\npush %r12\npush %r13\n"
	"mov %rcx, %rbx\nmov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rsi\n"
	"mov %rdi, %r12\nmov %rsi, %r13\n"
	"xor %edx, %edx\nxor %r10d, %r10d\nxor %r8d, %r8d\n"
	"call ukl_syscall\n"
	"cmp %rdi, %r12\njne 2f\ncmp %rsi, %r13\njne 2f\n"
	"test %rax, %rax\njnz 1f\n"
	"and $-16, %rsp\ncall *%rbx\n"
	"mov %eax, %edi\nmov $60, %eax\nsyscall\n"
	"1: pop %r13\npop %r12\npop %rbx\nret\n"
	"2: ud2\n");

static volatile int shared;

static int child(void)
{
	shared++;
	return 5;
}

static void report(const char *what, long pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, __WALL) != pid)
		printf("%s failed %ld\n", what, pid);
	else
		printf("%s %d %d\n", what, WEXITSTATUS(status), shared);
}

int main(void)
{
	char *stack = malloc(65536);
	struct clone_args args = { .flags = CLONE_VM, .exit_signal = SIGCHLD };
	long pid;

	setvbuf(stdout, NULL, _IONBF, 0);
	printf("getpid %d\n", call(SYS_getpid, 0, 0, 0) == getpid());
	printf("EBADF %ld\n", call(SYS_close, -1, 0, 0));
	report("clone", call_clone(SYS_clone, CLONE_VM | SIGCHLD, (long)(stack + 65536), child));
	report("fork", call_clone(SYS_clone, SIGCHLD, 0, child));
	args.stack = (uintptr_t)stack;
	args.stack_size = 65536;
	report("clone3", call_clone(SYS_clone3, (long)&args, sizeof(args), child));
	printf("unchanged %d\n", args.stack_size == 65536);
	args.flags = CLONE_VM | CLONE_VFORK;
	args.stack = 0;
	args.stack_size = 0;
	report("clone3 shared", call_clone(SYS_clone3, (long)&args, sizeof(args), child));
	pid = call(SYS_vfork, 0, 0, 0);
	if (pid == 0) {
		shared++;
		call(SYS_exit, 6, 0, 0);
	}
	report("vfork", pid);
	return 0;
}
