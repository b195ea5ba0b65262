// SPDX-License-Identifier: GPL-2.0
/*
 * Unikernel Linux: load the CPU state for an application's address space.
 *
 * All tasks in such an address space run at CPL 0, all others return to CPL 3.
 * So the entry points into the kernel are switched with the address space:
 *
 * - the IDT, in which all gates use IST stacks;
 * - MSR_LSTAR, the target of SYSCALL. The entry from CPL 0 has neither SWAPGS
 *   nor a CR3 switch, and the entry from CPL 3 has no branch that skips them,
 *   which could be taken speculatively.
 *
 * Kernel threads that borrow the address space run with both, which work in
 * kernel mode, too. MM_CONTEXT_UKL is set before an address space is loaded for
 * the first time, and never cleared.
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

/*
 * True if this CPU has loaded the state of application mode. An offline CPU
 * uses init_mm, so it is false there.
 */
DEFINE_PER_CPU(bool, ukl_loaded);

/**
 * ukl_syscall_entry - get the SYSCALL entry point for this CPU
 *
 * Used to initialize MSR_LSTAR when a CPU comes up and after a suspend. Resume
 * restores the IDT, but not MSR_LSTAR.
 */
unsigned long ukl_syscall_entry(void)
{
	return this_cpu_read(ukl_loaded) ? (unsigned long)ukl_entry_SYSCALL_64 :
					   (unsigned long)entry_SYSCALL_64;
}

/**
 * ukl_load - load the entry points for an address space
 * @application: whether it is one of application mode
 *
 * Called before the address space is used, with interrupts off.
 *
 * KVM leaves a guest's MSR_LSTAR on the CPU until it returns to user mode and
 * tracks the current value. Let it restore the host's value first: otherwise
 * its tracking would be wrong, and it might restore the host's value on a
 * return to an application.
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
 * ukl_host_msr - correct an MSR value that KVM will restore later
 * @msr: number of the MSR
 * @value: value read on this CPU
 *
 * KVM reads the host's values once per CPU and restores them from then on. A
 * kernel thread may read them while it borrows the address space of an
 * application.
 */
void ukl_host_msr(unsigned int msr, u64 *value)
{
	if (msr == MSR_LSTAR)
		*value = (unsigned long)entry_SYSCALL_64;
}
EXPORT_SYMBOL_GPL(ukl_host_msr);
