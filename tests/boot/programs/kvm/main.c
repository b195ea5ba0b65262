// SPDX-License-Identifier: GPL-2.0
/*
 * Runs a virtual machine; as an application it is refused. Beside the virtual machine, an
 * application makes system calls, and takes page faults and interrupts, on the same processors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CHECK(that)							\
do {									\
	if (!(that)) {							\
		printf("line %d: %s: %s\n", __LINE__, #that, strerror(errno)); \
		exit(1);						\
	}								\
} while (0)

/* In real mode: inc %ax; out %al, $0x10; jmp to the beginning */
static const unsigned char code[] = { 0x40, 0xe6, 0x10, 0xeb, 0xfb };

static int machine(void)
{
	int kvm = open("/dev/kvm", O_RDWR), vm;

	CHECK(kvm >= 0);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		printf("no machine: errno %d\n", errno);
	return vm;
}

static void guest(int exits)
{
	int vm = machine(), kvm = open("/dev/kvm", O_RDWR), cpu;
	struct kvm_userspace_memory_region region = { .guest_phys_addr = 0x1000, .memory_size = 0x1000 };
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
	struct kvm_sregs sregs;
	struct kvm_run *run;
	void *memory;

	CHECK(vm >= 0);
	memory = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	memcpy(memory, code, sizeof(code));
	region.userspace_addr = (unsigned long)memory;
	CHECK(!ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	CHECK(cpu >= 0);
	run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	CHECK(run != MAP_FAILED);
	CHECK(!ioctl(cpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	CHECK(!ioctl(cpu, KVM_SET_SREGS, &sregs) && !ioctl(cpu, KVM_SET_REGS, &regs));
	for (int i = 1; i <= exits; i++) {
		CHECK(!ioctl(cpu, KVM_RUN, 0));
		CHECK(run->exit_reason == KVM_EXIT_IO);
		CHECK(*((unsigned char *)run + run->io.data_offset) == (i & 0xff));
		/* Give the processor to the application. */
		if (!(i % 16))
			usleep(100);
	}
	printf("exits: %d\n", exits);
}

/* System calls of both kinds, faults, and a timer, for @seconds. */
static void work(int seconds)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	time_t end = time(NULL) + seconds;
	long calls = 0, result;

	signal(SIGALRM, (void (*)(int))getppid);
	setitimer(ITIMER_REAL, &often, NULL);
	while (time(NULL) < end) {
		char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(page != MAP_FAILED);
		*page = 1;
		munmap(page, 4096);
		__asm__ volatile("syscall" : "=a" (result) : "0" (39) : "rcx", "r11", "memory");
		CHECK(result == getpid());
		calls++;
		usleep(50);
	}
	CHECK(calls > 10);
	printf("worked\n");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "machine"))
		return machine() >= 0;
	if (argc == 3 && !strcmp(argv[1], "guest"))
		guest(atoi(argv[2]));
	else if (argc == 3 && !strcmp(argv[1], "work"))
		work(atoi(argv[2]));
	return 0;
}
