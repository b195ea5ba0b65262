// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests that need no application: classification of frames, where frames
 * are moved, and validation of marker files.
 */
#include <kunit/test.h>
#include <linux/elf.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/linkage.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/string.h>
#include <linux/ukl.h>
#include <asm/cpu.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/mmu_context.h>
#include <asm/msr.h>
#include <asm/proto.h>
#include <asm/ptrace.h>
#include <asm/segment.h>
#include <asm/text-patching.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>

#include "app.h"
#include "frame.h"
#include "kunit.h"

#define USER_SP		(TASK_SIZE_MAX - PAGE_SIZE)

asmlinkage struct pt_regs *ukl_sync_regs(struct pt_regs *eregs);

/* Start of a fast call's entry, and of the code that returns */
/* objtool takes a constant address of code for a branch target. */
static unsigned long hidden(const void *code)
{
	unsigned long address = (unsigned long)code;

	OPTIMIZER_HIDE_VAR(address);
	return address;
}

static unsigned long fast_entry(unsigned int nr)
{
	return hidden(ukl_fast_calls) + nr * UKL_FAST_SLOT;
}

static unsigned long fast_tail(unsigned int nr)
{
	return fast_entry(nr) + ukl_fast_tails[nr];
}

/* --- ranges of text ------------------------------------------------------------ */

static void test_text(struct kunit *test)
{
	unsigned long start = (unsigned long)__ukl_text_start;
	unsigned long end = (unsigned long)__ukl_text_end;

	KUNIT_EXPECT_LT(test, start, end);
	KUNIT_EXPECT_FALSE(test, ukl_text_address(start - 1));
	KUNIT_EXPECT_TRUE(test, ukl_text_address(start));
	KUNIT_EXPECT_TRUE(test, ukl_text_address(end - 1));
	KUNIT_EXPECT_FALSE(test, ukl_text_address(end));
	KUNIT_EXPECT_FALSE(test, ukl_text_address(0));
	KUNIT_EXPECT_FALSE(test, ukl_text_address(ULONG_MAX));
	KUNIT_EXPECT_FALSE(test, ukl_text_address((unsigned long)ukl_sync_regs));
	/* The stubs and ukl_fast_ret are application text. */
	KUNIT_EXPECT_TRUE(test, ukl_text_address((unsigned long)ukl_syscall));
	KUNIT_EXPECT_TRUE(test, ukl_text_address((unsigned long)ukl_syscall_restart));
	KUNIT_EXPECT_TRUE(test, ukl_text_address((unsigned long)ukl_fast_ret));
}

static void test_entry(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, ukl_entry_address((unsigned long)__ukl_text_end - 1));
	KUNIT_EXPECT_TRUE(test, ukl_entry_address((unsigned long)__ukl_text_end));
	KUNIT_EXPECT_TRUE(test, ukl_entry_address((unsigned long)__ukl_leave_end - 1));
	KUNIT_EXPECT_FALSE(test, ukl_entry_address((unsigned long)__ukl_leave_end));
	KUNIT_EXPECT_TRUE(test, ukl_entry_address((unsigned long)ukl_syscall_kernel));
	KUNIT_EXPECT_FALSE(test, ukl_entry_address((unsigned long)ukl_syscall_kernel_end));
	KUNIT_EXPECT_FALSE(test, ukl_entry_address(0));
}

static void test_fast_range(struct kunit *test)
{
	unsigned long end = hidden(ukl_fast_calls_end);

	KUNIT_EXPECT_FALSE(test, ukl_fast_address(fast_entry(0) - 1));
	KUNIT_EXPECT_TRUE(test, ukl_fast_address(fast_entry(0)));
	KUNIT_EXPECT_TRUE(test, ukl_fast_address(end - 1));
	KUNIT_EXPECT_FALSE(test, ukl_fast_address(end));
	KUNIT_EXPECT_FALSE(test, ukl_text_address(fast_entry(0)));
	KUNIT_EXPECT_LT(test, fast_entry(UKL_FAST_ANY), end);
}

/* --- marks --------------------------------------------------------------------- */

static void test_marks(struct kunit *test)
{
	struct pt_regs regs = { .csx = __KERNEL_CS };

	KUNIT_EXPECT_FALSE(test, user_mode(&regs));
	KUNIT_EXPECT_FALSE(test, !!ukl_regs(&regs));

	regs.csx = __KERNEL_CS | UKL_CSX_APP;
	KUNIT_EXPECT_TRUE(test, user_mode(&regs));
	KUNIT_EXPECT_TRUE(test, !!ukl_regs(&regs));
	KUNIT_EXPECT_FALSE(test, !!ukl_call_regs(&regs));
	/* The selector is unchanged: IRETQ loads it. */
	KUNIT_EXPECT_EQ(test, regs.cs, __KERNEL_CS);

	regs.csx |= UKL_CSX_CALL;
	KUNIT_EXPECT_TRUE(test, !!ukl_call_regs(&regs));

	regs.csx = __USER_CS;
	KUNIT_EXPECT_TRUE(test, user_mode(&regs));
	KUNIT_EXPECT_FALSE(test, !!ukl_regs(&regs));
}

static void test_mark_regs(struct kunit *test)
{
	struct pt_regs regs = { .csx = __KERNEL_CS, .ip = (unsigned long)ukl_sync_regs };

	ukl_mark_regs(&regs);
	KUNIT_EXPECT_FALSE(test, !!ukl_regs(&regs));
	regs.ip = (unsigned long)ukl_syscall;
	ukl_mark_regs(&regs);
	KUNIT_EXPECT_TRUE(test, !!ukl_regs(&regs));

	/* The copy of a probed instruction is in the module area. */
	regs.csx = __KERNEL_CS;
	regs.ip = MODULES_VADDR + PAGE_SIZE;
	regs.sp = (unsigned long)&regs;
	ukl_mark_regs(&regs);
	KUNIT_EXPECT_FALSE(test, !!ukl_regs(&regs));
	regs.sp = USER_SP;
	ukl_mark_regs(&regs);
	KUNIT_EXPECT_TRUE(test, !!ukl_regs(&regs));

	/* A normal process has jumped there and not faulted yet. */
	regs.csx = __USER_CS;
	ukl_mark_regs(&regs);
	KUNIT_EXPECT_FALSE(test, !!ukl_regs(&regs));
	regs.ip = (unsigned long)ukl_syscall;
	ukl_mark_regs(&regs);
	KUNIT_EXPECT_FALSE(test, !!ukl_regs(&regs));
}

/* Frames that a tracer or sigreturn may set */
static void test_valid_frame(struct kunit *test)
{
	unsigned long text = (unsigned long)ukl_syscall;

	KUNIT_EXPECT_TRUE(test, ukl_valid_frame(text, USER_SP));
	KUNIT_EXPECT_TRUE(test, ukl_valid_frame(text, 0));
	/* This faults, but in the application. */
	KUNIT_EXPECT_TRUE(test, ukl_valid_frame(0x400000, USER_SP));

	KUNIT_EXPECT_FALSE(test, ukl_valid_frame((unsigned long)ukl_sync_regs, USER_SP));
	KUNIT_EXPECT_FALSE(test, ukl_valid_frame(fast_entry(0), USER_SP));
	KUNIT_EXPECT_FALSE(test, ukl_valid_frame((unsigned long)__ukl_text_end, USER_SP));
	KUNIT_EXPECT_FALSE(test, ukl_valid_frame(TASK_SIZE_MAX, USER_SP));
	KUNIT_EXPECT_FALSE(test, ukl_valid_frame(0x8000000000000000UL, USER_SP));
	KUNIT_EXPECT_FALSE(test, ukl_valid_frame(text, TASK_SIZE_MAX));
	KUNIT_EXPECT_FALSE(test, ukl_valid_frame(text, (unsigned long)&text));
}

/* Entry points of the kernel's stubs in application text */
static void test_valid_ip(struct kunit *test)
{
	unsigned long entries = 0, ip;

	KUNIT_EXPECT_TRUE(test, ukl_valid_ip((unsigned long)__ukl_text_start));
	KUNIT_EXPECT_TRUE(test, ukl_valid_ip((unsigned long)__ukl_entry_start - 1));
	for (ip = (unsigned long)__ukl_entry_start; ip < (unsigned long)__ukl_text_end; ip++)
		entries += ukl_valid_ip(ip);
	KUNIT_EXPECT_EQ(test, entries, 4);
	KUNIT_EXPECT_TRUE(test, ukl_valid_ip((unsigned long)ukl_syscall));
	KUNIT_EXPECT_TRUE(test, ukl_valid_ip((unsigned long)ukl_syscall_restart));
	KUNIT_EXPECT_TRUE(test, ukl_valid_ip((unsigned long)ukl_call));
	KUNIT_EXPECT_TRUE(test, ukl_valid_ip((unsigned long)ukl_fast_ret));
}

/* Return the address after the first system call by CALL in application text, or 0. */
static unsigned long first_call(void)
{
	unsigned long ret = (unsigned long)__ukl_text_start + CALL_INSN_SIZE, target;

	for (; ret <= (unsigned long)__ukl_stubs_start; ret++) {
		target = ret + *(s32 *)(ret - sizeof(s32));
		if (*(u8 *)(ret - CALL_INSN_SIZE) == CALL_INSN_OPCODE &&
		    (target == (unsigned long)ukl_syscall || ukl_fast_address(target)))
			return ret;
	}
	return 0;
}

/* A signal before the call is delivered at the CALL, as it would be at SYSCALL. */
static void test_undo_call(struct kunit *test)
{
	struct pt_regs regs = {
		.ip = (unsigned long)ukl_syscall_restart, .cx = first_call(), .sp = USER_SP,
	};

	if (!regs.cx)
		kunit_skip(test, "the applications make no system call by CALL");
	ukl_leave_stub(&regs);
	KUNIT_EXPECT_EQ(test, regs.ip, regs.cx - CALL_INSN_SIZE);
	KUNIT_EXPECT_EQ(test, regs.sp, USER_SP);

	/* No call is in front of it. */
	regs.ip = (unsigned long)ukl_syscall_restart;
	regs.cx++;
	ukl_leave_stub(&regs);
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_syscall_restart);

	/* Not in the applications' text. */
	regs.cx = (unsigned long)__ukl_text_start;
	ukl_leave_stub(&regs);
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_syscall_restart);
}

/* A signal handler never sees a frame in the middle of a stub. */
static void test_leave_stub(struct kunit *test)
{
	unsigned long text = (unsigned long)__ukl_text_start;
	const struct {
		unsigned long at, ip, sp;
	} places[] = {
		/* STI; JMP */
		{ hidden(ukl_return_to_ip), text, USER_SP },
		{ hidden(ukl_return_to_ip) + 1, text, USER_SP },
		/* STAC, of three bytes; STI; PUSH; RET */
		{ hidden(ukl_return_to_call), text, USER_SP },
		{ hidden(ukl_return_to_call) + 3, text, USER_SP },
		{ hidden(ukl_return_to_call) + 4, text, USER_SP },
		{ hidden(ukl_return_to_call_ret), text, USER_SP + 8 },
		/* PUSH; POP; MOV, of three bytes; CLI */
		{ hidden(ukl_syscall_restart), (unsigned long)ukl_syscall_restart, USER_SP },
		{ hidden(ukl_syscall), (unsigned long)ukl_syscall, USER_SP },
		{ hidden(ukl_syscall) + 1, (unsigned long)ukl_syscall_restart, USER_SP },
		{ hidden(ukl_syscall) + 4, (unsigned long)ukl_syscall_restart, USER_SP },
		{ hidden(ukl_call), (unsigned long)ukl_call, USER_SP },
		{ hidden(ukl_fast_ret), (unsigned long)ukl_fast_ret, USER_SP },
		{ hidden(__ukl_text_start), text, USER_SP },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		struct pt_regs regs = {
			.ip = places[i].at, .cx = text, .sp = USER_SP,
		};

		ukl_leave_stub(&regs);
		KUNIT_EXPECT_EQ_MSG(test, regs.ip, places[i].ip, "place %u", i);
		KUNIT_EXPECT_EQ_MSG(test, regs.sp, places[i].sp, "place %u", i);
		KUNIT_EXPECT_TRUE(test, ukl_valid_frame(regs.ip, regs.sp));
	}
}

/* --- frames -------------------------------------------------------------------- */

static void test_from_application(struct kunit *test)
{
	struct pt_regs regs = { .csx = __KERNEL_CS, .sp = USER_SP };

	/* Application text, with any stack pointer */
	regs.ip = (unsigned long)__ukl_text_start;
	KUNIT_EXPECT_TRUE(test, ukl_from_application(&regs));
	regs.sp = (unsigned long)&regs;
	KUNIT_EXPECT_TRUE(test, ukl_from_application(&regs));

	/* The stack pointer counts only in a UKL process, which this is not. */
	regs.ip = (unsigned long)ukl_sync_regs;
	KUNIT_EXPECT_FALSE(test, ukl_from_application(&regs));
	regs.sp = USER_SP;
	KUNIT_EXPECT_FALSE(test, ukl_from_application(&regs));
}

/* Wild jumps in a UKL process: stack pointer and instruction pointer decide. */
static void test_wild_jump(struct kunit *test)
{
	struct mm_struct *application = mm_alloc();
	struct pt_regs regs = { .csx = __KERNEL_CS };
	unsigned long stacks[] = {
		(unsigned long)&regs,
		(unsigned long)task_stack_page(current) + THREAD_SIZE,
		hardirq_stack_top(),
		hardirq_stack_top() - IRQ_STACK_SIZE / 2,
		__this_cpu_ist_top_va(DB) - 8,
	};
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, application);
	set_bit(MM_CONTEXT_UKL, &application->context.flags);
	kthread_use_mm(application);

	/* By the kernel */
	for (i = 0; i < ARRAY_SIZE(stacks); i++) {
		regs.sp = stacks[i];
		regs.ip = 0;
		KUNIT_EXPECT_FALSE(test, ukl_from_application(&regs));
		regs.ip = PAGE_OFFSET;
		KUNIT_EXPECT_FALSE(test, ukl_from_application(&regs));
		regs.ip = (unsigned long)ukl_sync_regs;
		KUNIT_EXPECT_FALSE(test, ukl_from_application(&regs));
	}
	/* By the application */
	regs.sp = USER_SP;
	regs.ip = 0;
	KUNIT_EXPECT_TRUE(test, ukl_from_application(&regs));
	regs.ip = (unsigned long)ukl_sync_regs;
	KUNIT_EXPECT_TRUE(test, ukl_from_application(&regs));
	regs.sp = VMALLOC_END;
	regs.ip = 0;
	KUNIT_EXPECT_TRUE(test, ukl_from_application(&regs));

	kthread_unuse_mm(application);
	mmput(application);
}

/* Interrupt each instruction of each entry. */
static void test_fast_to_application(struct kunit *test)
{
	unsigned long at;
	unsigned int nr;

	for (nr = 0; nr < UKL_FAST_CALLS; nr++) {
		KUNIT_ASSERT_LE(test, ukl_fast_tails[nr], UKL_FAST_SLOT);
		for (at = fast_entry(nr); at < fast_entry(nr + 1); at++) {
			struct pt_regs regs = { .ip = at, .ax = ~0UL, .sp = USER_SP };
			bool tail = at >= fast_tail(nr);

			ukl_fast_to_application(&regs);
			KUNIT_ASSERT_EQ(test, regs.ip,
					(unsigned long)(tail ? ukl_fast_ret : ukl_syscall));
			KUNIT_ASSERT_EQ(test, regs.ax, tail ? ~0UL : nr);
			KUNIT_ASSERT_EQ(test, regs.sp, USER_SP);
		}
	}
}

static void test_fast_restart_tail(struct kunit *test)
{
	unsigned long at;
	unsigned int nr;

	for (nr = 0; nr < UKL_FAST_CALLS; nr++) {
		for (at = fast_entry(nr); at < fast_entry(nr + 1); at++) {
			struct pt_regs regs = { .ip = at };

			ukl_fast_restart_tail(&regs);
			KUNIT_ASSERT_EQ(test, regs.ip, at >= fast_tail(nr) ? fast_tail(nr) : at);
		}
	}
}

/* The last entry takes the number from rax, and its slot has no upper limit. */
static void test_fast_by_number(struct kunit *test)
{
	unsigned long end = (unsigned long)ukl_fast_calls_end, at;

	for (at = fast_entry(UKL_FAST_ANY); at < end; at++) {
		struct pt_regs regs = { .ip = at, .ax = 4711, .sp = USER_SP };
		bool tail = at >= fast_tail(UKL_FAST_ANY);

		ukl_fast_restart_tail(&regs);
		KUNIT_ASSERT_EQ(test, regs.ip, tail ? fast_tail(UKL_FAST_ANY) : at);
		ukl_fast_to_application(&regs);
		KUNIT_ASSERT_EQ(test, regs.ip,
				(unsigned long)(tail ? ukl_fast_ret : ukl_syscall));
		KUNIT_ASSERT_EQ(test, regs.ax, 4711);
	}
}

/* Function calls are restarted with unchanged registers. */
static void test_fast_function(struct kunit *test)
{
	unsigned long at;
	unsigned int nr;

	for (nr = UKL_FAST_FUNCTION; nr < UKL_FAST_ANY; nr++) {
		KUNIT_ASSERT_LE(test, ukl_fast_tails[nr], UKL_FAST_SLOT);
		for (at = fast_entry(nr); at < fast_entry(nr + 1); at++) {
			struct pt_regs regs = { .ip = at, .ax = 4711, .sp = USER_SP };
			bool tail = at >= fast_tail(nr);

			ukl_fast_restart_tail(&regs);
			KUNIT_ASSERT_EQ(test, regs.ip, tail ? fast_tail(nr) : at);
			ukl_fast_to_application(&regs);
			KUNIT_ASSERT_EQ(test, regs.ip,
					(unsigned long)(tail ? ukl_fast_ret : ukl_call));
			KUNIT_ASSERT_EQ(test, regs.ax, 4711);
		}
	}
	KUNIT_EXPECT_EQ(test, fast_entry(UKL_FAST_SLOW_FUNCTION), (unsigned long)ukl_call_slow);
}

void ukl_kunit_function(void)
{
}

/* Interrupt each instruction of the entry of an application's kernel function. */
static void test_function_entry(struct kunit *test)
{
	const unsigned long start = (unsigned long)ukl_kernel_ukl_kunit_function;
	const struct ukl_function *entry = ukl_function_entry(start);
	unsigned long at;

	KUNIT_EXPECT_NULL(test, ukl_function_entry((unsigned long)__ukl_functions_start - 1));
	KUNIT_EXPECT_NULL(test, ukl_function_entry((unsigned long)__ukl_functions_end));
	KUNIT_ASSERT_NOT_NULL(test, entry);
	KUNIT_ASSERT_LE(test, entry->tail, UKL_FUNCTION_SLOT);
	for (at = start; at < start + UKL_FUNCTION_SLOT; at++) {
		bool tail = at >= start + entry->tail;
		struct pt_regs regs = {
			.ip = at, .r10 = 4711, .sp = USER_SP, .flags = X86_EFLAGS_AC,
		};

		KUNIT_ASSERT_PTR_EQ(test, ukl_function_entry(at), entry);
		ukl_function_restart_tail(&regs, entry);
		KUNIT_ASSERT_EQ(test, regs.ip, tail ? start + entry->tail : at);
		KUNIT_ASSERT_EQ(test, regs.flags, tail ? 0 : X86_EFLAGS_AC);
		ukl_function_to_application(&regs, entry);
		KUNIT_ASSERT_EQ(test, regs.ip, (unsigned long)(tail ? ukl_fast_ret : ukl_call));
		KUNIT_ASSERT_EQ(test, regs.r10,
				tail ? 4711 : (unsigned long)ukl_kunit_function);
		KUNIT_ASSERT_EQ(test, regs.sp, USER_SP);
	}
}

/* An interrupt at the end of an entry is followed by another check of the flags. */
static void test_function_sync(struct kunit *test)
{
	const unsigned long start = (unsigned long)ukl_kernel_ukl_kunit_function;
	const struct ukl_function *entry = ukl_function_entry(start);
	unsigned long stack[64], flags;
	struct pt_regs moved, *ist;

	KUNIT_ASSERT_NOT_NULL(test, entry);
	/* The UKL stack is not used while interrupts are off. */
	local_irq_save(flags);
	ist = (struct pt_regs *)__this_cpu_ist_bottom_va(UKL);
	memset(ist, 0, sizeof(*ist));
	ist->csx = __KERNEL_CS | UKL_CSX_GATE;
	ist->ip = start + UKL_FUNCTION_SLOT - 1;
	ist->sp = (unsigned long)(stack + ARRAY_SIZE(stack)) - 8;
	moved = *ukl_sync_regs(ist);
	local_irq_restore(flags);

	KUNIT_EXPECT_EQ(test, moved.ip, start + entry->tail);
	KUNIT_EXPECT_EQ(test, moved.csx, __KERNEL_CS);
}

/* A single-step trap makes it a call that saves TF, from either stack. */
static void test_function_singlestep(struct kunit *test)
{
	struct pt_regs regs = {
		.ip = (unsigned long)ukl_kernel_ukl_kunit_function,
		.sp = USER_SP, .flags = X86_EFLAGS_TF,
	};

	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_call_slow);
	KUNIT_EXPECT_EQ(test, regs.r10, (unsigned long)ukl_kunit_function);
	KUNIT_EXPECT_EQ(test, regs.sp, USER_SP);

	regs.ip = (unsigned long)ukl_kernel_ukl_kunit_function + 3;
	regs.sp = (unsigned long)&regs;
	regs.r11 = USER_SP - 8;
	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.sp, USER_SP - 8);

	/* The application's own traps are not there. */
	regs.ip = (unsigned long)ukl_kernel_ukl_kunit_function + 3;
	regs.flags = 0;
	KUNIT_EXPECT_FALSE(test, ukl_fast_singlestep(&regs));
}

static void test_fast_singlestep(struct kunit *test)
{
	struct pt_regs regs = { .ip = fast_entry(39) + 3, .sp = USER_SP, .flags = X86_EFLAGS_TF };

	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_syscall);
	KUNIT_EXPECT_EQ(test, regs.ax, 39);
	KUNIT_EXPECT_EQ(test, regs.sp, USER_SP);

	/* On the kernel stack, with the application's stack pointer in r11 */
	regs.ip = fast_entry(39) + 3;
	regs.sp = (unsigned long)&regs;
	regs.r11 = USER_SP - 8;
	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.sp, USER_SP - 8);

	/* A function call saves TF, and ignores all traps on its path. */
	regs.ip = fast_entry(UKL_FAST_FUNCTION) + 3;
	regs.sp = (unsigned long)&regs;
	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_call_slow);
	KUNIT_EXPECT_EQ(test, regs.sp, USER_SP - 8);
	regs.ip = (unsigned long)ukl_call_slow + 5;
	regs.sp = (unsigned long)&regs;
	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	regs.flags = 0;
	KUNIT_EXPECT_TRUE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_call_slow + 5);
	KUNIT_EXPECT_EQ(test, regs.sp, (unsigned long)&regs);

	/* A trap of the kernel */
	regs.ip = fast_entry(39);
	regs.flags = 0;
	KUNIT_EXPECT_FALSE(test, ukl_fast_singlestep(&regs));
	regs.flags = X86_EFLAGS_TF;
	regs.ip = (unsigned long)ukl_sync_regs;
	KUNIT_EXPECT_FALSE(test, ukl_fast_singlestep(&regs));
	KUNIT_EXPECT_EQ(test, regs.ip, (unsigned long)ukl_sync_regs);
}

/* Moves to task_pt_regs(), which a kernel thread does not use otherwise. */
static void test_sync_application(struct kunit *test)
{
	struct pt_regs regs, *moved;

	memset(&regs, 0x5a, sizeof(regs));
	regs.csx = __KERNEL_CS;
	regs.flags = X86_EFLAGS_FIXED;
	regs.ip = (unsigned long)ukl_syscall;
	regs.sp = USER_SP;
	moved = ukl_sync_regs(&regs);

	KUNIT_ASSERT_PTR_EQ(test, moved, task_pt_regs(current));
	KUNIT_EXPECT_EQ(test, moved->csx, __KERNEL_CS | UKL_CSX_APP);
	KUNIT_EXPECT_EQ(test, moved->flags, X86_EFLAGS_FIXED | X86_EFLAGS_IF);
	KUNIT_EXPECT_EQ(test, moved->ip, (unsigned long)ukl_syscall);
	KUNIT_EXPECT_EQ(test, moved->sp, USER_SP);
	KUNIT_EXPECT_EQ(test, moved->r15, 0x5a5a5a5a5a5a5a5aUL);
	KUNIT_EXPECT_EQ(test, moved->di, 0x5a5a5a5a5a5a5a5aUL);
	KUNIT_EXPECT_EQ(test, moved->orig_ax, 0x5a5a5a5a5a5a5a5aUL);
}

/* An interrupted return to the application counts as completed. */
static void test_undo_return(struct kunit *test)
{
	unsigned long start = hidden(ukl_return_by_ret), at;
	const struct pt_regs from = {
		.ip = (unsigned long)ukl_syscall,
		.sp = USER_SP - UKL_RET_OFFSET,
		.flags = X86_EFLAGS_FIXED | X86_EFLAGS_IF | X86_EFLAGS_CF,
	};

	KUNIT_ASSERT_LT(test, start, (unsigned long)ukl_return_by_ret_end);
	for (at = start; at < (unsigned long)ukl_return_by_ret_end; at++) {
		struct pt_regs regs = { .ip = at, .sp = USER_SP - UKL_RET_OFFSET, .ax = 4711 };

		ukl_undo_return(&regs, &from);
		KUNIT_EXPECT_EQ(test, regs.ip, from.ip);
		KUNIT_EXPECT_EQ(test, regs.sp, USER_SP);
		KUNIT_EXPECT_EQ(test, regs.flags, from.flags);
		KUNIT_EXPECT_EQ(test, regs.ax, 4711);
	}
	for (at = start - 1; at <= (unsigned long)ukl_return_by_ret_end;
	     at += (unsigned long)ukl_return_by_ret_end - start + 1) {
		struct pt_regs regs = { .ip = at, .sp = USER_SP };

		ukl_undo_return(&regs, &from);
		KUNIT_EXPECT_EQ(test, regs.ip, at);
		KUNIT_EXPECT_EQ(test, regs.sp, USER_SP);
		KUNIT_EXPECT_EQ(test, regs.flags, 0);
	}
}

/* A kernel frame moves below its stack pointer, with a gap of six words. */
static void test_sync_kernel(struct kunit *test)
{
	struct pt_regs on_ist, moved, *ist, *place;
	unsigned long stack[64];
	unsigned long flags;

	memset(&on_ist, 0xa5, sizeof(on_ist));
	on_ist.csx = __KERNEL_CS;
	on_ist.ip = fast_entry(39) + UKL_FAST_SLOT - 1;
	on_ist.sp = (unsigned long)(stack + ARRAY_SIZE(stack)) - 8;
	memset(&moved, 0, sizeof(moved));

	/* The UKL stack is not used while interrupts are off. */
	local_irq_save(flags);
	ist = (struct pt_regs *)__this_cpu_ist_bottom_va(UKL);
	*ist = on_ist;
	ist->csx |= UKL_CSX_GATE;
	place = ukl_sync_regs(ist);
	moved = *place;
	local_irq_restore(flags);

	KUNIT_ASSERT_PTR_EQ(test, place,
			    (struct pt_regs *)(ALIGN_DOWN(on_ist.sp, 16) - 6 * 8) - 1);
	/* The interrupted fast call checks its flags again. */
	KUNIT_EXPECT_EQ(test, moved.ip, fast_tail(39));
	KUNIT_EXPECT_FALSE(test, moved.flags & X86_EFLAGS_AC);
	moved.ip = on_ist.ip;
	moved.flags = on_ist.flags;
	KUNIT_EXPECT_MEMEQ(test, &moved, &on_ist, sizeof(moved));
}

/* --- marker files -------------------------------------------------------------- */

static void test_marker(struct kunit *test)
{
	const struct ukl_marker good = {
		.magic = UKL_MARKER_MAGIC,
		.version = UKL_MARKER_VERSION,
		.name = "server",
	};
	struct ukl_marker bad;

	BUILD_BUG_ON(sizeof(good) != 64);
	BUILD_BUG_ON(sizeof(struct ukl_marker_note) != 80);
	KUNIT_EXPECT_TRUE(test, ukl_marker_magic(&good));
	KUNIT_EXPECT_TRUE(test, ukl_marker_valid(&good, sizeof(good)));
	KUNIT_EXPECT_FALSE(test, ukl_marker_valid(&good, sizeof(good) - 1));
	KUNIT_EXPECT_FALSE(test, ukl_marker_valid(&good, sizeof(good) + 1));

	bad = good;
	bad.magic[0] = 'U';
	KUNIT_EXPECT_FALSE(test, ukl_marker_magic(&bad));
	KUNIT_EXPECT_FALSE(test, ukl_marker_valid(&bad, sizeof(bad)));
	bad = good;
	bad.version++;
	KUNIT_EXPECT_FALSE(test, ukl_marker_valid(&bad, sizeof(bad)));
	bad = good;
	memset(bad.name, 'x', sizeof(bad.name));
	KUNIT_EXPECT_FALSE(test, ukl_marker_valid(&bad, sizeof(bad)));
	bad.name[sizeof(bad.name) - 1] = '\0';
	KUNIT_EXPECT_TRUE(test, ukl_marker_valid(&bad, sizeof(bad)));
	bad = good;
	bad.flags = UKL_MARKER_RET;
	KUNIT_EXPECT_TRUE(test, ukl_marker_valid(&bad, sizeof(bad)));
	bad.flags = UKL_MARKER_FLAGS;
	KUNIT_EXPECT_TRUE(test, ukl_marker_valid(&bad, sizeof(bad)));
	bad.flags = UKL_MARKER_FLAGS + 1;
	KUNIT_EXPECT_FALSE(test, ukl_marker_valid(&bad, sizeof(bad)));
}

static void test_elf_marker(struct kunit *test)
{
	struct {
		struct elf64_hdr	header;
		struct ukl_marker_note	note;
	} good = {
		.header.e_ident = {
			[EI_MAG0] = ELFMAG0, [EI_MAG1] = ELFMAG1, [EI_MAG2] = ELFMAG2,
			[EI_MAG3] = ELFMAG3, [EI_CLASS] = ELFCLASS64,
		},
		.note = {
			.name_size = sizeof(UKL_NOTE_NAME),
			.size = sizeof(struct ukl_marker),
			.type = UKL_NOTE_MARKER,
			.name = UKL_NOTE_NAME,
		},
	}, bad;

	KUNIT_EXPECT_PTR_EQ(test, ukl_elf_marker((char *)&good), &good.note.marker);

	bad = good;
	bad.header.e_ident[EI_MAG0] = 0;
	KUNIT_EXPECT_NULL(test, ukl_elf_marker((char *)&bad));
	bad = good;
	bad.header.e_ident[EI_CLASS] = ELFCLASS32;
	KUNIT_EXPECT_NULL(test, ukl_elf_marker((char *)&bad));
	bad = good;
	bad.note.size++;
	KUNIT_EXPECT_NULL(test, ukl_elf_marker((char *)&bad));
	bad = good;
	bad.note.type++;
	KUNIT_EXPECT_NULL(test, ukl_elf_marker((char *)&bad));
	bad = good;
	bad.note.name[3] = 'x';
	KUNIT_EXPECT_NULL(test, ukl_elf_marker((char *)&bad));
}

/* --- interrupt descriptor tables ----------------------------------------------- */

/* Borrow an address space; get the IDT and MSR_LSTAR loaded with it. */
static const gate_desc *idt_with(struct mm_struct *mm, u64 *lstar)
{
	struct desc_ptr idt;

	kthread_use_mm(mm);
	store_idt(&idt);
	rdmsrq(MSR_LSTAR, *lstar);
	kthread_unuse_mm(mm);
	return (const gate_desc *)idt.address;
}

/* Like fix_processor_context() on resume, with that address space loaded */
static u64 lstar_after_resume(struct mm_struct *mm)
{
	u64 lstar;

	kthread_use_mm(mm);
	preempt_disable();
	syscall_init();
	rdmsrq(MSR_LSTAR, lstar);
	preempt_enable();
	kthread_unuse_mm(mm);
	return lstar;
}

/* Target of the jump in an entry of gate.S */
static unsigned long gate_target(unsigned long gate, unsigned int vector)
{
	const u8 *jump = (const u8 *)gate + ukl_gate_jump(vector);

	return jump[0] == JMP32_INSN_OPCODE ?
	       (unsigned long)jump + JMP32_INSN_SIZE + *(const s32 *)(jump + 1) : 0;
}

/* Each address space has the right IDT, with the same handlers. */
static void test_idt(struct kunit *test)
{
	const gate_desc *normal = (const gate_desc *)CPU_ENTRY_AREA_RO_IDT, *own;
	struct mm_struct *process = mm_alloc(), *application = mm_alloc();
	unsigned int i, gates = 0;
	u64 lstar, host;

	if (!process || !application) {
		KUNIT_FAIL(test, "no memory");
		goto put;
	}
	set_bit(MM_CONTEXT_UKL, &application->context.flags);

	KUNIT_EXPECT_PTR_EQ(test, idt_with(process, &lstar), normal);
	KUNIT_EXPECT_EQ(test, lstar, (unsigned long)entry_SYSCALL_64);
	own = idt_with(application, &lstar);
	KUNIT_EXPECT_PTR_NE(test, own, normal);
	KUNIT_EXPECT_NE(test, lstar, (unsigned long)entry_SYSCALL_64);
	KUNIT_EXPECT_EQ(test, lstar_after_resume(application), lstar);
	KUNIT_EXPECT_EQ(test, lstar_after_resume(process), (unsigned long)entry_SYSCALL_64);
	/* KVM must store the MSR_LSTAR of normal processes. */
	host = lstar;
	ukl_host_msr(MSR_LSTAR, &host);
	KUNIT_EXPECT_EQ(test, host, (unsigned long)entry_SYSCALL_64);
	host = lstar;
	ukl_host_msr(MSR_STAR, &host);
	KUNIT_EXPECT_EQ(test, host, lstar);
	KUNIT_EXPECT_PTR_EQ(test, idt_with(process, &lstar), normal);
	KUNIT_EXPECT_EQ(test, lstar, (unsigned long)entry_SYSCALL_64);

	/* The state loaded by the CPU counts, not that of the address space. */
	set_bit(MM_CONTEXT_UKL, &process->context.flags);
	KUNIT_EXPECT_PTR_EQ(test, idt_with(process, &lstar), own);
	KUNIT_EXPECT_PTR_EQ(test, idt_with(application, &lstar), own);

	for (i = 0; i < IDT_ENTRIES; i++) {
		unsigned long gate = (unsigned long)ukl_gates + i * UKL_GATE_SIZE;

		KUNIT_EXPECT_TRUE(test, own[i].bits.p && own[i].bits.ist);
		KUNIT_EXPECT_TRUE(test, own[i].bits.dpl == normal[i].bits.dpl);
		if (normal[i].bits.ist) {
			KUNIT_EXPECT_MEMEQ(test, &own[i], &normal[i], sizeof(own[i]));
			continue;
		}
		gates++;
		KUNIT_EXPECT_TRUE(test, own[i].bits.ist == IST_INDEX_UKL + 1);
		KUNIT_EXPECT_EQ(test, gate_offset(&own[i]), gate);
		KUNIT_EXPECT_EQ(test, gate_target(gate, i), gate_offset(&normal[i]));
	}
	KUNIT_EXPECT_GT(test, gates, NR_VECTORS - FIRST_EXTERNAL_VECTOR);
put:
	if (application)
		mmput(application);
	if (process)
		mmput(process);
}

/*
 * --- CPU-specific features
 * -----------------------------------------------------
 */

#ifdef CONFIG_CPU_SUP_INTEL
/* With AC set, #AC is a split lock in application mode, else a misalignment. */
static void test_split_lock(struct kunit *test)
{
	struct pt_regs regs = { .csx = __USER_CS };

	if (!handle_user_split_lock(&regs, 0))
		kunit_skip(test, "split lock detection is fatal or disabled");
	regs.flags = X86_EFLAGS_AC;
	KUNIT_EXPECT_FALSE(test, handle_user_split_lock(&regs, 0));
	regs.csx = __KERNEL_CS | UKL_CSX_APP;
	KUNIT_EXPECT_TRUE(test, handle_user_split_lock(&regs, 0));
}
#endif

/* --- indirect functions -------------------------------------------------------- */

static void test_own_rela(struct kunit *test)
{
	const unsigned long text = 0xffffffff81000000UL, text_end = text + 0x1000;
	struct elf64_rela rela[] = {
		{ .r_offset = 1, .r_addend = text - 1 },
		{ .r_offset = 2, .r_addend = text },
		{ .r_offset = 3, .r_addend = text_end },
		{ .r_offset = 4, .r_addend = text_end - 1 },
		{ .r_offset = 5, .r_addend = 0 },
	};
	static const u64 expected[] = { 4, 2, 4, 4, 4 };
	unsigned int i;

	ukl_own_rela(rela, rela + ARRAY_SIZE(rela), text, text_end);
	for (i = 0; i < ARRAY_SIZE(rela); i++)
		KUNIT_EXPECT_EQ(test, rela[i].r_offset, expected[i]);
	/* The application has no relocations: all are cleared. */
	ukl_own_rela(rela, rela + ARRAY_SIZE(rela), 0x1000, 0x2000);
	for (i = 0; i < ARRAY_SIZE(rela); i++) {
		KUNIT_EXPECT_EQ(test, rela[i].r_offset, 0);
		KUNIT_EXPECT_EQ(test, rela[i].r_info, 0);
		KUNIT_EXPECT_EQ(test, rela[i].r_addend, 0);
	}
	ukl_own_rela(rela, rela, text, text_end);
}

static struct kunit_case ukl_test_cases[] = {
	KUNIT_CASE(test_text),
	KUNIT_CASE(test_entry),
	KUNIT_CASE(test_fast_range),
	KUNIT_CASE(test_marks),
	KUNIT_CASE(test_mark_regs),
	KUNIT_CASE(test_valid_frame),
	KUNIT_CASE(test_from_application),
	KUNIT_CASE(test_fast_to_application),
	KUNIT_CASE(test_fast_restart_tail),
	KUNIT_CASE(test_fast_by_number),
	KUNIT_CASE(test_fast_function),
	KUNIT_CASE(test_fast_singlestep),
	KUNIT_CASE(test_function_entry),
	KUNIT_CASE(test_function_sync),
	KUNIT_CASE(test_function_singlestep),
	KUNIT_CASE(test_undo_return),
	KUNIT_CASE(test_sync_application),
	KUNIT_CASE(test_sync_kernel),
	KUNIT_CASE(test_marker),
	KUNIT_CASE(test_elf_marker),
	KUNIT_CASE(test_idt),
#ifdef CONFIG_CPU_SUP_INTEL
	KUNIT_CASE(test_split_lock),
#endif
	KUNIT_CASE(test_valid_ip),
	KUNIT_CASE(test_leave_stub),
	KUNIT_CASE(test_undo_call),
	KUNIT_CASE(test_wild_jump),
	KUNIT_CASE(test_own_rela),
	{}
};

static struct kunit_suite ukl_test_suite = {
	.name = "ukl",
	.test_cases = ukl_test_cases,
};

kunit_test_suite(ukl_test_suite);
