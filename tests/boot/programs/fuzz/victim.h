/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VICTIM_H
#define VICTIM_H

#include <stddef.h>
#include <stdint.h>

#define WORDS		256
#define ALTERNATE	(64 << 10)

/* The pattern depends on the address of the words. */
void fill(uint64_t *words, size_t n, uint64_t key);
void verify(const char *what, const uint64_t *words, size_t n, uint64_t key);
void verify_all(void);
void thread_begin(void);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void broken(const char *what, const void *where, uint64_t is, uint64_t should);

/* The address where a thread's next write is refused, and the number of refusals */
extern __thread char *volatile expected;
extern __thread volatile unsigned long faults;
extern atomic_ulong handled;

/* For all signals, including the C library's own */
void mask_all(int how);
bool limited(pid_t pid);

void use_memory(void);
void use_children(void);
void use_pipe(void);
void use_lock(void);
void use_timers(void);
void use_registers(void);

#endif /* VICTIM_H */
