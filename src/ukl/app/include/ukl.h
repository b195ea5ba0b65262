/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UKL_H
#define UKL_H

/*
 * Kernel functions for a UKL application: those of arch/x86/ukl/shortcut.c.
 *
 * No library is needed, and the same object also links as a normal program. There, and
 * in a kernel without CONFIG_UKL_SHORTCUT, the functions use system calls where these
 * can do the work, and fail with ENOSYS otherwise. On errors they return -1 and set errno.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The kernel function of that name; null if the kernel does not have it. */
#define UKL_IMPORT(name) extern const char ukl_import_##name[] __attribute__((weak))

UKL_IMPORT(ukl_socket_open);
UKL_IMPORT(ukl_socket_close);
UKL_IMPORT(ukl_socket_send);
UKL_IMPORT(ukl_socket_recv);
UKL_IMPORT(ukl_socket_poll);
UKL_IMPORT(ukl_page_entry);
UKL_IMPORT(ukl_rdmsr);
UKL_IMPORT(ukl_wrmsr);
UKL_IMPORT(ukl_run_to_completion);

/* A reference to a TCP socket, held until ukl_socket_close(). */
struct ukl_socket;

/* Does this code run in the kernel? */
static inline int ukl_in_kernel(void)
{
	unsigned short cs;

	__asm__("mov %%cs, %0" : "=r" (cs));
	return (cs & 3) == 0;
}

/* Call a kernel function; integers and pointers only. See arch/x86/ukl/stub.S. */
static inline long ukl_call_function(const void *function, unsigned long a, unsigned long b,
				     unsigned long c, unsigned long d, unsigned long e,
				     unsigned long f)
{
	register const void *r10 __asm__("r10") = function;
	register unsigned long r8 __asm__("r8") = e;
	register unsigned long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile(".weak ukl_call\n\tcall ukl_call"
			 : "=a" (result), "+D" (a), "+S" (b), "+d" (c), "+c" (d),
			   "+r" (r8), "+r" (r9), "+r" (r10)
			 : : "r11", "memory", "cc");
	return result;
}

/* Turn a kernel function's result into a libc function's: set errno on errors. */
static inline long ukl_result(long result)
{
	if ((unsigned long)result <= -4096UL)
		return result;
	errno = (int)-result;
	return -1;
}

static inline int ukl_socket_descriptor(const struct ukl_socket *socket)
{
	return (int)(intptr_t)socket - 1;
}

/* Take a reference to a connected TCP socket. EOPNOTSUPP: another kind of socket. */
static inline int ukl_socket_open(struct ukl_socket **socket, int fd)
{
	if (ukl_import_ukl_socket_open)
		return (int)ukl_result(ukl_call_function(ukl_import_ukl_socket_open,
							 (unsigned int)fd,
							 (unsigned long)socket, 0, 0, 0, 0));
	*socket = (struct ukl_socket *)((intptr_t)fd + 1);
	return 0;
}

/* Drop the reference. The socket stays open as long as a descriptor refers to it. */
static inline void ukl_socket_close(struct ukl_socket *socket)
{
	if (ukl_import_ukl_socket_close)
		ukl_call_function(ukl_import_ukl_socket_close, (unsigned long)socket,
				  0, 0, 0, 0, 0);
}

/* As send(2) */
static inline ssize_t ukl_socket_send(struct ukl_socket *socket, const void *data,
				      size_t size, int flags)
{
	if (!ukl_import_ukl_socket_send)
		return send(ukl_socket_descriptor(socket), data, size, flags);
	return ukl_result(ukl_call_function(ukl_import_ukl_socket_send, (unsigned long)socket,
					    (unsigned long)data, size, (unsigned int)flags,
					    0, 0));
}

/* As recv(2) */
static inline ssize_t ukl_socket_recv(struct ukl_socket *socket, void *data, size_t size,
				      int flags)
{
	if (!ukl_import_ukl_socket_recv)
		return recv(ukl_socket_descriptor(socket), data, size, flags);
	return ukl_result(ukl_call_function(ukl_import_ukl_socket_recv, (unsigned long)socket,
					    (unsigned long)data, size, (unsigned int)flags,
					    0, 0));
}

/*
 * Poll the network device's queue for packets, without waiting for its interrupt.
 * Return 1 if there is data to receive, else 0.
 */
static inline int ukl_socket_poll(struct ukl_socket *socket)
{
	struct pollfd entry;

	if (ukl_import_ukl_socket_poll)
		return (int)ukl_call_function(ukl_import_ukl_socket_poll,
					      (unsigned long)socket, 0, 0, 0, 0, 0);
	memset(&entry, 0, sizeof(entry));
	entry.fd = ukl_socket_descriptor(socket);
	entry.events = POLLIN;
	return poll(&entry, 1, 0) > 0;
}

/*
 * Get the page table entry of an address. Return the size [bytes] of the page that it
 * maps, 0 if there is none. The entry can change at any time unless the memory is locked.
 */
static inline ssize_t ukl_page_entry(const void *address, uint64_t *entry)
{
	if (!ukl_import_ukl_page_entry)
		return ukl_result(-ENOSYS);
	return ukl_result(ukl_call_function(ukl_import_ukl_page_entry, (unsigned long)address,
					    (unsigned long)entry, 0, 0, 0, 0));
}

/* Model-specific registers of the CPU that runs the thread. EIO: no such register. */
static inline int ukl_rdmsr(uint32_t msr, uint64_t *value)
{
	if (!ukl_import_ukl_rdmsr)
		return (int)ukl_result(-ENOSYS);
	return (int)ukl_result(ukl_call_function(ukl_import_ukl_rdmsr, msr,
						 (unsigned long)value, 0, 0, 0, 0));
}

static inline int ukl_wrmsr(uint32_t msr, uint64_t value)
{
	if (!ukl_import_ukl_wrmsr)
		return (int)ukl_result(-ENOSYS);
	return (int)ukl_result(ukl_call_function(ukl_import_ukl_wrmsr, msr, value, 0, 0, 0, 0));
}

/*
 * Keep other threads off this CPU (1) or allow them again (0). This is SCHED_FIFO at the
 * highest priority: interrupts, and the scheduler's reserve for other threads, still run.
 */
static inline int ukl_run_to_completion(int on)
{
	struct sched_param param;

	if (ukl_import_ukl_run_to_completion)
		return (int)ukl_result(ukl_call_function(ukl_import_ukl_run_to_completion,
							 (unsigned int)on, 0, 0, 0, 0, 0));
	memset(&param, 0, sizeof(param));
	param.sched_priority = on ? sched_get_priority_max(SCHED_FIFO) : 0;
	return sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &param);
}

#ifdef __cplusplus
}
#endif

#endif /* UKL_H */
