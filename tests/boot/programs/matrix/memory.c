// SPDX-License-Identifier: GPL-2.0
/*
 * Memory: the stack's growth and end, mappings and their protections, huge pages, swap,
 * the OOM killer, userfaultfd, and what /proc shows of them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "matrix.h"

#define PAGE	4096UL
#define MIB	(1UL << 20)

static char *map(size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static sigjmp_buf back;
static void *fault_at;

static void jump_back(int number, siginfo_t *info, void *data)
{
	(void)data;
	fault_at = info->si_addr;
	siglongjmp(back, number);
}

/* The signal that a write causes, or 0. */
static int writing(volatile char *p)
{
	int number = sigsetjmp(back, 1);

	if (!number)
		*p = 1;
	return number;
}

static int reading(volatile char *p)
{
	int number = sigsetjmp(back, 1);

	if (!number)
		(void)*p;
	return number;
}

static void catch(void)
{
	handle(SIGSEGV, jump_back, SA_ONSTACK);
	handle(SIGBUS, jump_back, SA_ONSTACK);
}

/* ---- Stack ---- */

static uintptr_t lowest;
static volatile long deepest = 1L << 40;

static void on_overflow(int number, siginfo_t *info, void *data)
{
	(void)data;
	fault_at = info->si_addr;
	siglongjmp(back, number);
}

static __attribute__((noinline)) long dig(long depth)
{
	volatile char frame[1024];

	frame[0] = depth;
	lowest = (uintptr_t)frame;
	return depth < deepest ? dig(depth + 1) + frame[0] : 0;
}

static void *dig_in_thread(void *data)
{
	(void)data;
	return (void *)dig(0);
}

static void stack(void)
{
	struct rlimit limit = { 2 * MIB, RLIM_INFINITY };
	stack_t other = { .ss_sp = map(64 << 10, MAP_PRIVATE), .ss_size = 64 << 10 };
	uintptr_t top = (uintptr_t)__builtin_frame_address(0);
	pthread_t thread;
	pid_t pid;

	CHECK(!setrlimit(RLIMIT_STACK, &limit));
	CHECK(!sigaltstack(&other, NULL));
	handle(SIGSEGV, on_overflow, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		dig(0);
	CHECK((uintptr_t)fault_at >= lowest - 2048 && (uintptr_t)fault_at <= lowest + 1024);
	OK("grown to %ld KiB of 2048, at least 1900: %d", 2048L,
	   top - lowest > 1900 << 10 && top - lowest <= 2 * MIB);
	limit.rlim_cur = 4 * MIB;
	CHECK(!setrlimit(RLIMIT_STACK, &limit));
	if (!sigsetjmp(back, 1))
		dig(0);
	OK("and on to 4 MiB: %d", top - lowest > 3900 << 10);
	pid = split();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		pthread_create(&thread, NULL, dig_in_thread, NULL);
		pthread_join(thread, NULL);
	}
	OK("a thread's: %s", end_of(pid));
	/* Also in system calls: a buffer in the part that is not mapped yet. */
	pid = split();
	if (!pid) {
		int fd = open("/proc/self/stat", O_RDONLY);
		char *far = (char *)top - 700 * 1024;

		CHECK(read(fd, far - (4 << 20) / 8, 16) > 0 || errno == EFAULT);
		_exit(3);
	}
	OK("by a system call: %s", end_of(pid));
}

/* ---- Mappings ---- */

static void mappings(void)
{
	char *p = map(8 * PAGE, MAP_PRIVATE), *q;
	unsigned char in_core[8];
	int status;
	pid_t pid;

	catch();
	memset(p, 'a', 8 * PAGE);
	CHECK(!mprotect(p + PAGE, PAGE, PROT_NONE));
	OK("none, read: %d", reading(p + PAGE));
	OK("none, written: %d", writing(p + PAGE));
	CHECK(!mprotect(p + PAGE, PAGE, PROT_READ));
	OK("read-only, read: %d", reading(p + PAGE));
	OK("read-only, written: %d", writing(p + PAGE));
	CHECK(fault_at == p + PAGE);
	CHECK(!mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE) && !writing(p + PAGE));
	q = mremap(p, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q[7 * PAGE] == 'a' && !q[8 * PAGE]);
	CHECK(mremap(q, 64 * PAGE, 4 * PAGE, 0) == q);
	OK("shrunk: %d", reading(q + 5 * PAGE));
	CHECK(!madvise(q, PAGE, MADV_DONTNEED) && !q[0]);
	CHECK(!madvise(q, PAGE, MADV_FREE));
	CHECK(!mlock(q, 4 * PAGE) && !mincore(q, 4 * PAGE, in_core));
	OK("locked: %d", in_core[0] & in_core[3] & 1);
	CHECK(!munlock(q, 4 * PAGE));
	q[0] = 'w';
	q[PAGE] = 'd';
	CHECK(!madvise(q, PAGE, MADV_WIPEONFORK) && !madvise(q + PAGE, PAGE, MADV_DONTFORK));
	pid = split();
	if (!pid)
		_exit(q[0] * 100 + reading(q + PAGE));
	CHECK(waitpid(pid, &status, 0) == pid);
	OK("in the child: %d", WEXITSTATUS(status));
	p = sbrk(0);
	CHECK(sbrk(5 * PAGE) == p);
	p[PAGE] = 1;
	CHECK(sbrk(-5 * (long)PAGE) == p + 5 * PAGE);
	OK("behind the break: %d", writing((char *)(((uintptr_t)p + 5 * PAGE) & -PAGE)) == SIGSEGV);
	OK("in the kernel's half: %d", mmap((void *)0xffffffff82000000, PAGE, PROT_READ,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
	   == MAP_FAILED && errno == ENOMEM);
}

static int initialised[1024] = { [5] = 5 };
static int zeroed[1024];

/* The program's own data can be protected, discarded and moved like any memory. */
static void own_data(void)
{
	char *page = (char *)(((uintptr_t)zeroed + PAGE - 1) & -PAGE);
	int fd = memfd_create("shared", MFD_ALLOW_SEALING);
	struct iovec here, there;
	char bytes[8] = "";
	char *shared;
	pid_t pid;

	catch();
	CHECK(fd >= 0 && !ftruncate(fd, PAGE));
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid = split();
	if (!pid) {
		strcpy(shared, "hello");
		_exit(0);
	}
	end_of(pid);
	OK("%s", shared);
	munmap(shared, PAGE);
	CHECK(!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	OK("sealed: %d", write(fd, "x", 1) < 0 && errno == EPERM);
	initialised[5] = 6;
	pid = split();
	if (!pid) {
		milliseconds(20);
		CHECK(!mprotect(page, PAGE, PROT_READ));
		OK("data made read-only: %d", writing(page));
		fflush(stdout);
		pause();
	}
	here = (struct iovec){ bytes, sizeof(int) };
	there = (struct iovec){ &initialised[5], sizeof(int) };
	CHECK(process_vm_readv(pid, &here, 1, &there, 1, 0) == sizeof(int));
	OK("process_vm_readv: %d", bytes[0]);
	bytes[0] = 9;
	CHECK(process_vm_writev(pid, &here, 1, &there, 1, 0) == sizeof(int));
	fd = open("/proc/self/mem", O_RDWR);
	CHECK(pread(fd, bytes, 4, (off_t)(uintptr_t)&initialised[5]) == 4);
	OK("/proc/PID/mem: %d", bytes[0]);
	bytes[0] = 8;
	CHECK(pwrite(fd, bytes, 4, (off_t)(uintptr_t)&initialised[5]) == 4 && initialised[5] == 8);
	milliseconds(60);
	kill(pid, SIGKILL);
	OK("%s", end_of(pid));
}

/* ---- What /proc shows ---- */

static long rollup(const char *key)
{
	return field("/proc/self/smaps_rollup", key);
}

static void proc(void)
{
	long rss = field("/proc/self/status", "VmRSS"), anonymous = rollup("Anonymous");
	long data = field("/proc/self/status", "VmData");
	char *p = map(4 * MIB, MAP_PRIVATE), line[512], *end;
	int heap = 0, stack = 0, text_executable = 0, ours = 0;
	unsigned long from, to;
	FILE *file;

	memset(p, 1, 4 * MIB);
	OK("resident: %d", labs(field("/proc/self/status", "VmRSS") - rss - 4096) < 200);
	OK("private: %d", labs(rollup("Anonymous") - anonymous - 4096) < 200);
	OK("data: %d", labs(field("/proc/self/status", "VmData") - data - 4096) < 200);
	munmap(p, 4 * MIB);
	OK("given back: %d", labs(field("/proc/self/status", "VmRSS") - rss) < 200);
	OK("threads %ld, swapped %ld", field("/proc/self/status", "Threads"),
	   field("/proc/self/status", "VmSwap"));
	free(malloc(100));
	file = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof(line), file)) {
		CHECK(sscanf(line, "%lx-%lx", &from, &to) == 2);
		heap += !!strstr(line, "[heap]");
		stack += strstr(line, "[stack]") && from <= (uintptr_t)&p && (uintptr_t)&p < to;
		ours += from <= (uintptr_t)initialised && (uintptr_t)initialised < to &&
			strstr(line, " rw-p ");
		text_executable += !!strstr(line, " r-xp ") && !strstr(line, "[v");
	}
	fclose(file);
	OK("heap %d, stack %d, data %d", heap, stack, ours);
	OK("one text: %d", text_executable == 1);
	file = fopen("/proc/self/stat", "r");
	CHECK(fgets(line, sizeof(line), file));
	fclose(file);
	end = strrchr(line, ')');
	CHECK(end && sscanf(end, ") R %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
			    "%*d %*d %*d %*u %*u %*d %*u %lu %lu", &from, &to) == 2);
	OK("its text is where it says: %d", from <= (uintptr_t)proc && (uintptr_t)proc <= to);
}

/* User and system time each grow when the program spends them. */
static void accounting(void)
{
	struct rusage before, after;
	long user, system;

	getrusage(RUSAGE_SELF, &before);
	do {
		for (int i = 0; i < 1000000; i++)
			__asm__ volatile("");
		getrusage(RUSAGE_SELF, &after);
		user = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000 +
		       (after.ru_utime.tv_usec - before.ru_utime.tv_usec) / 1000;
	} while (user < 200);
	system = (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
		 (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000;
	OK("computing is user time: %d", system < 100);
	before = after;
	do {
		for (int i = 0; i < 20; i++)
			munmap(memset(map(MIB, MAP_PRIVATE | MAP_POPULATE), 0, 1), MIB);
		getrusage(RUSAGE_SELF, &after);
		system = (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
			 (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000;
	} while (system < 200);
	OK("faults are counted: %d", after.ru_minflt > before.ru_minflt);
}

/* ---- Huge pages ---- */

static void huge(void)
{
	char *p = map(8 * MIB, MAP_PRIVATE), *q;
	FILE *file;
	char line[256];
	long kib = 0;

	p = (char *)(((uintptr_t)p + 2 * MIB - 1) & -(2 * MIB));
	CHECK(!madvise(p, 4 * MIB, MADV_HUGEPAGE));
	memset(p, 'h', 4 * MIB);
	file = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "AnonHugePages:", 14))
			kib += strtol(line + 14, NULL, 10);
	}
	fclose(file);
	CHECK(kib == 4096);
	OK("transparent: %ld KiB", kib);
	pid_t pid = split();
	if (!pid) {
		p[5] = 'c';
		_exit(p[5] == 'c' && p[3 * MIB] == 'h' ? 4 : 1);
	}
	OK("copied: %s, %c", end_of(pid), p[5]);
	CHECK(!mprotect(p + 3 * PAGE, PAGE, PROT_READ));
	catch();
	OK("split: %d", writing(p + 3 * PAGE));
	OK("next to it: %d", writing(p + 4 * PAGE));
	q = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (q == MAP_FAILED) {
		OK("reserved: errno %d", errno);
		return;
	}
	memset(q, 'H', 4 * MIB);
	OK("reserved: %c", q[4 * MIB - 1]);
}

/* ---- Swap, out of memory ---- */

#define LOTS	(64 * MIB)

static unsigned int big[4 * MIB / 4];

static void swap(void)
{
	unsigned int *p = (unsigned int *)map(LOTS, MAP_PRIVATE), bad = 0;

	for (size_t i = 0; i < ARRAY_SIZE(big); i++)
		big[i] = i * 7 + 1;
	for (size_t i = 0; i < LOTS / 4; i += 16)
		p[i] = i * 2654435761u;
	CHECK(!madvise((void *)(((uintptr_t)big + PAGE - 1) & -PAGE), sizeof(big) - PAGE,
		       MADV_PAGEOUT));
	CHECK(!madvise(p, LOTS, MADV_PAGEOUT));
	CHECK(field("/proc/self/status", "VmSwap") > 40 << 10);
	for (size_t i = 0; i < LOTS / 4; i += 16)
		bad += p[i] != (unsigned int)(i * 2654435761u);
	for (size_t i = 0; i < ARRAY_SIZE(big); i++)
		bad += big[i] != i * 7 + 1;
	OK("swapped out, and in again: %u wrong", bad);
	/* The stack, too, during a system call and a handler. */
	char here[64 << 10];
	memset(here, 's', sizeof(here));
	madvise((void *)((uintptr_t)here & -PAGE), sizeof(here), MADV_PAGEOUT);
	handle(SIGUSR1, jump_back, 0);
	if (!sigsetjmp(back, 1))
		raise(SIGUSR1);
	OK("stack: %c%c", here[0], here[sizeof(here) - 1]);
}

static void oom(void)
{
	pid_t pid = split();

	if (!pid) {
		put("/proc/self/oom_score_adj", "1000");
		for (;;)
			memset(map(MIB, MAP_PRIVATE), 1, MIB);
	}
	OK("too much: %s", end_of(pid));
	CHECK(put("/proc/self/oom_score_adj", "10") == 0);
	OK("and we go on");
}

/* ---- userfaultfd ---- */

static int uffd;
static char *watched;

static void *serve(void *data)
{
	char page[PAGE] __attribute__((aligned(4096)));

	(void)data;
	for (int i = 0; i < 4; i++) {
		struct uffd_msg message;
		struct uffdio_copy copy;

		CHECK(read(uffd, &message, sizeof(message)) == sizeof(message));
		CHECK(message.event == UFFD_EVENT_PAGEFAULT);
		memset(page, '0' + (message.arg.pagefault.address - (uintptr_t)watched) / PAGE, PAGE);
		copy = (struct uffdio_copy){ message.arg.pagefault.address & -PAGE,
					     (uintptr_t)page, PAGE, 0, 0 };
		CHECK(!ioctl(uffd, UFFDIO_COPY, &copy));
	}
	return NULL;
}

static void userfault(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register all = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char bytes[5] = "";
	pthread_t thread;
	int pipes[2];

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	CHECK(uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api) && !pipe(pipes));
	watched = map(4 * PAGE, MAP_PRIVATE);
	all.range = (struct uffdio_range){ (uintptr_t)watched, 4 * PAGE };
	CHECK(!ioctl(uffd, UFFDIO_REGISTER, &all));
	CHECK(!pthread_create(&thread, NULL, serve, NULL));
	for (int i = 0; i < 3; i++)
		bytes[i] = watched[i * PAGE];
	CHECK(write(pipes[1], watched + 3 * PAGE, 1) == 1 && read(pipes[0], bytes + 3, 1) == 1);
	pthread_join(thread, NULL);
	OK("%s", bytes);
	/* For user accesses only: the program's accesses count as such. */
	close(uffd);
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	api = (struct uffdio_api){ .api = UFFD_API };	/* the kernel has changed it */
	CHECK(uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api));
	CHECK(!madvise(watched, 4 * PAGE, MADV_DONTNEED));
	CHECK(!ioctl(uffd, UFFDIO_REGISTER, &all));
	CHECK(!pthread_create(&thread, NULL, serve, NULL));
	OK("from the kernel: %d", write(pipes[1], watched, 1) < 0 && errno == EFAULT);
	for (int i = 0; i < 4; i++)
		bytes[i] = watched[i * PAGE];
	pthread_join(thread, NULL);
	OK("user mode only: %s", bytes);
}

static void poison(void)
{
	char *p = map(2 * PAGE, MAP_PRIVATE);

	p[0] = p[PAGE] = 1;
	catch();
	/* The signal may come now, or at the next access. */
	if (!sigsetjmp(back, 1))
		CHECK(!madvise(p, PAGE, MADV_HWPOISON));
	OK("poisoned: %d", reading(p));
	OK("at it: %d, next to it: %d", fault_at == p, reading(p + PAGE));
}

/* The program's system calls refuse a pointer into the kernel, as every process's do. */
static void kernel_pointers(void)
{
	static const unsigned long bad[] = {
		0xffffffff82000000, 0xffff888000000000, 0x800000000000, 0x7ffffffff000, ~0UL,
	};
	int pipes[2], zero_fd = open("/dev/zero", O_RDONLY);

	CHECK(!pipe(pipes) && zero_fd >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		void *p = (void *)bad[i];

		OK("%#lx: read %d, write %d", bad[i], ERROR(read(zero_fd, p, 8)),
		   ERROR(write(pipes[1], p, 8)));
		OK("pipe %ld, open %ld, uname %ld", (long)ERROR(syscall(SYS_pipe, p)),
		   (long)ERROR(syscall(SYS_open, p, O_RDONLY)), (long)ERROR(syscall(SYS_uname, p)));
	}
}

/* Text that the program writes itself is user text: only a normal process runs it. */
static void made_text(void)
{
	static const unsigned char seven[] = { 0xb8, 7, 0, 0, 0, 0xc3 };
	pid_t pid = split();

	if (!pid) {
		void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		int (*function)(void);

		CHECK(p != MAP_FAILED);
		memcpy(p, seven, sizeof(seven));
		memcpy(&function, &p, sizeof(function));
		alarm(3);
		_exit(function());
	}
	OK("%s", end_of(pid));
}

const struct check memory_checks[] = {
	{ "memory.kernel_pointers", kernel_pointers },
	{ "differences.made_text", made_text },
	{ "memory.stack", stack },
	{ "memory.mappings", mappings },
	{ "memory.own_data", own_data },
	{ "memory.proc", proc },
	{ "memory.accounting", accounting },
	{ "memory.huge", huge },
	{ "memory.swap", swap },
	{ "memory.oom", oom },
	{ "memory.userfault", userfault },
	{ "memory.poison", poison },
	{ NULL, NULL },
};
