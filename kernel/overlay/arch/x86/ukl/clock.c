// SPDX-License-Identifier: GPL-2.0
/*
 * The counterpart of the vDSO: functions that read the time without a system
 * call. They are linked into application text (the Makefile renames the
 * section) and read the kernel's variables in place.
 *
 * vdso.S describes them in an ELF image where C libraries look them up.
 */
#include <linux/cache.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/nsproxy.h>
#include <linux/objtool.h>
#include <linux/sched.h>
#include <linux/time.h>
#include <linux/time_namespace.h>
#include <linux/types.h>
#include <vdso/gettime.h>

/*
 * The linker script of the vDSO defines these as pages in front of it. The vDSO
 * reads the page after the data only in other time namespaces, for which
 * ukl_clock_gettime() makes the system call instead.
 */
#define vdso_u_time_data	(*vdso_k_time_data)
#define pvclock_page		(*ukl_pvclock)
#define hvclock_page		(*ukl_hvclock)

#include "../../../lib/vdso/gettimeofday.c"

#include "app.h"

/* Set before the first application is started */
#ifdef CONFIG_PARAVIRT_CLOCK
struct pvclock_vsyscall_time_info *ukl_pvclock __ro_after_init;
#endif
#ifdef CONFIG_HYPERV_TIMER
struct ms_hyperv_tsc_page *ukl_hvclock __ro_after_init;
#endif

/* Other time namespaces have clock offsets, which the system call applies. */
static __always_inline bool own_time(void)
{
#ifdef CONFIG_TIME_NS
	return current->nsproxy->time_ns != &init_time_ns;
#else
	return false;
#endif
}

/* The fallbacks contain SYSCALL, which objtool does not expect in a function. */
int ukl_clock_gettime(clockid_t clock, struct __kernel_timespec *ts)
{
	if (own_time())
		return clock_gettime_fallback(clock, ts);
	return __cvdso_clock_gettime(clock, ts);
}

STACK_FRAME_NON_STANDARD(ukl_clock_gettime);

int ukl_clock_getres(clockid_t clock, struct __kernel_timespec *res)
{
	return __cvdso_clock_getres(clock, res);
}

STACK_FRAME_NON_STANDARD(ukl_clock_getres);

int ukl_gettimeofday(struct __kernel_old_timeval *tv, struct timezone *tz)
{
	return __cvdso_gettimeofday(tv, tz);
}

STACK_FRAME_NON_STANDARD(ukl_gettimeofday);

__kernel_old_time_t ukl_time(__kernel_old_time_t *t)
{
	return __cvdso_time(t);
}

long ukl_getcpu(unsigned int *cpu, unsigned int *node, struct getcpu_cache *unused)
{
	vdso_read_cpunode(cpu, node);

	return 0;
}
