// SPDX-License-Identifier: GPL-2.0
// Unwinding through system calls: cancellation runs destructors, and a backtrace from a
// signal handler reaches the functions around the call that the signal interrupted.
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <pthread.h>
#include <unistd.h>
#include <unwind.h>

static int fds[2];
static std::atomic<int> ready, destroyed, reached_wait, reached_outer, signalled;
static volatile pid_t waiter;

extern "C" long calling_wait(long fd, char *byte);
extern "C" long jumping_wait(long fd, char *byte);

// The second keeps a word in its red zone, and leaves the stack pointer where it is.
asm(R"(
	.text
	.type calling_wait, @function
calling_wait:
	.cfi_startproc
	push	%rbx
	.cfi_def_cfa_offset 16
	.cfi_offset %rbx, -16
	mov	$1, %edx
	mov	$0, %eax
	syscall
	pop	%rbx
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size calling_wait, . - calling_wait

	.type jumping_wait, @function
jumping_wait:
	.cfi_startproc
	push	%rbx
	.cfi_def_cfa_offset 16
	.cfi_offset %rbx, -16
	movq	$77, -8(%rsp)
	mov	$1, %edx
	xor	%eax, %eax
	syscall
	cmpq	$77, -8(%rsp)
	je	1f
	ud2
1:	pop	%rbx
	.cfi_def_cfa_offset 8
	ret
	.cfi_endproc
	.size jumping_wait, . - jumping_wait
)");

struct Guard {
	~Guard() { destroyed++; }
};

// Until the other thread can do nothing but sleep in read().
static void let_it_sleep(pid_t thread)
{
	char path[64], text[256] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	for (const char *state = text; strncmp(state, ") S", 3);) {
		usleep(1000);
		FILE *file = fopen(path, "r");
		if (!file)
			return;
		size_t size = fread(text, 1, sizeof(text) - 1, file);
		text[size] = 0;
		fclose(file);
		state = strrchr(text, ')');
		if (!state)
			state = text;
	}
}

static ssize_t wait_read(char *byte)
{
	Guard guard;
	return read(fds[0], byte, 1);
}

static void *reader(void *)
{
	Guard guard;
	char byte;

	waiter = gettid();
	ready = 1;
	wait_read(&byte);
	return nullptr;
}

static long (*volatile wait_function)(long, char *);
extern "C" long outer_wait(char *byte);

static _Unwind_Reason_Code step(_Unwind_Context *context, void *)
{
	void *start = _Unwind_FindEnclosingFunction((void *)_Unwind_GetIP(context));

	if (start == (void *)wait_function)
		reached_wait = 1;
	if (start == (void *)outer_wait)
		reached_outer = 1;
	return _URC_NO_REASON;
}

static void on_signal(int)
{
	_Unwind_Backtrace(step, nullptr);
	signalled = 1;
}

extern "C" __attribute__((noinline)) long outer_wait(char *byte)
{
	long result = wait_function(fds[0], byte);

	asm volatile("");
	return result;
}

static void *signaller(void *thread)
{
	char byte = 'x';

	let_it_sleep(waiter);
	pthread_kill(*(pthread_t *)thread, SIGUSR1);
	while (!signalled)
		usleep(1000);
	if (write(fds[1], &byte, 1) != 1)
		_exit(9);
	return nullptr;
}

static void interrupted(const char *name, long (*function)(long, char *))
{
	pthread_t thread, self = pthread_self();
	char byte = 0;

	reached_wait = reached_outer = signalled = 0;
	waiter = gettid();
	wait_function = function;
	pthread_create(&thread, nullptr, signaller, &self);
	long result = outer_wait(&byte);
	pthread_join(thread, nullptr);
	printf("%s: read %ld, reached %d %d\n", name, result, reached_wait.load(),
	       reached_outer.load());
}

int main()
{
	pthread_t thread;
	void *result;

	if (pipe(fds))
		return 1;
	pthread_create(&thread, nullptr, reader, nullptr);
	while (!ready)
		usleep(1000);
	let_it_sleep(waiter);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("cancelled %d, destroyed %d\n", result == PTHREAD_CANCELED, destroyed.load());

	struct sigaction action = {};
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, nullptr);
	interrupted("called", calling_wait);
	interrupted("jumped to", jumping_wait);
	return 0;
}
