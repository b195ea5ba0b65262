// SPDX-License-Identifier: GPL-2.0
/*
 * Held notifications of network devices
 *
 * To notify a paravirtual device leaves the virtual machine, which takes longer than to
 * send a small packet. A server that handles several events between two waits sends
 * several packets. So notify the device once for all of them, when the server waits
 * again.
 *
 * Only a program that waits for events (epoll, poll, select, io_uring) has its
 * notifications held, and on the CPU where it last did so. The CPU makes them up at the
 * latest
 *
 * - when the program asks for events again, whether or not there are any,
 * - when any task on this CPU blocks, and before the CPU idles,
 * - with the timer tick, if the program computes for so long,
 * - when there are as many packets as the parameter held_kick.packets says.
 *
 * A driver does not ask to hold a notification if its ring is full, because then
 * progress depends on the device.
 */
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/tick.h>
#include <linux/workqueue.h>
#include <net/held_kick.h>

/* Waits without holding anything after a program has computed for more than a tick */
#define HELD_KICK_BACKOFF	64

enum held_kick_reason {
	HELD_KICK_WAIT,
	HELD_KICK_BLOCK,
	HELD_KICK_TICK,
	HELD_KICK_FULL,
	HELD_KICK_REASONS
};

static const char * const reasons[] = { "wait", "block", "tick", "full" };

struct held_kicks {
	struct held_kick *first;
	struct mm_struct *mm;		/* of the program; only compared */
	unsigned int packets;
	unsigned int skip;		/* waits without holding anything */
	unsigned int waits;		/* since the last tick */
	unsigned long held;
	unsigned long flushed[HELD_KICK_REASONS];
};

DEFINE_STATIC_KEY_FALSE(held_kick_key);
EXPORT_SYMBOL_GPL(held_kick_key);

static DEFINE_PER_CPU(struct held_kicks, held_kicks);
static unsigned int packets __read_mostly;	/* at most; 0: nothing is held */

/* With bottom halves disabled, as everything that touches ->first */
static void flush(struct held_kicks *kicks, enum held_kick_reason reason)
{
	struct held_kick *queue, *next;

	next = kicks->first;
	if (!next)
		return;
	kicks->first = NULL;
	kicks->packets = 0;
	kicks->flushed[reason]++;
	while ((queue = next)) {
		next = queue->next;
		/* From here on another CPU may hold it. */
		smp_store_release(&queue->held, false);
		queue->kick(queue);
	}
}

bool __held_kick_hold(struct held_kick *queue)
{
	struct held_kicks *kicks = this_cpu_ptr(&held_kicks);

	if (!kicks->mm || kicks->mm != current->mm)
		return false;
	/* A message of the kernel's, maybe its last one */
	if (irqs_disabled())
		return false;
	if (++kicks->packets >= READ_ONCE(packets)) {
		/* The caller notifies its device, and the flush finds nothing to do there. */
		kicks->packets = 0;
		kicks->flushed[HELD_KICK_FULL]++;
		return false;
	}
	/* The caller has locked the queue: nobody else sets this. */
	if (!smp_load_acquire(&queue->held)) {
		queue->next = kicks->first;
		kicks->first = queue;
		WRITE_ONCE(queue->held, true);
	}
	kicks->held++;
	return true;
}
EXPORT_SYMBOL_GPL(__held_kick_hold);

void __held_kick_wait(void)
{
	struct held_kicks *kicks;

	preempt_disable();
	kicks = this_cpu_ptr(&held_kicks);
	kicks->waits++;
	if (kicks->skip) {
		kicks->skip--;
		kicks->mm = NULL;
	} else {
		/* A CPU without a tick could hold something for ever. */
		kicks->mm = tick_nohz_full_cpu(smp_processor_id()) ? NULL : current->mm;
	}
	if (kicks->first) {
		local_bh_disable();
		flush(kicks, HELD_KICK_WAIT);
		local_bh_enable();
	}
	preempt_enable();
}

void __held_kick_flush(void)
{
	if (!this_cpu_read(held_kicks.first))
		return;
	local_bh_disable();
	flush(this_cpu_ptr(&held_kicks), HELD_KICK_BLOCK);
	local_bh_enable();
}

static void late(struct tasklet_struct *tasklet)
{
	flush(this_cpu_ptr(&held_kicks), HELD_KICK_TICK);
}

static DEFINE_PER_CPU(struct tasklet_struct, late_tasklet) = {
	.callback	= late,
	.use_callback	= true,
};

void __held_kick_tick(void)
{
	struct held_kicks *kicks = this_cpu_ptr(&held_kicks);

	if (kicks->first) {
		tasklet_schedule(this_cpu_ptr(&late_tasklet));
		if (!kicks->waits) {
			kicks->mm = NULL;
			kicks->skip = HELD_KICK_BACKOFF;
		}
	}
	kicks->waits = 0;
}

static void drain(struct work_struct *work)
{
	local_bh_disable();
	flush(this_cpu_ptr(&held_kicks), HELD_KICK_BLOCK);
	local_bh_enable();
}

/**
 * held_kick_drain - make up all notifications, before queues go away
 *
 * The caller has made sure that nothing is transmitted any more. An offline CPU has
 * idled, so it holds nothing. May sleep.
 */
void held_kick_drain(void)
{
	if (static_key_enabled(&held_kick_key))
		schedule_on_each_cpu(drain);
}
EXPORT_SYMBOL_GPL(held_kick_drain);

static int get_counts(char *buffer, const struct kernel_param *param)
{
	unsigned long held = 0, flushed[HELD_KICK_REASONS] = { 0 };
	int cpu, i, length;

	for_each_possible_cpu(cpu) {
		struct held_kicks *kicks = per_cpu_ptr(&held_kicks, cpu);

		held += READ_ONCE(kicks->held);
		for (i = 0; i < HELD_KICK_REASONS; i++)
			flushed[i] += READ_ONCE(kicks->flushed[i]);
	}
	length = scnprintf(buffer, PAGE_SIZE, "packets %lu", held);
	for (i = 0; i < HELD_KICK_REASONS; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length, " %s %lu", reasons[i],
				    flushed[i]);
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "\n");
}

static const struct kernel_param_ops counts_ops = {
	.get	= get_counts,
};
module_param_cb(counts, &counts_ops, NULL, 0444);
MODULE_PARM_DESC(counts, "Packets, and why their device was notified");

static int set_packets(const char *text, const struct kernel_param *param)
{
	int err = param_set_uint_minmax(text, param, 0, 1024);

	/* The key stays on, as another CPU may hold something. */
	if (!err && packets)
		static_branch_enable(&held_kick_key);
	return err;
}

static const struct kernel_param_ops packets_ops = {
	.set	= set_packets,
	.get	= param_get_uint,
};
module_param_cb(packets, &packets_ops, &packets, 0644);
MODULE_PARM_DESC(packets, "Packets that a program sends before their device is notified");
