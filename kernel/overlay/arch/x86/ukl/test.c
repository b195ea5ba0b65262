// SPDX-License-Identifier: GPL-2.0
/*
 * Unikernel Linux: events that userspace cannot cause, for the selftests.
 *
 * /sys/kernel/debug/ukl/nmi_storm: a number written to it is how many NMIs all
 * other CPUs get, 10 us apart, with a handler that takes a page fault and unwinds
 * the interrupted stack. Reading gives how many were sent, handled, had hit the
 * UKL stack, and had hit application text.
 *
 * /sys/kernel/debug/ukl/stack_overflow: a write lets a kernel thread overflow
 * its stack, if it is 1 in an address space of application mode, else (0) in
 * another. The kernel reports that and goes on without the thread.
 *
 * /sys/kernel/debug/ukl/null_call: a write lets the kernel jump to address 0 on behalf
 * of the writer, which does not survive it.
 *
 * And functions for applications to call, by ukl_call().
 *
 * The parameter ukl_test_ibpb lets the kernel believe that the CPU has the barrier for
 * indirect branches, where an emulator ignores the MSR, but does not announce it.
 */
#define pr_fmt(fmt) "UKL: " fmt

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>
#include <asm/apic.h>
#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/irqflags.h>
#include <asm/nmi.h>
#include <asm/processor-flags.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include <asm/ukl.h>

#include "test.h"

/* In the vmalloc hole, never mapped: see Documentation/arch/x86/x86_64/mm.rst */
#define UNMAPPED	((void *)0xffffe90000000000UL)

static atomic_long_t nmi_sent, nmi_handled, nmi_on_stack, nmi_in_application;

static int storm_handler(unsigned int cmd, struct pt_regs *regs)
{
	unsigned long entries[8], unused;

	atomic_long_inc(&nmi_handled);
	if (regs->sp - __this_cpu_ist_bottom_va(UKL) < EXCEPTION_STKSZ)
		atomic_long_inc(&nmi_on_stack);
	if (ukl_text_address(regs->ip))
		atomic_long_inc(&nmi_in_application);
	/* Faults, on the stack that the NMI may have interrupted. */
	copy_from_kernel_nofault(&unused, UNMAPPED, sizeof(unused));
	/* The unwinder has to know where to stop. */
	stack_trace_save_regs(regs, entries, ARRAY_SIZE(entries), 0);
	return NMI_HANDLED;
}

static ssize_t storm_write(struct file *file, const char __user *buf, size_t count,
			   loff_t *pos)
{
	unsigned long n, i;
	int err, cpu;

	err = kstrtoul_from_user(buf, count, 0, &n);
	if (err)
		return err;

	err = register_nmi_handler(NMI_LOCAL, storm_handler, 0, "ukl_storm");
	if (err)
		return err;

	cpus_read_lock();
	for (i = 0; i < n && !signal_pending(current); i++) {
		preempt_disable();
		for_each_online_cpu(cpu) {
			if (cpu == smp_processor_id())
				continue;
			atomic_long_inc(&nmi_sent);
			__apic_send_IPI(cpu, NMI_VECTOR);
		}
		preempt_enable();
		usleep_range(10, 20);
	}
	cpus_read_unlock();
	/* What was sent last has to find its handler. */
	mdelay(10);
	unregister_nmi_handler(NMI_LOCAL, "ukl_storm");
	return count;
}

static ssize_t storm_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	char text[128];
	int n;

	n = scnprintf(text, sizeof(text), "sent %ld handled %ld stack %ld application %ld\n",
		      atomic_long_read(&nmi_sent), atomic_long_read(&nmi_handled),
		      atomic_long_read(&nmi_on_stack), atomic_long_read(&nmi_in_application));
	return simple_read_from_buffer(buf, count, pos, text, n);
}

static const struct file_operations storm_fops = {
	.read	= storm_read,
	.write	= storm_write,
};

static noinline int recurse(int n)
{
	char frame[256];

	frame[0] = n;
	barrier_data(frame);
	return n ? recurse(n - 1) + frame[0] : 0;
}

static int overflow_thread(void *application)
{
	struct mm_struct *mm = mm_alloc();

	if (!mm)
		return -ENOMEM;
	if (application)
		set_bit(MM_CONTEXT_UKL, &mm->context.flags);
	kthread_use_mm(mm);
	pr_info("overflowing the stack: %d\n", recurse(INT_MAX));
	kthread_unuse_mm(mm);
	mmput(mm);
	return 0;
}

static ssize_t overflow_write(struct file *file, const char __user *buf, size_t count,
			      loff_t *pos)
{
	struct task_struct *task;
	bool application;
	int err;

	err = kstrtobool_from_user(buf, count, &application);
	if (err)
		return err;

	task = kthread_run(overflow_thread, application ? &overflow_thread : NULL,
			   "ukl_overflow");
	return IS_ERR(task) ? PTR_ERR(task) : count;
}

static const struct file_operations overflow_fops = {
	.write	= overflow_write,
};

/* The kernel's mistake, whoever asked for it: an oops, and no signal of the process'. */
static ssize_t null_write(struct file *file, const char __user *buf, size_t count,
			  loff_t *pos)
{
	void (*nowhere)(void) = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	nowhere();
	return count;
}

static const struct file_operations null_fops = {
	.write	= null_write,
};

static int __init force_ibpb(char *unused)
{
	setup_force_cpu_cap(X86_FEATURE_IBPB);
	return 0;
}
early_param("ukl_test_ibpb", force_ibpb);

/* Zero if an argument is another, or it is not where a system call would be. */
unsigned long ukl_test_digits(unsigned long a, unsigned long b, unsigned long c,
			      unsigned long d, unsigned long e, unsigned long f)
{
	unsigned long flags = native_save_fl();

	if (!on_thread_stack() || preempt_count() || irqs_disabled())
		return 0;
	if (flags & (X86_EFLAGS_AC | X86_EFLAGS_DF | X86_EFLAGS_TF | X86_EFLAGS_NT))
		return 0;
	return ((((a * 10 + b) * 10 + c) * 10 + d) * 10 + e) * 10 + f;
}

struct ukl_test_pair ukl_test_pair(unsigned long low)
{
	return (struct ukl_test_pair){ low, ~low };
}

long ukl_test_wait(unsigned long ms)
{
	return schedule_timeout_interruptible(msecs_to_jiffies(ms)) ? -EINTR : 0;
}

long ukl_test_read(const unsigned long __user *from)
{
	unsigned long value;

	return get_user(value, from) ? -EFAULT : value;
}

static int __init ukl_test_init(void)
{
	struct dentry *dir = debugfs_create_dir("ukl", NULL);

	debugfs_create_file("nmi_storm", 0600, dir, NULL, &storm_fops);
	debugfs_create_file("null_call", 0200, dir, NULL, &null_fops);
	debugfs_create_file("stack_overflow", 0200, dir, NULL, &overflow_fops);
	return 0;
}
late_initcall(ukl_test_init);
