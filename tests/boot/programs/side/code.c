// SPDX-License-Identifier: GPL-2.0
/* Kernel code with what kernel code has: locks, per-CPU data, RCU, patched code, exceptions. */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/sched/task_stack.h>
#include <linux/static_call.h>
#include <ukl/kernel.h>

#include "shared.h"

static DEFINE_SPINLOCK(lock);
static DEFINE_PER_CPU(unsigned long, calls);
static DEFINE_STATIC_KEY_FALSE(doubled);
static struct totals totals;
static unsigned long __rcu *published;
static int started;

static long first(long value)
{
	return value + 1;
}

static long second(long value)
{
	return value + 2;
}

DEFINE_STATIC_CALL(chosen, first);

static int __init start(void)
{
	started = 1;
	return 0;
}
late_initcall(start);

UKL_EXPORT(void nothing, (void))
{
}

UKL_EXPORT(long sum, (int a, long b, unsigned int c, u64 d, short e, signed char f))
{
	return a + b + c + d + e + f;
}

UKL_EXPORT(bool initialised, (void))
{
	return started;
}

UKL_EXPORT(long count, (struct totals __user *to, unsigned long bytes))
{
	struct totals now;
	unsigned long all = 0;
	int cpu;

	this_cpu_inc(calls);
	spin_lock(&lock);
	totals.calls++;
	totals.bytes += bytes;
	now = totals;
	spin_unlock(&lock);
	for_each_possible_cpu(cpu)
		all += per_cpu(calls, cpu);
	if (all < now.calls)
		return -EIO;
	return copy_to_user(to, &now, sizeof(now)) ? -EFAULT : 0;
}

UKL_EXPORT(unsigned long publish, (unsigned long value))
{
	unsigned long *new = kmalloc(sizeof(*new), GFP_KERNEL), *old, seen;

	*new = value;
	rcu_read_lock();
	seen = published ? *rcu_dereference(published) : 0;
	rcu_read_unlock();
	old = rcu_replace_pointer(published, new, true);
	synchronize_rcu();
	kfree(old);
	return seen;
}

UKL_EXPORT(long patched, (long value, bool on))
{
	if (on)
		static_branch_enable(&doubled);
	else
		static_branch_disable(&doubled);
	static_call_update(chosen, on ? second : first);
	value = static_call(chosen)(value);
	return static_branch_unlikely(&doubled) ? 2 * value : value;
}

/* An instruction of its own in the exception table, and one in the table of bugs */
UKL_EXPORT(long caught, (const long *address))
{
	long value;

	if (WARN_ON_ONCE(!address))
		return -EINVAL;
	return get_kernel_nofault(value, address) ? -EFAULT : value;
}

UKL_EXPORT(int pid, (void))
{
	return task_pid_vnr(current);
}

UKL_EXPORT(long nap, (unsigned int ms))
{
	return msleep_interruptible(ms) ? -EINTR : 0;
}

UKL_EXPORT(unsigned long spin, (void))
{
	unsigned long rounds = 1;

	while (!ukl_interrupted())
		rounds++;
	return rounds;
}

static noinline long inner(const long *pointer)
{
	return *pointer + 1;
}

/* A mistake: the pointer is the program's. */
UKL_EXPORT(long follow, (const long *pointer))
{
	long value = inner(pointer);

	barrier();
	return 2 * value;
}

/* A mistake: nothing ends this. */
UKL_EXPORT(long turn, (void))
{
	for (;;)
		cpu_relax();
	return 0;
}

/* Where does this run? */
UKL_EXPORT(bool on_kernel_stack, (void))
{
	int here;

	return object_is_on_stack(&here);
}
