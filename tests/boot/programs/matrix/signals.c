// SPDX-License-Identifier: GPL-2.0
/*
 * Signals: default actions, the interrupted context, alternate stacks, queues,
 * restarts, frames altered by the handler, timers, job control.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <fenv.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include "matrix.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM	(1U << 31)	/* <linux/signal.h>, which conflicts with glibc */
#endif

/* ---- Default actions ---- */

static void defaults(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	for (int number = 1; number < SIGRTMAX; number++) {
		char how[64] = "ignored";
		int status;
		pid_t pid;

		if (number == 32 || number == 33)	/* glibc's own */
			continue;
		pid = split();
		if (!pid) {
			raise(number);
			_exit(0);
		}
		CHECK(waitpid(pid, &status, WUNTRACED) == pid);
		if (WIFSIGNALED(status))
			snprintf(how, sizeof(how), "killed by %d, core %d", WTERMSIG(status),
				 !!WCOREDUMP(status));
		if (WIFSTOPPED(status)) {
			snprintf(how, sizeof(how), "stopped by %d", WSTOPSIG(status));
			kill(pid, SIGCONT);
			CHECK(!strcmp(end_of(pid), "exited 0"));
		}
		OK("%d: %s", number, how);
	}
}

/* ---- The interrupted context ---- */

void registers_at_ud2(const unsigned long in[15], unsigned long out[15]);
extern const char registers_ud2[];

static const int order[15] = {
	REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_R8, REG_R9,
	REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};
static int registers_right, xmm_right;

static void look_and_change(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	greg_t *gregs = context->uc_mcontext.gregs;
	unsigned int *xmm = context->uc_mcontext.fpregs->_xmm[5].element;

	(void)number;
	registers_right = gregs[REG_RIP] == (greg_t)registers_ud2 &&
			  info->si_addr == registers_ud2 && info->si_code == ILL_ILLOPN &&
			  (gregs[REG_CSGSFS] & 0xffff) == 0x33 && gregs[REG_TRAPNO] == 6 &&
			  (gregs[REG_EFL] & 0x200) && !(gregs[REG_EFL] & 0x3000);
	for (int i = 0; i < 15; i++) {
		registers_right &= gregs[order[i]] == 0x1111111100000000 + i;
		gregs[order[i]] = 0x2222222200000000 + i;
	}
	xmm_right = xmm[0] == 0x51515151;
	xmm[0] = 0x61616161;
	gregs[REG_RIP] += 2;
	gregs[REG_EFL] |= 1;
}

static void context(void)
{
	unsigned long in[15], out[15];
	unsigned int x = 0x51515151;
	int changed = 1;

	for (int i = 0; i < 15; i++)
		in[i] = 0x1111111100000000 + i;
	handle(SIGILL, look_and_change, 0);
	__asm__ volatile("movd %0, %%xmm5" : : "r" (x) : "xmm5");
	registers_at_ud2(in, out);
	__asm__ volatile("movd %%xmm5, %0" : "=r" (x));
	for (int i = 0; i < 15; i++)
		changed &= out[i] == 0x2222222200000000UL + i;
	OK("seen %d, changed %d; xmm seen %d, changed %d", registers_right, changed, xmm_right,
	   x == 0x61616161);
}

/* ---- Codes and addresses ---- */

static sigjmp_buf back;
static siginfo_t got;

static void jump_back(int number, siginfo_t *info, void *data)
{
	(void)data;
	got = *info;
	siglongjmp(back, number);
}

#define FAULT(what, expression) do {					\
	int number = sigsetjmp(back, 1);				\
									\
	if (number)							\
		OK(what ": %s code %#x", sigabbrev_np(number), got.si_code);	\
	else {								\
		expression;						\
		OK(what ": nothing");					\
	}								\
} while (0)

static volatile int zero;
static volatile double fzero, huge = 1e308;

static void codes(void)
{
	static const int numbers[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	volatile char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile char *file;
	volatile double result;
	unsigned short control = 0x0360;
	int fd = memfd_create("short", 0);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		handle(numbers[i], jump_back, SA_ONSTACK);
	file = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	FAULT("read-only page", page[5] = 1);
	CHECK(got.si_addr == page + 5);
	munmap((void *)(page + 4096), 4096);
	FAULT("unmapped", page[4100] = 1);
	CHECK(got.si_addr == page + 4100);
	FAULT("behind the file's end", file[7] = 1);
	CHECK(got.si_addr == file + 7);
	FAULT("division by 0", zero = 1 / zero);
	FAULT("division overflow",
	      __asm__ volatile("idivl %2" : : "a" (0x80000000), "d" (-1), "r" (-1) : "cc"));
	FAULT("int3", __asm__ volatile("int3"));
	FAULT("icebp", __asm__ volatile(".byte 0xf1"));
	FAULT("single step", __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop"
					      : : : "memory", "cc"));
	FAULT("ud2", __asm__ volatile("ud2"));
	FAULT("bad opcode", __asm__ volatile(".byte 0x06"));
	FAULT("x87 division", __asm__ volatile("fninit; fldcw %0; fldz; fld1; fdiv %%st(1); fwait"
					       : : "m" (control)));
	__asm__ volatile("fninit");
	feenableexcept(FE_DIVBYZERO | FE_OVERFLOW);
	FAULT("SSE division", result = 1.0 / fzero);
	FAULT("SSE overflow", result = huge * huge);
	feclearexcept(FE_ALL_EXCEPT);
	feenableexcept(FE_OVERFLOW);
	FAULT("SSE overflow, enabled again", result = huge * huge);
	fedisableexcept(FE_ALL_EXCEPT);
	FAULT("non-canonical", *(volatile char *)0x8000000000000123 = 1);
	FAULT("sent by kill", kill(getpid(), SIGSEGV));
	CHECK(got.si_pid == getpid());
	(void)result;
}

/* Both pointers are garbage, as after longjmp() with a buffer that was never set. */
static void wild(void)
{
	static const unsigned long garbage[] = { 0xc79c588054ea2180, 0x0123456789abcdef, 8 };

	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		pid_t pid = split();

		if (!pid)
			__asm__ volatile("mov %0, %%rsp; jmp *%0" : : "r" (garbage[i]));
		OK("%#lx: %s", garbage[i], end_of(pid));
	}
}

/* ---- Alternate stacks ---- */

static char other[256 << 10];
static int depths[2], flags_inside;

static void on_other(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	stack_t stack;
	char here;

	(void)info;
	CHECK(!sigaltstack(NULL, &stack));
	depths[number == SIGUSR2] += &here > other && &here < other + sizeof(other);
	flags_inside = stack.ss_flags;
	CHECK(context->uc_stack.ss_sp == other);
	if (number == SIGUSR1)
		raise(SIGUSR2);
}

static void stacks(void)
{
	stack_t stack = { .ss_sp = other, .ss_size = sizeof(other) };
	struct rlimit small = { 256 << 10, RLIM_INFINITY };
	pid_t pid;

	CHECK(!sigaltstack(&stack, NULL));
	handle(SIGUSR1, on_other, SA_ONSTACK);
	handle(SIGUSR2, on_other, SA_ONSTACK);
	raise(SIGUSR1);
	OK("nested: %d %d, flags %d", depths[0], depths[1], flags_inside);
	stack.ss_flags = SS_AUTODISARM;
	CHECK(!sigaltstack(&stack, NULL));
	raise(SIGUSR2);
	OK("disarmed: %d, flags %d", depths[1], flags_inside);
	CHECK(!sigaltstack(NULL, &stack));
	OK("and armed again: %d", stack.ss_sp == other);
	/* No space for a frame, and no other stack: the default action. */
	pid = split();
	if (!pid) {
		stack.ss_flags = SS_DISABLE;
		sigaltstack(&stack, NULL);
		setrlimit(RLIMIT_STACK, &small);
		handle(SIGSEGV, jump_back, 0);
		__asm__ volatile("1: sub $4096, %%rsp; movq $0, (%%rsp); jmp 1b" : : : "memory");
	}
	OK("overflow without other stack: %s", end_of(pid));
	pid = split();
	if (!pid) {
		handle(SIGUSR1, on_other, SA_ONSTACK);
		__asm__ volatile("mov $0x1000, %%rsp; mov %0, %%eax; mov %1, %%edi; mov %2, %%esi; syscall"
				 : : "i" (SYS_kill), "r" (getpid()), "i" (SIGFPE) : "memory");
	}
	OK("a stack pointer to nowhere: %s", end_of(pid));
}

/* ---- Queues ---- */

static int queue[16], queued;

static void record(int number, siginfo_t *info, void *data)
{
	(void)data;
	queue[queued++ % 16] = (number - SIGRTMIN) * 100 + info->si_value.sival_int;
}

static void realtime(void)
{
	static const int sent[][2] = { { 2, 1 }, { 0, 2 }, { 2, 3 }, { 1, 4 }, { 0, 5 } };
	struct rlimit few;
	sigset_t all, old;
	siginfo_t info;
	int n = 0, fd;

	for (int i = 0; i < 3; i++)
		handle(SIGRTMIN + i, record, 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < ARRAY_SIZE(sent); i++) {
		union sigval value = { .sival_int = sent[i][1] };

		CHECK(!sigqueue(getpid(), SIGRTMIN + sent[i][0], value));
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	/* The next handler interrupts each one before it begins. */
	for (int i = 0; i < queued; i++)
		OK("%d", queue[i]);
	sigprocmask(SIG_SETMASK, &all, NULL);
	few.rlim_cur = few.rlim_max = 10;
	setrlimit(RLIMIT_SIGPENDING, &few);
	while (!sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = n }))
		n++;
	OK("limited: %d, EAGAIN %d", n > 0 && n <= 10, errno == EAGAIN);
	CHECK(sigwaitinfo(&all, &info) == SIGRTMIN && info.si_value.sival_int == 0 &&
	      info.si_code == SI_QUEUE);
	fd = signalfd(-1, &all, SFD_NONBLOCK);
	for (int i = 1; i < n; i++) {
		struct signalfd_siginfo from;

		CHECK(read(fd, &from, sizeof(from)) == sizeof(from));
		CHECK(from.ssi_int == i);
	}
	CHECK(sigtimedwait(&all, &info, &(struct timespec){ 0, 1000 }) < 0);
	OK("nothing left: %d", errno == EAGAIN);
}

/* ---- Interrupted calls ---- */

static volatile int ticks;

static void tick(int number, siginfo_t *info, void *data)
{
	(void)number;
	(void)info;
	(void)data;
	ticks++;
}

static void alarm_in(int ms)
{
	struct itimerval timer = { .it_value.tv_usec = ms * 1000 };

	CHECK(!setitimer(ITIMER_REAL, &timer, NULL));
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void restarts(void)
{
	struct timespec left, second = { 1, 0 };
	uint32_t word = 5;
	int pipes[2], result;
	long long begin;

	CHECK(!pipe(pipes));
	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		const char *how = flags ? "restart" : "plain";
		pid_t pid;

		handle(SIGALRM, tick, flags);
		pid = split();
		if (!pid) {
			milliseconds(150);
			_exit(0);
		}
		alarm_in(40);
		result = waitpid(pid, NULL, 0);
		OK("%s: waitpid %d", how, result == pid ? 0 : errno);
		if (result != pid)
			waitpid(pid, NULL, 0);
		alarm_in(40);
		result = poll(&(struct pollfd){ pipes[0], POLLIN, 0 }, 1, 200);
		OK("%s: poll %d %d", how, result, errno);
		alarm_in(40);
		begin = now();
		result = syscall(SYS_futex, &word, FUTEX_WAIT, 5, &(struct timespec){ 0, 200000000 });
		OK("%s: futex %d errno %d, whole time %d", how, result, errno, now() - begin >= 199);
		alarm_in(40);
		result = nanosleep(&second, &left);
		OK("%s: nanosleep %d errno %d, left %d", how, result, errno,
		   !left.tv_sec && left.tv_nsec > 100000000);
	}
	OK("alarms %d", ticks);
}

/* ---- Altered and hostile frames ---- */

static int attack;

static void spoil(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	greg_t *gregs = context->uc_mcontext.gregs;

	(void)number;
	(void)info;
	switch (attack) {
	case 0: gregs[REG_EFL] |= 0x7000; break;			/* IOPL 3, NT */
	case 1: gregs[REG_EFL] &= ~0x200L; break;			/* IF */
	case 2: gregs[REG_EFL] |= 0x100; break;				/* TF */
	case 3: gregs[REG_RSP] = 0x8000000000001000; break;
	case 4: context->uc_mcontext.fpregs = (void *)0x10; break;
	case 5: context->uc_mcontext.fpregs = (void *)0xffffffff82000000; break;
	case 6: context->uc_mcontext.fpregs->mxcsr = 0xffffffff; break;
	case 7: memset(context->uc_mcontext.fpregs, 0xff, 512); break;
	case 8: gregs[REG_RIP] = 0x7ffffffff000; break;
	case 9: gregs[REG_EFL] |= 0x20000; break;			/* VM */
	case 10: gregs[REG_RIP] = 0xffffffff82000000; break;
	case 11: context->uc_flags = -1; break;
	case 12: context->uc_mcontext.fpregs->__glibc_reserved1[12] = ~0u; break; /* xstate */
	case 13: gregs[REG_RSP] = 0; break;
	}
}

static void frames(void)
{
	for (attack = 0; attack < 14; attack++) {
		pid_t pid = split();
		unsigned long flags = 0;

		if (pid) {
			OK("frame %d: %s", attack, end_of(pid));
			continue;
		}
		handle(SIGUSR1, spoil, 0);
		raise(SIGUSR1);
		__asm__ volatile("pushfq; popq %0" : "=r" (flags));
		_exit(flags & 0x200 ? (flags & 0x27000) >> 12 : 99);
	}
}

/* A selector in the frame has an effect on a normal process only. */
static void selector(int number, siginfo_t *info, void *data)
{
	(void)number;
	(void)info;
	((ucontext_t *)data)->uc_mcontext.gregs[REG_CSGSFS] = -1;
}

static void frame_selector(void)
{
	pid_t pid = split();

	if (!pid) {
		handle(SIGUSR1, selector, 0);
		raise(SIGUSR1);
		_exit(3);
	}
	OK("%s", end_of(pid));
}

/* A bare sigreturn without a frame */
static void bare(void)
{
	for (int i = 0; i < 3; i++) {
		pid_t pid = split();

		if (!pid) {
			if (i == 0)
				syscall(SYS_rt_sigreturn);
			static char junk[4096] __attribute__((aligned(64)));
			memset(junk, i == 1 ? 0 : 0xff, sizeof(junk));
			__asm__ volatile("mov %0, %%rsp; mov %1, %%eax; syscall"
					 : : "r" (junk + 64), "i" (SYS_rt_sigreturn) : "memory");
			_exit(0);
		}
		OK("bare %d: %s", i, end_of(pid));
	}
}

/* ---- Timers ---- */

static volatile pid_t ticked_thread;

static void tick_in_thread(int number, siginfo_t *info, void *data)
{
	(void)number;
	(void)data;
	ticks += info->si_code == SI_TIMER && info->si_value.sival_int == 9;
	ticked_thread = gettid();
}

static void *compute(void *data)
{
	*(volatile pid_t *)data = gettid();
	while (ticks < 20)
		__asm__ volatile("" : : : "memory");
	return NULL;
}

static void notified(union sigval value)
{
	*(volatile int *)value.sival_ptr = 1;
}

static void timers(void)
{
	static const int kinds[][2] = { { ITIMER_VIRTUAL, SIGVTALRM }, { ITIMER_PROF, SIGPROF } };
	struct itimerspec each = { { 0, 3000000 }, { 0, 3000000 } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN,
				  .sigev_value.sival_int = 9 };
	volatile int done = 0;
	volatile pid_t tid = 0;
	pthread_t thread;
	timer_t timer;

	for (int i = 0; i < 2; i++) {
		struct itimerval every = { { 0, 5000 }, { 0, 5000 } };

		ticks = 0;
		handle(kinds[i][1], tick, 0);
		CHECK(!setitimer(kinds[i][0], &every, NULL));
		while (ticks < 10)
			__asm__ volatile("" : : : "memory");
		CHECK(!setitimer(kinds[i][0], &(struct itimerval){ 0 }, NULL));
		OK("of own time %d: came", i);
	}
	ticks = 0;
	handle(SIGRTMIN, tick_in_thread, 0);
	CHECK(!pthread_create(&thread, NULL, compute, (void *)&tid));
	while (!tid)
		milliseconds(1);
	event._sigev_un._tid = tid;
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(!timer_settime(timer, 0, &each, NULL));
	pthread_join(thread, NULL);
	OK("into the thread that computes: %d", ticked_thread == tid);
	timer_delete(timer);
	event = (struct sigevent){ .sigev_notify = SIGEV_THREAD,
				   .sigev_notify_function = notified,
				   .sigev_value.sival_ptr = (void *)&done };
	CHECK(!timer_create(CLOCK_REALTIME, &event, &timer));
	CHECK(!timer_settime(timer, 0, &each, NULL));
	while (!done)
		milliseconds(1);
	timer_delete(timer);
	OK("in a thread of its own: %d", done);
}

/* ---- Job control ---- */

static int child_codes[8], child_events;

static void on_child(int number, siginfo_t *info, void *data)
{
	(void)number;
	(void)data;
	child_codes[child_events++ % 8] = info->si_code;
}

static void until_events(int n)
{
	for (int i = 0; child_events < n && i < 2000; i++)
		milliseconds(1);
	CHECK(child_events == n);
}

static void jobs(void)
{
	char name[64], byte = 0;
	int status, leader, ready[2];
	pid_t pid;

	handle(SIGCHLD, on_child, 0);
	pid = split();
	if (!pid) {
		for (;;)
			__asm__ volatile("" : : : "memory");
	}
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	until_events(1);
	kill(pid, SIGCONT);
	CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
	until_events(2);
	kill(pid, SIGTERM);
	OK("computing: %s", end_of(pid));
	until_events(3);
	OK("codes %d %d %d", child_codes[0], child_codes[1], child_codes[2]);
	handle(SIGCHLD, on_child, SA_NOCLDWAIT);
	pid = split();
	if (!pid)
		_exit(0);
	OK("nothing to wait for: %d", waitpid(pid, NULL, 0) < 0 && errno == ECHILD);
	signal(SIGCHLD, SIG_DFL);

	/* A terminal: its keys, and which processes may read from it. */
	leader = posix_openpt(O_RDWR | O_NOCTTY);
	if (leader < 0 || grantpt(leader) || unlockpt(leader) ||
	    ptsname_r(leader, name, sizeof(name))) {
		OK("no terminals here");
		return;
	}
	CHECK(!pipe(ready));
	pid = split();
	if (!pid) {
		setsid();
		CHECK(open(name, O_RDWR) >= 0);
		CHECK(write(leader, "", 0) == 0);
		CHECK(write(ready[1], &byte, 1) == 1);
		for (;;)
			__asm__ volatile("" : : : "memory");
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	CHECK(write(leader, "\x03", 1) == 1);
	OK("Ctrl-C: %s", end_of(pid));
}

const struct check signal_checks[] = {
	{ "signals.defaults", defaults },
	{ "signals.context", context },
	{ "signals.codes", codes },
	{ "signals.wild", wild },
	{ "signals.stacks", stacks },
	{ "signals.realtime", realtime },
	{ "signals.restarts", restarts },
	{ "signals.frames", frames },
	{ "signals.bare", bare },
	{ "differences.selector", frame_selector },
	{ "signals.timers", timers },
	{ "signals.jobs", jobs },
	{ NULL, NULL },
};
