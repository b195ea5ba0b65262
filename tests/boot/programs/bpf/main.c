// SPDX-License-Identifier: GPL-2.0
/*
 * bpf TARGET: attach a BPF program to bpf_watched() (perf_event_open(2), the PMU
 * `kprobe`), run TARGET, which calls it, and print what the program saw.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS 1000
#define FRAMES 4

/* The program's output; one element of an array map. */
struct seen {
	__u64 calls;
	__u64 sum;		/* of the first arguments */
	__u64 pid_tgid;
	char text[16];		/* the second argument, from the application */
	__u64 stack[FRAMES];
	__s64 depth;		/* bytes of that stack, or an error */
};

static void must(int holds, const char *what)
{
	if (holds)
		return;
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

/* A name that the kernel does not have, so that kallsyms has only one. */
__attribute__((noinline)) long bpf_watched(long number, const char *text)
{
	asm volatile("" : : "r"(text) : "memory");
	return number * 2;
}

/*
 * The unwinder for user mode follows frame pointers, and a function's first instruction has
 * not set one yet: the unwinder skips the caller, and begins with the caller's caller.
 */
__attribute__((noinline)) static int work(void)
{
	long sum = 0;

	for (long i = 1; i <= CALLS; i++)
		sum += bpf_watched(i, "from within");
	return sum == CALLS * (CALLS + 1L) ? 7 : 1;
}

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

#define INSN(CODE, DST, SRC, OFF, IMM) \
	((struct bpf_insn){ .code = (CODE), .dst_reg = (DST), .src_reg = (SRC), \
			    .off = (OFF), .imm = (IMM) })
#define MOVE(DST, SRC)		INSN(BPF_ALU64 | BPF_MOV | BPF_X, DST, SRC, 0, 0)
#define SET(DST, VALUE)		INSN(BPF_ALU64 | BPF_MOV | BPF_K, DST, 0, 0, VALUE)
#define ADD(DST, VALUE)		INSN(BPF_ALU64 | BPF_ADD | BPF_K, DST, 0, 0, VALUE)
#define LOAD(DST, SRC, OFF)	INSN(BPF_LDX | BPF_MEM | BPF_DW, DST, SRC, OFF, 0)
#define STORE(DST, OFF, SRC)	INSN(BPF_STX | BPF_MEM | BPF_DW, DST, SRC, OFF, 0)
#define COUNT(DST, OFF, SRC)	INSN(BPF_STX | BPF_ATOMIC | BPF_DW, DST, SRC, OFF, BPF_ADD)
#define CALL(HELPER)		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##HELPER)
#define RETURN			INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define FIELD(NAME)		((short)offsetof(struct seen, NAME))

/* Offsets in the context, struct pt_regs (arch/x86/include/uapi/asm/ptrace.h). */
#define PT_SI 104
#define PT_DI 112

static int load(int map)
{
	static char log[1 << 16];
	const struct bpf_insn program[] = {
		MOVE(BPF_REG_6, BPF_REG_1),
		/* r7 = the element of index 0 */
		INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		MOVE(BPF_REG_2, BPF_REG_10),
		ADD(BPF_REG_2, -4),
		CALL(map_lookup_elem),
		INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, 2, 0),
		SET(BPF_REG_0, 0),
		RETURN,
		MOVE(BPF_REG_7, BPF_REG_0),
		SET(BPF_REG_1, 1),
		COUNT(BPF_REG_7, FIELD(calls), BPF_REG_1),
		LOAD(BPF_REG_1, BPF_REG_6, PT_DI),
		COUNT(BPF_REG_7, FIELD(sum), BPF_REG_1),
		CALL(get_current_pid_tgid),
		STORE(BPF_REG_7, FIELD(pid_tgid), BPF_REG_0),
		/* the string */
		MOVE(BPF_REG_1, BPF_REG_7),
		ADD(BPF_REG_1, FIELD(text)),
		SET(BPF_REG_2, sizeof(((struct seen *)0)->text)),
		LOAD(BPF_REG_3, BPF_REG_6, PT_SI),
		CALL(probe_read_user_str),
		/* the stack */
		MOVE(BPF_REG_1, BPF_REG_6),
		MOVE(BPF_REG_2, BPF_REG_7),
		ADD(BPF_REG_2, FIELD(stack)),
		SET(BPF_REG_3, sizeof(((struct seen *)0)->stack)),
		SET(BPF_REG_4, BPF_F_USER_STACK),
		CALL(get_stack),
		STORE(BPF_REG_7, FIELD(depth), BPF_REG_0),
		SET(BPF_REG_0, 0),
		RETURN,
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.insns = (unsigned long)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (unsigned long)"GPL",
		.log_buf = (unsigned long)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	long fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0)
		puts(log);
	must(fd >= 0, "BPF_PROG_LOAD");
	return fd;
}

static int attach(int program)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (unsigned long)"bpf_watched",
	};
	FILE *type = fopen("/sys/bus/event_source/devices/kprobe/type", "r");
	int fd;

	must(type && fscanf(type, "%u", &attr.type) == 1, "the PMU of kprobes");
	fclose(type);
	fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);
	must(fd >= 0, "perf_event_open");
	must(!ioctl(fd, PERF_EVENT_IOC_SET_BPF, program), "PERF_EVENT_IOC_SET_BPF");
	must(!ioctl(fd, PERF_EVENT_IOC_ENABLE, 0), "PERF_EVENT_IOC_ENABLE");
	return fd;
}

/* Returns the kernel's name for our function at that address. */
static void name(__u64 address)
{
	char line[256], symbol[128], best[128] = "nothing";
	FILE *symbols = fopen("/proc/kallsyms", "r");
	unsigned long at, found = 0;

	while (symbols && fgets(line, sizeof(line), symbols))
		if (sscanf(line, "%lx %*c %127s", &at, symbol) == 2 && at <= address &&
		    at > found) {
			found = at;
			strcpy(best, symbol);
		}
	printf("frame: %s\n", best);
}

static pid_t run(const char *target)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execl(target, "bpf", NULL);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	printf("target: %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	return pid;
}

int main(int argc, char **argv)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(int),
		.value_size = sizeof(struct seen),
		.max_entries = 1,
	};
	struct seen seen;
	int map, event, key = 0;
	pid_t pid;

	setbuf(stdout, NULL);
	if (argc < 2)
		return work();

	map = bpf(BPF_MAP_CREATE, &attr);
	must(map >= 0, "BPF_MAP_CREATE");
	event = attach(load(map));
	pid = run(argv[1]);
	must(!ioctl(event, PERF_EVENT_IOC_DISABLE, 0), "PERF_EVENT_IOC_DISABLE");
	close(event);
	run(argv[1]);

	attr = (union bpf_attr){
		.map_fd = map,
		.key = (unsigned long)&key,
		.value = (unsigned long)&seen,
	};
	must(!bpf(BPF_MAP_LOOKUP_ELEM, &attr), "BPF_MAP_LOOKUP_ELEM");
	printf("calls: %llu sum: %llu\n", seen.calls, seen.sum);
	printf("pid: %s\n", seen.pid_tgid >> 32 == (__u64)pid ? "its" : "another");
	printf("text: %.16s\n", seen.text);
	for (int i = 0; i < seen.depth / 8 && i < 2; i++)
		name(seen.stack[i]);
	return 0;
}
