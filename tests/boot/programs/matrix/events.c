// SPDX-License-Identifier: GPL-2.0
/*
 * Time, and the files and calls with which a server waits for events.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>

#include "matrix.h"

/* ---- Time ---- */

static long long stamp(clockid_t clock)
{
	struct timespec t;

	CHECK(!clock_gettime(clock, &t));
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void clocks(void)
{
	static const clockid_t all[] = {
		CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
		CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE,
		CLOCK_BOOTTIME, CLOCK_TAI,
	};
	struct timespec t = { 0, 20000000 };
	struct timeval tv;
	long long begin, last;
	unsigned int cpu = 99;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		last = stamp(all[i]);
		for (int n = 0; n < 2000; n++) {
			long long now = stamp(all[i]);

			CHECK(now >= last);
			last = now;
		}
		OK("clock %d never goes back", all[i]);
	}
	begin = stamp(CLOCK_MONOTONIC);
	CHECK(!nanosleep(&t, NULL) && stamp(CLOCK_MONOTONIC) - begin >= 20000000);
	begin = stamp(CLOCK_MONOTONIC) + 20000000;
	t = (struct timespec){ begin / 1000000000, begin % 1000000000 };
	CHECK(!clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) &&
	      stamp(CLOCK_MONOTONIC) >= begin);
	CHECK(!gettimeofday(&tv, NULL) && llabs(tv.tv_sec - time(NULL)) <= 1);
	CHECK(!getcpu(&cpu, NULL) && cpu < 64);
	begin = stamp(CLOCK_PROCESS_CPUTIME_ID);
	milliseconds(50);
	OK("asleep, little is used: %d", stamp(CLOCK_PROCESS_CPUTIME_ID) - begin < 20000000);
}

/* ---- epoll, eventfd, timerfd ---- */

static void descriptors(void)
{
	int poll = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE);
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct epoll_event e = { EPOLLIN | EPOLLET, { .u64 = 1 } }, out[4];
	struct itimerspec each = { { 0, 5000000 }, { 0, 5000000 } };
	uint64_t n = 5;

	CHECK(!epoll_ctl(poll, EPOLL_CTL_ADD, event, &e));
	CHECK(epoll_wait(poll, out, 4, 0) == 0 && write(event, &n, 8) == 8);
	OK("edge: %d", epoll_wait(poll, out, 4, 100));
	OK("and no more: %d", epoll_wait(poll, out, 4, 0));
	CHECK(read(event, &n, 8) == 8);
	OK("counter %d, then errno %d", (int)n, read(event, &n, 8) < 0 ? errno : 0);
	CHECK(read(semaphore, &n, 8) == 8);
	OK("semaphore %d", (int)n);
	e = (struct epoll_event){ EPOLLIN | EPOLLONESHOT, { .u64 = 2 } };
	CHECK(!epoll_ctl(poll, EPOLL_CTL_ADD, timer, &e));
	CHECK(!timerfd_settime(timer, 0, &each, NULL));
	CHECK(epoll_wait(poll, out, 4, 1000) == 1 && out[0].data.u64 == 2);
	milliseconds(20);
	OK("one shot: %d", epoll_wait(poll, out, 4, 0));
	CHECK(read(timer, &n, 8) == 8 && n >= 3);
	OK("timer expired several times");
}

static void files(void)
{
	char buffer[4096] __attribute__((aligned(8)));
	int watch = inotify_init1(IN_NONBLOCK), fd, other;
	struct flock lock = { .l_type = F_WRLCK };
	ssize_t n;
	pid_t pid;

	(void)!system("rm -rf /tmp/watched; mkdir /tmp/watched");
	CHECK(inotify_add_watch(watch, "/tmp/watched", IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVED_TO) > 0);
	fd = open("/tmp/watched/a", O_CREAT | O_RDWR, 0644);
	CHECK(write(fd, "12345", 5) == 5);
	CHECK(!rename("/tmp/watched/a", "/tmp/watched/b") && !unlink("/tmp/watched/b"));
	n = read(watch, buffer, sizeof(buffer));
	CHECK(n > 0);
	for (char *p = buffer; p < buffer + n;) {
		struct inotify_event *event = (struct inotify_event *)p;

		OK("%#x %s", event->mask, event->name);
		p += sizeof(*event) + event->len;
	}
	CHECK(!fcntl(fd, F_SETLK, &lock));
	pid = split();
	if (!pid)
		_exit(fcntl(fd, F_SETLK, &lock) < 0 && errno == EAGAIN ? 2 : 1);
	OK("locked: %s", end_of(pid));
	other = open("/tmp/watched/c", O_CREAT | O_RDWR, 0600);
	CHECK(lseek(fd, 0, SEEK_SET) == 0 && copy_file_range(fd, NULL, other, NULL, 5, 0) == 5);
	OK("copied %d", (int)lseek(other, 0, SEEK_END));
	mqd_t queue = mq_open("/matrix", O_CREAT | O_RDWR, 0600, NULL);
	CHECK(queue >= 0 && !mq_send(queue, "low", 4, 1) && !mq_send(queue, "high", 5, 9));
	buffer[0] = 0;
	static char message[65536];
	CHECK(mq_receive(queue, message, sizeof(message), NULL) > 0);
	OK("queue: %s", message);
	mq_unlink("/matrix");
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	char *shared = shmat(id, NULL, 0);
	CHECK(shared != (void *)-1);
	pid = split();
	if (!pid) {
		shared[0] = 'S';
		_exit(0);
	}
	end_of(pid);
	OK("System V: %c", shared[0]);
	shmctl(id, IPC_RMID, NULL);
}

/* ---- Sockets that pass descriptors ---- */

static void passing(void)
{
	char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))] = "", bytes[16] = "";
	struct iovec data = { bytes, sizeof(bytes) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int)) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int pair[2], pipes[2], one = 1, fd = -1;
	struct ucred who = { 0 };
	pid_t pid;

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) && !pipe(pipes));
	CHECK(!setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)));
	pid = split();
	if (!pid) {
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &pipes[1], sizeof(int));
		strcpy(bytes, "take it");
		_exit(sendmsg(pair[1], &message, 0) == sizeof(bytes) ? 0 : 1);
	}
	message.msg_controllen = sizeof(control);
	CHECK(recvmsg(pair[0], &message, 0) == sizeof(bytes));
	for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(header), sizeof(fd));
		else
			memcpy(&who, CMSG_DATA(header), sizeof(who));
	}
	OK("%s: from the child %d, uid %d", bytes, who.pid == pid, who.uid);
	CHECK(write(fd, "!", 1) == 1 && read(pipes[0], bytes, 1) == 1 && bytes[0] == '!');
	OK("%s", end_of(pid));
	/* A child's pidfd, its descriptors, its end */
	pid = split();
	if (!pid) {
		dup2(pipes[1], 77);
		CHECK(write(pair[1], "x", 1) == 1);
		pause();
	}
	CHECK(read(pair[0], bytes, 1) == 1);
	int child = pidfd_open(pid, 0);
	CHECK(child >= 0);
	fd = pidfd_getfd(child, 77, 0);
	OK("taken from the child: %d", fd >= 0 ? 0 : errno);
	OK("alive: %d", poll(&(struct pollfd){ child, POLLIN, 0 }, 1, 0));
	CHECK(!pidfd_send_signal(child, SIGUSR2, NULL, 0));
	OK("ended: %d", poll(&(struct pollfd){ child, POLLIN, 0 }, 1, 1000));
	siginfo_t info;
	CHECK(!waitid(P_PIDFD, child, &info, WEXITED) && info.si_status == SIGUSR2);
}

/* ---- futexes ---- */

struct waiter {
	uint64_t value, address;
	uint32_t flags, reserved;
};

static uint32_t words_to_wait[3];

static void *wake_later(void *data)
{
	milliseconds(30);
	__atomic_store_n(&words_to_wait[(intptr_t)data], 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &words_to_wait[(intptr_t)data], FUTEX_WAKE_PRIVATE, 1);
	return NULL;
}

static void futexes(void)
{
	struct waiter all[3];
	struct timespec until;
	pthread_t thread;
	int result;

	for (int i = 0; i < 3; i++)
		all[i] = (struct waiter){ 0, (uintptr_t)&words_to_wait[i], 2 | 128, 0 };
	CHECK(!pthread_create(&thread, NULL, wake_later, (void *)2));
	OK("woken: %ld", syscall(449, all, 3, 0, NULL, CLOCK_MONOTONIC));
	pthread_join(thread, NULL);
	result = syscall(449, all, 3, 0, NULL, CLOCK_MONOTONIC);
	OK("changed: %d errno %d", result, errno);
	all[2].value = 1;
	clock_gettime(CLOCK_MONOTONIC, &until);
	result = syscall(449, all, 3, 0, &until, CLOCK_MONOTONIC);
	OK("late: %d errno %d", result, errno);
	all[1].address = 0x10;
	result = syscall(449, all, 3, 0, NULL, CLOCK_MONOTONIC);
	OK("nowhere: %d errno %d", result, errno);
	CHECK(!syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
	OK("membarrier: %ld", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
}

/* ---- io_uring ---- */

static struct io_uring_sqe *sqes;
static struct io_uring_params ring;
static char *sq, *cq;
static int ring_fd;

static int submit(struct io_uring_sqe sqe)
{
	unsigned int *tail = (unsigned int *)(sq + ring.sq_off.tail);
	unsigned int *head = (unsigned int *)(cq + ring.cq_off.head);
	unsigned int mask = ring.sq_entries - 1, slot = *tail & mask;
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(cq + ring.cq_off.cqes);
	int result;

	sqes[slot] = sqe;
	((unsigned int *)(sq + ring.sq_off.array))[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, ring_fd, 1, 1, IORING_ENTER_GETEVENTS | 0, NULL, 0) == 1);
	result = cqes[*head & (ring.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

static void uring(void)
{
	struct __kernel_timespec soon = { 0, 20000000 };
	int fd = open("/tmp/ring", O_CREAT | O_RDWR | O_TRUNC, 0600), pipes[2];
	char buffer[16] = "by the ring";

	ring_fd = syscall(SYS_io_uring_setup, 8, &ring);
	CHECK(ring_fd >= 0 && fd >= 0 && !pipe(pipes));
	sq = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, IORING_OFF_CQ_RING);
	sqes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, IORING_OFF_SQES);
	CHECK(sq != MAP_FAILED && cq != MAP_FAILED && (void *)sqes != MAP_FAILED);
	OK("write: %d", submit((struct io_uring_sqe){ .opcode = IORING_OP_WRITE, .fd = fd,
			       .addr = (uintptr_t)buffer, .len = 11 }));
	memset(buffer, 0, sizeof(buffer));
	OK("read: %d %s", submit((struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = fd,
				 .addr = (uintptr_t)buffer, .len = 16 }), buffer);
	/* By a kernel worker thread, which uses the program's memory. */
	OK("forced to a worker: %d", submit((struct io_uring_sqe){ .opcode = IORING_OP_READ,
	   .flags = IOSQE_ASYNC, .fd = fd, .addr = (uintptr_t)buffer, .len = 2 }));
	OK("timeout: %d", submit((struct io_uring_sqe){ .opcode = IORING_OP_TIMEOUT, .fd = -1,
				 .addr = (uintptr_t)&soon, .len = 1 }));
	OK("bad address: %d", submit((struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = fd,
				     .addr = 8, .len = 2 }));
	close(ring_fd);
	memset(&ring, 0, sizeof(ring));
	ring.flags = IORING_SETUP_SQPOLL;
	ring_fd = syscall(SYS_io_uring_setup, 8, &ring);
	OK("polled: %d", ring_fd >= 0);
}

/* ---- seccomp ---- */

static volatile int trapped;

static void on_sys(int number, siginfo_t *info, void *data)
{
	extern char etext[];

	(void)data;
	(void)number;
	(void)etext;
	trapped = info->si_code == 1 /* SYS_SECCOMP */ && info->si_syscall == SYS_getpgrp &&
		  (unsigned int)info->si_arch == AUDIT_ARCH_X86_64 && info->si_errno == 7 &&
		  info->si_call_addr != NULL;
}

static void filter(int number, unsigned int verdict)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, verdict),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static long by_call(long number)
{
	long result;

	__asm__ volatile("sub $128, %%rsp; call ukl_syscall; add $128, %%rsp"
			 : "=a" (result) : "a" (number) : "rcx", "r11", "memory", "cc");
	return result;
}

static void seccomp(void)
{
	for (int call = 0; call < 2; call++) {
		const char *how = call ? "call" : "instruction";
		pid_t pid = split();

		if (!pid) {
			filter(SYS_getppid, SECCOMP_RET_ERRNO | 123);
			if (call)
				_exit(-by_call(SYS_getppid));
			_exit(syscall(SYS_getppid) < 0 ? errno : 0);
		}
		OK("%s: errno: %s", how, end_of(pid));
		pid = split();
		if (!pid) {
			handle(SIGSYS, on_sys, 0);
			filter(SYS_getpgrp, SECCOMP_RET_TRAP | 7);
			call ? by_call(SYS_getpgrp) : syscall(SYS_getpgrp);
			_exit(trapped ? 5 : 1);
		}
		OK("%s: trap: %s", how, end_of(pid));
		pid = split();
		if (!pid) {
			filter(SYS_getpgrp, SECCOMP_RET_KILL_PROCESS);
			call ? by_call(SYS_getpgrp) : syscall(SYS_getpgrp);
			_exit(1);
		}
		OK("%s: kill: %s", how, end_of(pid));
	}
	pid_t pid = split();
	if (!pid) {
		char *same[] = { "matrix", "exit", "9", NULL };

		filter(SYS_getppid, SECCOMP_RET_ERRNO | 1);
		execv(self(), same);
		_exit(1);
	}
	OK("exec behind a filter: %s", end_of(pid));
	pid = split();
	if (!pid) {
		CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
		syscall(SYS_getppid);
		_exit(1);
	}
	OK("strict: %s", end_of(pid));
}

const struct check event_checks[] = {
	{ "events.clocks", clocks },
	{ "events.descriptors", descriptors },
	{ "events.files", files },
	{ "events.passing", passing },
	{ "events.futexes", futexes },
	{ "events.uring", uring },
	{ "events.seccomp", seccomp },
	{ NULL, NULL },
};
