// SPDX-License-Identifier: GPL-2.0
/*
 * The addresses of the entries in fast.S, for code of programs that are not linked in.
 *
 * They are at a fixed place, so that one instruction at the end of a stub,
 * "jmp *UKL_ENTRIES + 8 * NUMBER", reaches an entry wherever the kernel is: without
 * relocations, in any program and shared object, from its first instruction on. The place
 * is in the hole above the fixmap, whose own addresses depend on the configuration. It is
 * not in the page tables of normal processes with page table isolation, and supervisor
 * memory without, like the IDT at the start of the CPU entry area.
 */
#include <linux/build_bug.h>
#include <linux/cache.h>
#include <linux/init.h>
#include <linux/pgtable.h>
#include <linux/types.h>
#include <uapi/linux/ukl.h>
#include <asm/fixmap.h>
#include <asm/page.h>
#include <asm/ukl_fast.h>

#include "app.h"

static unsigned long ukl_entries[2 * PAGE_SIZE / sizeof(unsigned long)]
	__ro_after_init __aligned(PAGE_SIZE);

void __init ukl_map_entries(void)
{
	unsigned long offset;
	unsigned int i;

	BUILD_BUG_ON(UKL_FAST_CALLS != UKL_ENTRY_ANY);
	BUILD_BUG_ON(ARRAY_SIZE(ukl_entries) <= UKL_ENTRY_ANY);
	BUILD_BUG_ON(FIXADDR_TOP >= UKL_ENTRIES);

	for (i = 0; i < UKL_FAST_CALLS; i++)
		ukl_entries[i] = (unsigned long)ukl_fast_calls + i * UKL_FAST_SLOT;
	ukl_entries[UKL_ENTRY_ANY] = (unsigned long)ukl_fast_calls + UKL_FAST_ANY * UKL_FAST_SLOT;

	for (offset = 0; offset < sizeof(ukl_entries); offset += PAGE_SIZE)
		set_pte_vaddr(UKL_ENTRIES + offset,
			      pfn_pte((__pa_symbol(ukl_entries) + offset) >> PAGE_SHIFT,
				      PAGE_KERNEL_RO));
}
