// SPDX-License-Identifier: GPL-2.0
/*
 * profile FREQUENCY SECONDS - samples what the guest's processors execute.
 *
 * The kernel samples by a timer, since the machine may have no PMU. Each sample has the
 * kernel's call chain, and the registers and the top of the stack with which the application
 * called the kernel or was interrupted; the host unwinds these. Standard output gets a line,
 * "ukl-profile 1 STEXT PROCESSORS", and then the records as they are in the kernel's ring
 * buffers: perf_event_open(2). SIGINT and SIGTERM end it early.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGES		512		/* of each ring buffer; a power of two */
#define STACK		8192		/* bytes of the application's stack in a sample */
#define INTERVAL	50		/* ms between two reads of the buffers */
#define MAX_CPUS	64

/* asm/perf_regs.h: ax bx cx dx si di bp sp ip, and r8 to r15 */
#define REGISTERS	0xff01ffULL

static volatile sig_atomic_t asked;	/* to end */

static struct ring {
	int fd;
	struct perf_event_mmap_page *head;
	char *data;
} rings[MAX_CPUS];

static void on_signal(int number)
{
	asked = number;
}

static void put(const char *data, size_t size)
{
	while (size) {
		ssize_t wrote = write(STDOUT_FILENO, data, size);

		if (wrote < 0 && errno != EINTR)
			exit(1);	/* the reader is gone */
		if (wrote > 0) {
			data += wrote;
			size -= wrote;
		}
	}
}

static unsigned long kernel_text(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long address;
	char name[128];

	while (file && fscanf(file, "%lx %*c %127s%*[^\n]", &address, name) == 2) {
		if (!strcmp(name, "_stext")) {
			fclose(file);
			return address;
		}
	}
	if (file)
		fclose(file);
	return 0;
}

static int open_ring(struct ring *ring, int cpu, unsigned int frequency)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.freq = 1,
		.sample_freq = frequency,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_CALLCHAIN |
			       PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER,
		.sample_regs_user = REGISTERS,
		.sample_stack_user = STACK,
		.disabled = 1,
		.exclude_idle = 1,
		.exclude_callchain_user = 1,	/* by frame pointers, which programs lack */
	};
	size_t page = sysconf(_SC_PAGESIZE);

	ring->fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	if (ring->fd < 0)
		return -1;
	ring->head = mmap(NULL, (1 + PAGES) * page, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (ring->head == MAP_FAILED)
		return -1;
	ring->data = (char *)ring->head + page;
	return 0;
}

static void drain(struct ring *ring)
{
	uint64_t size = PAGES * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t head = __atomic_load_n(&ring->head->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->head->data_tail;

	while (tail < head) {
		uint64_t at = tail % size, part = head - tail;

		if (part > size - at)
			part = size - at;
		put(ring->data + at, part);
		tail += part;
	}
	__atomic_store_n(&ring->head->data_tail, tail, __ATOMIC_RELEASE);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char line[100];
	double end;

	if (argc != 3 || cpus > MAX_CPUS)
		return 2;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	for (int cpu = 0; cpu < cpus; cpu++) {
		if (open_ring(&rings[cpu], cpu, atoi(argv[1]))) {
			fprintf(stderr, "perf_event_open: %s\n", strerror(errno));
			return 1;
		}
	}
	snprintf(line, sizeof(line), "ukl-profile 1 %lx %d\n", kernel_text(), cpus);
	put(line, strlen(line));
	for (int cpu = 0; cpu < cpus; cpu++)
		ioctl(rings[cpu].fd, PERF_EVENT_IOC_ENABLE, 0);
	end = now() + atof(argv[2]);
	while (!asked && now() < end) {
		poll(NULL, 0, INTERVAL);
		for (int cpu = 0; cpu < cpus; cpu++)
			drain(&rings[cpu]);
	}
	for (int cpu = 0; cpu < cpus; cpu++) {
		ioctl(rings[cpu].fd, PERF_EVENT_IOC_DISABLE, 0);
		drain(&rings[cpu]);
	}
	return 0;
}
