// SPDX-License-Identifier: GPL-2.0
/*
 * Unikernel Linux: trigger events that userspace cannot cause, for the
 * selftests.
 *
 * /sys/kernel/debug/ukl/nmi_storm: write the number of NMIs to send to all
 * other CPUs, 10 us apart. The NMI handler takes a page fault and unwinds the
 * interrupted stack. Read the number of NMIs that were sent, were handled,
 * interrupted code on the UKL stack, and interrupted application text.
 *
 * /sys/kernel/debug/ukl/stack_overflow: write 1 to make a kernel thread
 * overflow its stack in an address space of application mode, 0 to do it in
 * another address space. The kernel reports that and continues without the
 * thread.
 *
 * /sys/kernel/debug/ukl/null_call: write to make the kernel jump to address 0
 * in the context of the writer, which is killed.
 *
 * The file also has functions that applications call with ukl_call().
 *
 * The kernel parameter ukl_test_ibpb sets X86_FEATURE_IBPB in an emulator that
 * ignores writes to the MSR but does not enumerate the barrier.
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

/*
 * In the vmalloc hole, never mapped: see Documentation/arch/x86/x86_64/mm.rst
 */
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
	/* Fault, on the stack that the NMI may have interrupted. */
	copy_from_kernel_nofault(&unused, UNMAPPED, sizeof(unused));
	/* Check that the unwinder stops at the application's frame. */
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
	/* Wait until the last NMIs have been handled. */
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

/* A bug of the kernel must be an oops, not a signal to the process. */
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

/* Return 0 in a context in which no system call would run. */
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
