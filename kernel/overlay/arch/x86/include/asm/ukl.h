/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_UKL_H
#define _ASM_X86_UKL_H

#include <asm/page_types.h>

/*
 * Unikernel Linux: an application that is linked into the kernel and runs at
 * CPL 0 in its own process. See Documentation/arch/x86/ukl.rst.
 */

/*
 * Marks in pt_regs->csx, above the selector and the bits that FRED uses. IRETQ
 * ignores them. Only entry code sets them; values from userspace (sigreturn,
 * ptrace) never reach them.
 *
 * UKL_CSX_APP:  the frame interrupted application mode: CPL 0, but the regular
 *		 rules for a frame from user mode apply.
 * UKL_CSX_CALL: application mode was left by a call of ukl_syscall(), not by
 *		 the SYSCALL instruction or an exception. The return address
 *		 has been popped from the application's stack.
 * UKL_CSX_GATE: the frame is on the UKL stack, for ukl_sync_regs() to move it.
 */
#define UKL_CSX_APP	0x01000000
#define UKL_CSX_CALL	0x02000000
#define UKL_CSX_GATE	0x04000000

/* Number of bytes by which ukl_ist_enter() lowers the top of the UKL stack */
#define UKL_IST_SHIFT	1024

/* MODULES_VADDR, for entry code */
#define UKL_MODULES	(__START_KERNEL_map + KERNEL_IMAGE_SIZE)

/* Size of an entry in gate.S, and offset of its jump to the handler */
#define UKL_GATE_SIZE		16
#define UKL_GATE_MARK_JUMP	8
#define UKL_GATE_CALL_JUMP	5

#ifndef __ASSEMBLER__

#include <linux/types.h>
#include <asm/segment.h>
#include <asm/trapnr.h>

struct pt_regs;

#ifdef CONFIG_UKL

/*
 * Application text, linked after .text. The jump from ukl_syscall() to the
 * kernel proper follows its end; see text.lds.S.
 */
extern const char __ukl_text_start[], __ukl_text_end[], __ukl_leave_end[];

/*
 * The kernel's part of application text, after the applications' own text. It
 * starts with the stubs of indirect functions and the code of clock.c, and ends
 * with the stubs of stub.S.
 */
extern const char __ukl_stubs_start[], __ukl_entry_start[];

/* Entry code of the gates in an application's address space, one per vector */
extern char ukl_gates[];

/* Offset of the jump to the handler in the entry of @vector */
static __always_inline unsigned int ukl_gate_jump(unsigned int vector)
{
	return vector < NUM_EXCEPTION_VECTORS && vector != X86_TRAP_PF ?
	       UKL_GATE_MARK_JUMP : UKL_GATE_CALL_JUMP;
}

/* Restarts a system call made by ukl_syscall(), see arch/x86/ukl/stub.S */
extern const char ukl_syscall_restart[];

/* The kernel's part of ukl_syscall(), see arch/x86/ukl/entry.S */
extern const char ukl_syscall_kernel[], ukl_syscall_kernel_end[];

/* Is @ip in application text, including the stubs? */
static __always_inline bool ukl_text_address(unsigned long ip)
{
	return ip - (unsigned long)__ukl_text_start <
	       (unsigned long)__ukl_text_end - (unsigned long)__ukl_text_start;
}

/* Is @ip in the entry code of ukl_syscall(), where TF may still be set? */
static __always_inline bool ukl_entry_address(unsigned long ip)
{
	return (ip >= (unsigned long)__ukl_text_end &&
		ip < (unsigned long)__ukl_leave_end) ||
	       (ip >= (unsigned long)ukl_syscall_kernel &&
		ip < (unsigned long)ukl_syscall_kernel_end);
}

/* Did @regs interrupt application mode? */
#define ukl_regs(regs)		((regs)->csx & UKL_CSX_APP)

/*
 * Does the current process run in application mode, and is @ip in the code of the
 * applications, not in that of the kernel's stubs? The four bytes before it are then,
 * too.
 */
#define ukl_own_code(ip)						\
	(test_bit(MM_CONTEXT_UKL, &current->mm->context.flags) &&		\
	 (ip) - (unsigned long)__ukl_text_start - 4 <			\
	 (unsigned long)__ukl_stubs_start - (unsigned long)__ukl_text_start - 4)

/* Was application mode left through ukl_syscall()? */
#define ukl_call_regs(regs)	((regs)->csx & UKL_CSX_CALL)

/*
 * For entries that keep their own IST stack: mark @regs if it interrupted
 * application text, code in the user half, or the copy of a probed instruction. A
 * normal process that jumps to such an address can be interrupted before it faults,
 * but at CPL 3.
 */
#define ukl_mark_regs(regs)						\
do {									\
	struct pt_regs *__regs = (regs);				\
									\
	if (!(__regs->cs & SEGMENT_RPL_MASK) &&				\
	    (ukl_text_address(__regs->ip) ||				\
	     ((__regs->ip >= UKL_MODULES || (long)__regs->ip >= 0) &&	\
	      (long)__regs->sp >= 0)))					\
		__regs->csx |= UKL_CSX_APP;				\
} while (0)

bool ukl_current(void);
bool ukl_expected(void);
bool ukl_present(void);
bool ukl_valid_ip(unsigned long ip);
bool ukl_valid_frame(unsigned long ip, unsigned long sp);
void ukl_leave_stub(struct pt_regs *regs);
unsigned long ukl_shown(unsigned long address);

/*
 * #MC, #DB and NMI can hit an entry that is still on the UKL stack, and their
 * handlers can take exceptions that start at the top of that stack. Lower the
 * top while they run, by the maximum that an entry uses.
 */
#define ukl_ist_enter() \
	raw_cpu_sub(cpu_tss_rw.x86_tss.ist[IST_INDEX_UKL], UKL_IST_SHIFT)
#define ukl_ist_exit() \
	raw_cpu_add(cpu_tss_rw.x86_tss.ist[IST_INDEX_UKL], UKL_IST_SHIFT)

#else /* !CONFIG_UKL */

#define ukl_mark_regs(regs)	((void)(regs))

static __always_inline void ukl_ist_enter(void) { }
static __always_inline void ukl_ist_exit(void) { }

static __always_inline bool ukl_text_address(unsigned long ip)
{
	return false;
}

static __always_inline bool ukl_entry_address(unsigned long ip)
{
	return false;
}

#define ukl_regs(regs)		({ (void)(regs); false; })
#define ukl_call_regs(regs)	({ (void)(regs); false; })

static __always_inline bool ukl_current(void)
{
	return false;
}

static __always_inline bool ukl_expected(void)
{
	return false;
}

static __always_inline bool ukl_present(void)
{
	return false;
}

static __always_inline bool ukl_valid_ip(unsigned long ip)
{
	return true;
}

static __always_inline bool ukl_valid_frame(unsigned long ip, unsigned long sp)
{
	return true;
}

static __always_inline void ukl_leave_stub(struct pt_regs *regs) { }

static __always_inline unsigned long ukl_shown(unsigned long address)
{
	return address;
}

#endif /* CONFIG_UKL */

#endif /* __ASSEMBLER__ */
#endif /* _ASM_X86_UKL_H */
