// SPDX-License-Identifier: GPL-2.0
/* Puts a process into unusual states before it starts the application. */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "starts.h"

static void set_limit(int which, rlim_t value)
{
	struct rlimit limit;

	getrlimit(which, &limit);
	limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
	setrlimit(which, &limit);
}

static void limits(struct random *random)
{
	static const int all[] = {
		RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_SIGPENDING,
		RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_CORE,
	};
	static const rlim_t sizes[] = { 0, 1, 3, 16, 4096, 1 << 16, 1 << 20, 4 << 20, 16 << 20 };

	for (unsigned long n = 1 + below(random, 3); n; n--)
		set_limit(PICK(random, all), PICK(random, sizes));
}

static void stack(struct random *random)
{
	static const rlim_t sizes[] = {
		0, 1, 4096, 16384, 65536, 128 << 10, 1 << 20, RLIM_INFINITY, RLIM_INFINITY,
	};

	set_limit(RLIMIT_STACK, PICK(random, sizes));
}

/* Timers that expire when the process has become, or is becoming, an application */
static void timers(struct random *random)
{
	static const int which[] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };
	long first = 1 + (long)below(random, 20000);
	struct itimerval when = { { 0, (long)below(random, 5000) }, { 0, first } };
	struct itimerspec then = { { 0, (long)below(random, 3000000) }, { 0, first * 1000 } };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = any_signal(random) };
	timer_t timer;

	setitimer(PICK(random, which), &when, NULL);
	if (one_in(random, 2) && !timer_create(CLOCK_MONOTONIC, &event, &timer))
		timer_settime(timer, 0, &then, NULL);
	if (one_in(random, 4))
		alarm(1);
}

static void descriptors(struct random *random)
{
	for (int fd = 0; fd < 3; fd++) {
		if (!one_in(random, 3))
			close(fd);
	}
	if (one_in(random, 4))
		dup2(open(TOP, O_RDONLY | O_DIRECTORY), 0);
}

static void signal_state(struct random *random)
{
	struct sigaction ignored = { .sa_handler = SIG_IGN };
	uint64_t mask = draw(random);
	stack_t alternate = { .ss_sp = scratch, .ss_size = SCRATCH };

	for (int i = 0; i < 8; i++)
		sigaction(any_signal(random), &ignored, NULL);
	sigaltstack(&alternate, NULL);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
	for (int i = 0; i < 4; i++) {
		int sig = any_signal(random);

		/* Pending if it is blocked */
		if (mask >> (sig - 1) & 1)
			kill(getpid(), sig);
	}
}

static void persona(struct random *random)
{
	static const unsigned long flags[] = {
		READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT, MMAP_PAGE_ZERO,
		ADDR_LIMIT_32BIT, ADDR_LIMIT_3GB, WHOLE_SECONDS, STICKY_TIMEOUTS, UNAME26, SHORT_INODE,
		FDPIC_FUNCPTRS,
	};
	unsigned long chosen = one_in(random, 4) ? below(random, 24) : 0;

	for (int i = 0; i < 3; i++)
		chosen |= PICK(random, flags);
	personality(chosen);
}

static void controls(struct random *random)
{
	for (int i = 0; i < 6; i++) {
		int option = one_in(random, 2) ? (int)below(random, 80) : PR_SET_TSC;

		/* Other actions test these; or the worker would lose control */
		if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP ||
		    option == PR_SET_PTRACER)
			continue;
		prctl(option, one_in(random, 2) ? below(random, 4) : any_value(random),
		      any_value(random), any_value(random), any_value(random));
	}
	if (one_in(random, 2))
		prctl(PR_SET_SPECULATION_CTRL, below(random, 3), 1UL << below(random, 4), 0, 0);
	if (one_in(random, 2))
		prctl(PR_SET_PDEATHSIG, any_signal(random));
	/* Make cpuid and rdtsc fault */
	if (one_in(random, 2))
		syscall(SYS_arch_prctl, 0x1012 /* ARCH_SET_CPUID */, 0);
	if (one_in(random, 2))
		prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, any_address(random), PAGE, scratch);
}

/* Pending requests, with buffers in memory that will be unmapped */
static void ring(struct random *random)
{
	struct io_uring_params params = { .flags = one_in(random, 2) ? 0 : draw(random) & 0x1fff };
	int fd = (int)syscall(SYS_io_uring_setup, 1 + below(random, 8), &params);
	unsigned int *tail, *array, mask;
	struct io_uring_sqe *sqes;
	char *rings;

	if (fd < 0)
		return;
	if (one_in(random, 2))
		fcntl(fd, F_SETFD, 0);
	rings = mmap(NULL, params.sq_off.array + params.sq_entries * 4 + PAGE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqes == MAP_FAILED || params.sq_entries == 0 ||
	    params.flags & (1U << 16 /* NO_SQARRAY */ | 1U << 10 | 1U << 11))
		return;
	tail = (unsigned int *)(rings + params.sq_off.tail);
	mask = *(unsigned int *)(rings + params.sq_off.ring_mask);
	array = (unsigned int *)(rings + params.sq_off.array);
	for (unsigned int i = 0; i < params.sq_entries; i++) {
		struct io_uring_sqe *sqe = &sqes[i];

		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = (uint8_t)below(random, 60);
		sqe->flags = (uint8_t)(one_in(random, 3) ? draw(random) & 0x7e : 0);
		sqe->fd = (int)below(random, 40);
		sqe->off = any_value(random);
		sqe->addr = any_address(random);
		sqe->len = (unsigned int)below(random, 4096);
		sqe->rw_flags = one_in(random, 3) ? (int)draw(random) : 0;
		array[i & mask] = i;
	}
	atomic_thread_fence(memory_order_seq_cst);
	*tail += params.sq_entries;
	syscall(SYS_io_uring_enter, fd, params.sq_entries, 0, 0, NULL, 0);
}

/* Faults for a handler that never resolves them */
static void faults(struct random *random)
{
	int fd = (int)syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)scratch, 4 * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	(void)random;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return;
	ioctl(fd, UFFDIO_REGISTER, &range);
}

static void descriptor_table(struct random *random)
{
	for (int i = 0; i < 8; i++) {
		struct user_desc entry = {
			.entry_number = (unsigned int)below(random, 64), .limit = 0xfffff,
			.seg_32bit = draw(random) & 1, .contents = below(random, 3),
			.limit_in_pages = 1, .useable = 1,
		};

		syscall(SYS_modify_ldt, 0x11, &entry, sizeof(entry));
	}
}

static void affinity(struct random *random)
{
	move(random, 0);
	if (one_in(random, 2))
		sched_yield();
}

static void scheduler(struct random *random)
{
	struct sched_param none = { 0 };

	sched_setscheduler(0, one_in(random, 2) ? SCHED_BATCH : SCHED_IDLE, &none);
	setpriority(PRIO_PROCESS, 0, (int)below(random, 20));
}

static void bases(struct random *random)
{
	syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, any_value(random));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r" ((unsigned short)(one_in(random, 2) ?
									       0x2b : 0)));
}

static void keys(struct random *random)
{
	long key = syscall(SYS_pkey_alloc, 0, 0);

	if (key >= 0)
		syscall(SYS_pkey_mprotect, scratch, PAGE, PROT_READ, key);
	mlockall((int)below(random, 8));
	syscall(SYS_membarrier, 1 << below(random, 8), 0, 0);
}

static void (*const preparations[PREPARATIONS])(struct random *random) = {
	limits, stack, timers, descriptors, signal_state, persona, controls, ring, faults,
	descriptor_table, affinity, scheduler, bases, keys,
};

void prepare(struct random *random, unsigned long bits)
{
	/* Limits and closed descriptors last: they would break the others. */
	for (int i = PREPARATIONS - 1; i >= 0; i--) {
		if (bits >> i & 1)
			preparations[i](random);
	}
}
