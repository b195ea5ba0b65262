// SPDX-License-Identifier: GPL-2.0
/*
 * Unikernel Linux: what a CPU loads with the address space of an application.
 *
 * All tasks in such an address space run at CPL 0, all others return to CPL 3. So
 * what leads into the kernel goes with the address space:
 *
 * - the interrupt descriptor table, whose gates have an interrupt stack each;
 * - MSR_LSTAR, where the SYSCALL instruction leads: from CPL 0 there is neither
 *   SWAPGS nor a change of CR3, and who comes from CPL 3 never gets to a branch
 *   that leaves them out, be it speculatively.
 *
 * Kernel threads that borrow the address space run with both, which is good for
 * any mode of the kernel. MM_CONTEXT_UKL is set before an address space is loaded
 * for the first time, and never cleared.
 */
#include <linux/export.h>
#include <linux/percpu-defs.h>
#include <linux/user-return-notifier.h>
#include <asm/desc.h>
#include <asm/mmu_context.h>
#include <asm/msr.h>
#include <asm/proto.h>

/* In entry.S */
void ukl_entry_SYSCALL_64(void);

/* What this CPU has loaded. False while it is offline: it is left with init_mm. */
DEFINE_PER_CPU(bool, ukl_loaded);

/**
 * ukl_syscall_entry - where SYSCALL has to lead on this CPU
 *
 * For whoever initializes MSR_LSTAR: when a CPU comes up, and after a suspend, which
 * brings the descriptor table back, but not this.
 */
unsigned long ukl_syscall_entry(void)
{
	return this_cpu_read(ukl_loaded) ? (unsigned long)ukl_entry_SYSCALL_64 :
					   (unsigned long)entry_SYSCALL_64;
}

/**
 * ukl_load - load what an address space needs that is about to be used
 * @application: whether it is one of application mode
 *
 * Interrupts are off.
 *
 * KVM leaves a guest's MSR_LSTAR on the CPU until it returns to user mode, and
 * keeps account of what is there. Let it put back the host's first: the account
 * would be wrong, and its return to user mode could be one to an application.
 */
void ukl_load(bool application)
{
	fire_user_return_notifiers();
	this_cpu_write(ukl_loaded, application);
	if (application)
		ukl_load_idt();
	else
		load_current_idt();
	wrmsrq(MSR_LSTAR, ukl_syscall_entry());
}

/**
 * ukl_host_msr - correct what was read of a register for later use
 * @msr: number of the register
 * @value: what was read on this CPU
 *
 * KVM reads once what it gives back to a CPU from then on. A kernel thread may do
 * that while it borrows the address space of an application.
 */
void ukl_host_msr(unsigned int msr, u64 *value)
{
	if (msr == MSR_LSTAR)
		*value = (unsigned long)entry_SYSCALL_64;
}
EXPORT_SYMBOL_GPL(ukl_host_msr);
