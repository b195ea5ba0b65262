// SPDX-License-Identifier: GPL-2.0
/*
 * Attempts of a normal process to get into ring 0, where the application is: each ends with
 * a signal, an error or no effect; none in ring 0.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <ucontext.h>

#include "matrix.h"

#define RING0	99

/* The target of an attack: its exit status says in which ring it arrived. */
static void arrived(void)
{
	unsigned short cs;

	__asm__ volatile("and $-16, %%rsp; mov %%cs, %0" : "=r" (cs));
	_exit(cs & 3 ? 7 : RING0);
}

/* Any end except in ring 0 is fine. The kind of end may depend on the processor. */
static void harmless(pid_t pid, const char *what, unsigned long detail)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == RING0) {
		printf("not ok %s %s %#lx: in ring 0\n", current, what, detail);
		fflush(stdout);
		_exit(1);
	}
}

/* ---- Signal frames ---- */

static unsigned long selectors, target;

static void forge(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;

	(void)number;
	(void)info;
	context->uc_mcontext.gregs[REG_CSGSFS] = selectors;
	context->uc_mcontext.gregs[REG_RIP] = target;
}

static void forged_frames(void)
{
	unsigned long places[] = { (uintptr_t)arrived, symbol("__ukl_text_start"), symbol("_text"),
				   symbol("ukl_syscall"), symbol("ukl_return_to_ip") };
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		for (unsigned long cs = 0; cs < 0x90; cs++, n++) {
			pid_t pid;

			if (i && cs != 0x10 && cs != 0x33)
				continue;
			/* Set all bits above the selector, too. */
			selectors = 0xffffffffffff0000 | cs;
			if (cs & 1)
				selectors = 0x002b000000000000 | cs;
			target = places[i];
			pid = split();
			if (!pid) {
				handle(SIGUSR1, forge, 0);
				raise(SIGUSR1);
				_exit(1);
			}
			harmless(pid, "selector", cs);
		}
	}
	OK("tried them all");
}

/* ---- ptrace ---- */

static void setregs(void)
{
	struct user_regs_struct registers, bad;
	unsigned long entry = symbol("__ukl_text_start");
	int accepted = 0, status;

	CHECK(entry);
	for (int i = 0; i < 100; i++) {
		pid_t pid = split();

		if (!pid) {
			ptrace(PTRACE_TRACEME, 0, 0, 0);
			raise(SIGSTOP);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(!ptrace(PTRACE_GETREGS, pid, 0, &registers));
		bad = registers;
		bad.rip = (uintptr_t)arrived;
		if (i < 48)
			bad.cs = 0x33 | 1UL << (16 + i);
		else if (i < 96)
			bad.cs = 0x10 | 1UL << (16 + i - 48);
		else if (i == 96)
			bad.cs = 0x10;
		else if (i == 97)
			bad.ss = 0x18;
		else
			bad.rip = i == 98 ? entry : 0xffffffff82000000;
		accepted += !ptrace(PTRACE_SETREGS, pid, 0, &bad) && (bad.cs & 0xffff) == 0x10;
		ptrace(PTRACE_CONT, pid, 0, 0);
		harmless(pid, "setregs", i);
	}
	OK("selector of ring 0 accepted: %d", accepted);
}

/* ---- Instructions ---- */

static void run_bytes(const char *code, size_t size)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(page != MAP_FAILED);
	memcpy(page, code, size);
	page[size] = (char)0xc3;
	((void (*)(void))page)();
}

static void gates(void)
{
	int ends[3] = { 0 };

	for (int vector = 0; vector < 256; vector++) {
		pid_t pid = split();
		int status;

		if (!pid) {
			run_bytes((char[]){ (char)0xcd, (char)vector }, 2);
			arrived();
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		CHECK(!WIFEXITED(status) || WEXITSTATUS(status) == 7);
		ends[WIFEXITED(status) ? 0 : WTERMSIG(status) == SIGSEGV ? 1 : 2]++;
	}
	OK("int: %d went on, %d SEGV, %d other", ends[0], ends[1], ends[2]);
}

static const struct {
	const char *name;
	unsigned char code[8];
	int size;
} instructions[] = {
	{ "sysretq", { 0x48, 0x0f, 0x07 }, 3 }, { "sysexit", { 0x48, 0x0f, 0x35 }, 3 },
	{ "swapgs", { 0x0f, 0x01, 0xf8 }, 3 }, { "cli", { 0xfa }, 1 }, { "hlt", { 0xf4 }, 1 },
	{ "wrmsr", { 0x0f, 0x30 }, 2 }, { "mov to cr4", { 0x0f, 0x22, 0xe0 }, 3 },
	{ "stac", { 0x0f, 0x01, 0xcb }, 3 }, { "lidt", { 0x0f, 0x01, 0x1c, 0x24 }, 4 },
	{ "in", { 0xe4, 0x80 }, 2 }, { "mov to dr7", { 0x0f, 0x23, 0xf8 }, 3 },
};

static void privileges(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++) {
		pid_t pid = split();

		if (!pid) {
			run_bytes((const char *)instructions[i].code, instructions[i].size);
			arrived();
		}
		OK("%s: %s", instructions[i].name, end_of(pid));
	}
}

/* QEMU's TCG may read these frames with supervisor rights: SMAP has to be off here. */
static void returns(void)
{
	for (unsigned long cs = 0; cs < 0x90; cs++) {
		pid_t pid = split();

		if (!pid)
			__asm__ volatile("pushq $0x2b; pushq %%rsp; pushfq; pushq %0; pushq %1; iretq"
					 : : "r" (cs | (cs & 4 ? 0x1000000000 : 0)), "r" (arrived));
		harmless(pid, "iretq", cs);
		pid = split();
		if (!pid)
			__asm__ volatile("pushq %0; pushq %1; rex.W lret" : : "r" (cs), "r" (arrived));
		harmless(pid, "lret", cs);
	}
	OK("iretq and lret: tried them all");
}

static void jumps(void)
{
	const char *const names[] = { "ukl_syscall", "__ukl_text_start", "ukl_return_to_ip",
				      "ukl_syscall_kernel", "entry_SYSCALL_64" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unsigned long address = symbol(names[i]);
		pid_t pid = split();

		CHECK(address);
		if (!pid) {
			__asm__ volatile("mov %1, %%rcx; mov $39, %%eax; call *%0"
					 : : "r" (address), "r" (arrived) : "rcx", "rax", "memory");
			_exit(1);
		}
		OK("%s: %s", names[i], end_of(pid));
	}
}

/* SYSCALL before a special address, and with a forged rcx and r11. */
static void syscalls(void)
{
	static const unsigned long pages[] = { 0x7fffffffe000, 0x10000, 0x400000000000 };
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		pid = split();
		if (!pid) {
			char *page = mmap((void *)pages[i], 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

			if (page == MAP_FAILED)
				_exit(50);
			page[4094] = 0x0f;
			page[4095] = 0x05;
			__asm__ volatile("mov $-1, %%rcx; mov $-1, %%r11; jmp *%0"
					 : : "r" (page + 4094), "a" (SYS_getpid) : "rcx", "r11", "memory");
		}
		OK("at the end of page %#lx: %s", pages[i], end_of(pid));
	}
	for (int i = 0; i < 4; i++) {
		static const unsigned long bases[] = { 0xffffffff82000000, 0xffff888000000000, 8, 1UL << 46 };

		pid = split();
		if (!pid) {
			char *map;

			/* FSGSBASE: enter the kernel in every way with an arbitrary gs. */
			__asm__ volatile("wrgsbase %0" : : "r" (bases[i]));
			for (int n = 0; n < 200; n++) {
				CHECK(syscall(SYS_getppid) > 0);
				map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
				*(volatile char *)map = 1;
				munmap(map, 4096);
			}
			signal(SIGTRAP, SIG_IGN);
			milliseconds(20);
			__asm__ volatile("int3");
			_exit(1);
		}
		OK("gs %#lx: %s", bases[i], end_of(pid));
	}
	pid = split();
	if (!pid) {
		CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffffffff82000000) < 0);
		__asm__ volatile("pushfq; orq $0x44100, (%%rsp); popfq; mov $110, %%eax; syscall"
				 : : : "rax", "rcx", "r11", "memory", "cc");
		_exit(1);
	}
	OK("AC, NT and TF: %s", end_of(pid));
}

static void ldt(void)
{
	int accepted = 0;

	for (unsigned int i = 0; i < 256; i++) {
		struct user_desc entry = {
			.entry_number = i, .base_addr = 0, .limit = 0xfffff, .seg_32bit = i & 1,
			.contents = i >> 1 & 3, .read_exec_only = i >> 3 & 1, .limit_in_pages = 1,
			.seg_not_present = i >> 4 & 1, .useable = i >> 5 & 1, .lm = i >> 6 & 1,
		};
		pid_t pid;

		if (syscall(SYS_modify_ldt, 0x11, &entry, sizeof(entry)))
			continue;
		accepted++;
		for (unsigned long rpl = 0; rpl < 4; rpl++) {
			pid = split();
			if (!pid)
				__asm__ volatile("pushq %0; pushq %1; rex.W lret"
						 : : "r" (i << 3 | 4UL | rpl), "r" (arrived));
			harmless(pid, "ldt", i);
		}
	}
	OK("entries of an LDT: %s", accepted ? "some" : "refused");
}

static void start(const char *path, const char *what)
{
	char *words_of_it[] = { "matrix", "exit", "44", NULL };
	pid_t pid = split();

	if (!pid) {
		execv(path, words_of_it);
		_exit(errno);
	}
	OK("%s: %s", what, end_of(pid));
}

/* The kernel must refuse breakpoints on its own code in application text. */
static void kprobes(void)
{
	static const char control[] = "/sys/kernel/tracing/kprobe_events";

	mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL);
	OK("in the application: errno %d", -put(control, "p:one ukl_app_start"));
	CHECK(!put(control, "-:one"));
	OK("in the stub: errno %d", -put(control, "p:two ukl_syscall"));
	OK("in the entry: errno %d", -put(control, "p:three ukl_syscall_kernel"));
	CHECK(!put(control, "p:four do_sys_openat2"));
	CHECK(!put("/sys/kernel/tracing/events/kprobes/four/enable", "1"));
	CHECK(open("/nothing", O_RDONLY) < 0);
	OK("elsewhere, at work");
	CHECK(!put("/sys/kernel/tracing/events/kprobes/four/enable", "0"));
	CHECK(!put(control, "-:four"));
}

/* Proves that the test would notice an attack. */
static void ring(void)
{
	pid_t pid = split();

	if (!pid)
		arrived();
	OK("%s", end_of(pid));
}

/* ---- Files ---- */

/* As another user, with a copy of the marker; UKL names the real one. */
static void markers(void)
{
	char buffer[4096], *real = getenv("UKL"), path[128], line[256];
	unsigned long begin, end;
	int from, to, status;
	pid_t pid;

	CHECK(real);
	from = open(real, O_RDONLY);
	CHECK(from >= 0 && read(from, buffer, sizeof(buffer)) == sizeof(buffer));
	pid = split();
	if (!pid)
		execl(real, "matrix", "pause", NULL);
	milliseconds(300);
	/* The internal file with the data cannot be started, not even by root. */
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *maps = fopen(path, "r");
	CHECK(maps && fgets(line, sizeof(line), maps) && sscanf(line, "%lx-%lx", &begin, &end) == 2);
	CHECK(strstr(line, "ukl:"));
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, begin, end);
	start(path, "the internal file");
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, &status, 0) == pid);

	CHECK(!setresgid(1000, 1000, 1000) && !setresuid(1000, 1000, 1000));
	prctl(PR_SET_DUMPABLE, 1);
	start(real, "root's marker");
	unlink("/tmp/forged");
	to = open("/tmp/forged", O_CREAT | O_WRONLY, 0755);
	CHECK(to >= 0 && write(to, buffer, sizeof(buffer)) == sizeof(buffer) && !fchmod(to, 04755));
	close(to);
	start("/tmp/forged", "a copy of one's own");
	to = memfd_create("forged", 0);
	CHECK(write(to, buffer, sizeof(buffer)) == sizeof(buffer) && !fchmod(to, 0755));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
	start(path, "in a memfd");
	close(to);
	unlink("/tmp/forged");
	OK("written to root's: errno %d", open(real, O_WRONLY) < 0 ? errno : 0);
}

const struct check hostile_checks[] = {
	{ "hostile.sigreturn", forged_frames },
	{ "hostile.setregs", setregs },
	{ "hostile.gates", gates },
	{ "hostile.privileges", privileges },
	{ "hostile.returns", returns },
	{ "hostile.jumps", jumps },
	{ "hostile.syscalls", syscalls },
	{ "hostile.ldt", ldt },
	{ "hostile.markers", markers },
	{ "hostile.kprobes", kprobes },
	{ "differences.ring", ring },
	{ NULL, NULL },
};
