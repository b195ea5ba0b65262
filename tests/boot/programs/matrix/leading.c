// SPDX-License-Identifier: GPL-2.0
/*
 * Where a tracer and its own signal frames can send an application: to places where it can
 * have been, but not into the middle of the kernel's own code in its text. And what the
 * kernel's log shows of it.
 *
 * As in starting.c, an attack is a row of a table.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/klog.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <time.h>
#include <ucontext.h>

#include "matrix.h"
#include "starting.h"

#define LANDED	7	/* status of a process that reached the target */

/* ---- What the application does ---- */

static volatile int variable;

static void landed(void)
{
	_exit(LANDED);
}

static void tell_time(char **words)
{
	struct timespec now;

	(void)words;
	dprintf(REPORT, "%#lx\n", (unsigned long)landed);
	for (;;)
		clock_gettime(CLOCK_MONOTONIC, &now);
}

/* The handler's target, the content of the stack there, and r10. */
static unsigned long place, stacked[64], tenth;

static void lead(int number, siginfo_t *info, void *data)
{
	greg_t *registers = ((ucontext_t *)data)->uc_mcontext.gregs;

	(void)number;
	(void)info;
	for (size_t i = 33; i < ARRAY_SIZE(stacked); i++)
		stacked[i] = (unsigned long)landed;
	registers[REG_RIP] = place;
	registers[REG_RSP] = (greg_t)&stacked[32];
	registers[REG_RCX] = (greg_t)landed;
	registers[REG_RAX] = SYS_exit_group;
	registers[REG_RDI] = LANDED;
	registers[REG_R10] = tenth;
}

static void return_there(char **words)
{
	place = strtoul(words[0], NULL, 16);
	stacked[32] = strtoul(words[1], NULL, 16);
	if (!stacked[32])
		stacked[32] = (unsigned long)landed;
	tenth = strtoul(words[2], NULL, 16);
	handle(SIGUSR1, lead, 0);
	raise(SIGUSR1);
}

static unsigned long low, high;
static volatile sig_atomic_t hits;

static void count_hits(int number, siginfo_t *info, void *data)
{
	unsigned long ip = ((ucontext_t *)data)->uc_mcontext.gregs[REG_RIP];

	(void)number;
	(void)info;
	hits += ip >= low && ip < high;
}

/* Get signals in the kernel's own functions in application text. */
static void be_interrupted(char **words)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 300000 }, { 0, 300000 } };
	struct timespec now;
	timer_t timer;

	low = strtoul(words[0], NULL, 16);
	high = strtoul(words[1], NULL, 16);
	handle(SIGUSR1, count_hits, SA_RESTART);
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(!timer_settime(timer, 0, &often, NULL));
	while (hits < 50)
		clock_gettime(CLOCK_MONOTONIC, &now);
	landed();
}

static void fail(char **words)
{
	volatile char *nowhere = NULL, *text = (volatile char *)landed;
	const char *how = words[0];

	if (!strcmp(how, "write"))
		*nowhere = 1;
	if (!strcmp(how, "text"))
		*text = 1;
	if (!strcmp(how, "jump"))
		((void (*)(void))&variable)();
	if (!strcmp(how, "address"))
		__asm__ volatile("movabs $0x8000000000000000, %%rax; mov (%%rax), %%rax" : : : "rax");
	if (!strcmp(how, "ud2"))
		__asm__ volatile("ud2");
	if (!strcmp(how, "int3"))
		__asm__ volatile("int3");
	if (!strcmp(how, "divide"))
		__asm__ volatile("xor %%ecx, %%ecx; div %%ecx" : : : "rax", "rcx", "rdx");
}

const struct act is_led[] = {
	{ "time", tell_time },
	{ "return", return_there },
	{ "interrupted", be_interrupted },
	{ "fail", fail },
	{ NULL, NULL },
};

/* ---- Targets of a tracer and of a signal frame ---- */

static const char *led(pid_t pid, unsigned long address)
{
	return error_name(ERROR(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), address)));
}

void tracer(void)
{
	unsigned long first = symbol("__ukl_stubs_start"), end = symbol("__ukl_text_end");
	char *const told[] = { "started", "time", NULL };
	struct user_regs_struct registers, other;
	pid_t pid = begin(user_alone, NULL, told);
	unsigned long text;
	int taken = 0, status;

	CHECK(first && end > first && sscanf(hear(), "%lx", &text) == 1);
	CHECK(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL));
	do {
		CHECK(!ptrace(PTRACE_INTERRUPT, pid, 0, 0));
		CHECK(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
		CHECK(!ptrace(PTRACE_GETREGS, pid, 0, &registers));
		if (registers.rip >= first && registers.rip < end)
			break;
		CHECK(!ptrace(PTRACE_CONT, pid, 0, 0));
		milliseconds(1);
	} while (1);
	OK("its own registers, in a stub: %s",
	   error_name(ERROR(ptrace(PTRACE_SETREGS, pid, 0, &registers))));
	OK("its own address: %s", led(pid, registers.rip));
	/* After the stubs that are compiled from C */
	for (unsigned long address = symbol("__ukl_entry_start"); address < end; address++)
		taken += address != registers.rip && strcmp(led(pid, address), "EIO");
	OK("addresses in the stubs, taken: %d", taken);
	for (size_t i = 0; i < 2; i++) {
		static const char *const names[] = { "ukl_syscall", "ukl_return_to_ip" };

		other = registers;
		other.rip = symbol(names[i]);
		OK("registers with %s: %s", names[i],
		   error_name(ERROR(ptrace(PTRACE_SETREGS, pid, 0, &other))));
	}
	OK("behind the stubs: %s", led(pid, end));
	OK("kernel text: %s", led(pid, symbol("_text")));
	OK("application text: %s", led(pid, text));
	OK("user half: %s", led(pid, 0x1000));
	kill(pid, SIGKILL);
	came_of(pid);
}

static const struct {
	const char *name;
	unsigned long stacked;	/* flags, with AC, for a stub that pops flags; else an address */
} returns[] = {
	{ "ukl_return_to_ip", 0 },
	{ "ukl_return_to_call", 0 },
	{ "ukl_return_by_ret", 0x40002 },
	{ "__ukl_text_end", 0 },
	{ "ukl_syscall_kernel", 0 },
	/* Signals can find an application here, and it can continue from here. */
	{ "ukl_syscall", 0 },
	{ "ukl_syscall_restart", 0 },
	{ "ukl_fast_ret", 0 },
	{ "ukl_call", 0 },
};

static char *hexadecimal(unsigned long value)
{
	char *text;

	CHECK(asprintf(&text, "%#lx", value) > 0);
	return text;
}

void sigreturns(void)
{
	/* A function that ukl_call can call. */
	char *const function = hexadecimal(symbol("__x64_sys_getppid"));
	char *const interrupted[] = {
		"started", "interrupted", hexadecimal(symbol("__ukl_stubs_start")),
		hexadecimal(symbol("__ukl_text_end")), NULL
	};

	OK("where it was interrupted: %s", came_of(begin(user_alone, NULL, interrupted)));
	for (size_t i = 0; i < ARRAY_SIZE(returns); i++) {
		unsigned long address = symbol(returns[i].name);
		char *const told[] = {
			"started", "return", hexadecimal(address), hexadecimal(returns[i].stacked),
			function, NULL
		};

		CHECK(address);
		OK("%s: %s", returns[i].name, came_of(begin(user_alone, NULL, told)));
	}
}

/* ---- The kernel's log ---- */

static char *const fails[] = {
	"write", "text", "jump", "address", "ud2", "int3", "divide", "frame",
};

/* What the log shows of the process since MARK. */
static const char *told_about(pid_t pid, const char *mark)
{
	static char log[1 << 18];
	char *text = log, *next, process[16];
	int n = klogctl(3, log, sizeof(log) - 1), line = 0, linked = 0;
	unsigned long begin = symbol("__ukl_text_start"), end = symbol("__ukl_text_end");
	unsigned long moved = begin - strtoul(getenv("LINKED"), NULL, 16), address;

	CHECK(n > 0);
	log[n] = 0;
	while ((next = strstr(text + 1, mark)))
		text = next;
	snprintf(process, sizeof(process), "[%d]", pid);
	for (char *at = text; (at = strstr(at, "ffff")); at++) {
		if (strspn(at, "0123456789abcdef") < 16)
			continue;
		address = strtoul(at, NULL, 16) + moved;
		if (address < begin || address >= end)
			return "an address of the kernel half";
		linked = 1;
	}
	for (text = strtok(text, "\n"); text; text = strtok(NULL, "\n")) {
		if (!strstr(text, process))
			continue;
		line = 1;
	}
	return !line ? "nothing" : linked ? "as linked" : "no address of the kernel half";
}

void log_lines(void)
{
	char *const address = hexadecimal(symbol("_text"));

	CHECK(!put("/proc/sys/kernel/printk_ratelimit", "0"));
	for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
		char *const fail[] = { "started", "fail", fails[i], NULL };
		char *const frame[] = { "started", "return", address, "0", "0", NULL };
		char mark[64], text[64];
		pid_t pid;

		snprintf(mark, sizeof(mark), "<6>%s: %s\n", current, fails[i]);
		CHECK(!put("/dev/kmsg", mark));
		snprintf(mark, sizeof(mark), "%s: %s\n", current, fails[i]);
		pid = begin(user_alone, NULL, strcmp(fails[i], "frame") ? fail : frame);
		snprintf(text, sizeof(text), "%s", came_of(pid));
		OK("%s: %s, %s", fails[i], text, told_about(pid, mark));
	}
	CHECK(!put("/proc/sys/kernel/printk_ratelimit", "5"));
}
