// SPDX-License-Identifier: GPL-2.0
/*
 * The frequency of the local APIC timer, for a machine that is known to the one
 * who starts the guest.
 *
 * Without it calibrate_APIC_clock() (arch/x86/kernel/apic/apic.c) counts for 100
 * ms, and for another 100 ms without a PM timer: most of the boot of a small
 * guest in an emulator, whose timer has a fixed frequency.
 */
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/printk.h>

#include <asm/apic.h>

/* lapic_timer_period is an unsigned int and counts per tick. */
#define MAX_KHZ		(UINT_MAX / 1000)

/* ukl.lapic_khz=N: bus clock cycles per millisecond, before the divider. */
static int __init set_lapic_khz(char *arg)
{
	unsigned int khz;

	if (!arg || kstrtouint(arg, 0, &khz) || !khz || khz > MAX_KHZ) {
		pr_warn("ukl.lapic_khz: not a number from 1 to %u\n", MAX_KHZ);
		return -EINVAL;
	}
	/* A hypervisor's word, which may come before or after, is as good. */
	lapic_timer_period = khz * 1000 / HZ;
	return 0;
}
early_param("ukl.lapic_khz", set_lapic_khz);
