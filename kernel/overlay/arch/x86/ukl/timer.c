// SPDX-License-Identifier: GPL-2.0
/*
 * Set the frequency of the local APIC timer from the command line.
 *
 * Otherwise calibrate_APIC_clock() (arch/x86/kernel/apic/apic.c) counts for 100
 * ms, and for another 100 ms without a PM timer. That is most of the boot of a
 * small guest in an emulator, whose timer has a fixed frequency.
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
	/* A hypervisor may report it before or after; the values agree. */
	lapic_timer_period = khz * 1000 / HZ;
	return 0;
}
early_param("ukl.lapic_khz", set_lapic_khz);
