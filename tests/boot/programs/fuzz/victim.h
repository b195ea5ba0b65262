/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VICTIM_H
#define VICTIM_H

#include <stddef.h>
#include <stdint.h>

#define WORDS		256
#define ALTERNATE	(64 << 10)

/* What the pattern of these is, depends on where they are. */
void fill(uint64_t *words, size_t n, uint64_t key);
void verify(const char *what, const uint64_t *words, size_t n, uint64_t key);
void verify_all(void);
void thread_begin(void);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void broken(const char *what, const void *where, uint64_t is, uint64_t should);

/* The address at which a thread's next write is refused, and how often that was */
extern __thread char *volatile expected;
extern __thread volatile unsigned long faults;
extern atomic_ulong handled;

/* Of all signals, the C library's own included */
void mask_all(int how);
bool limited(pid_t pid);

void use_memory(void);
void use_children(void);
void use_pipe(void);
void use_lock(void);
void use_timers(void);
void use_registers(void);

#endif /* VICTIM_H */
