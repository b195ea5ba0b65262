/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _UKL_KERNEL_H
#define _UKL_KERNEL_H

/*
 * For the kernel code of an application: see Documentation/arch/x86/ukl.rst. All is
 * inline, so that a kernel without such code does not contain it.
 */
#include <linux/compiler.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

/**
 * UKL_EXPORT - define a function that the application can call
 * @declaration: type of the result, and name
 * @parameters: up to six parameters, integers and pointers, in parentheses
 *
 * The function runs like the implementation of a system call: on the task's kernel
 * stack, with interrupts enabled and SMAP active. It may sleep. A pending signal is
 * delivered after it has returned. An entry of arch/x86/ukl/function.S leads to it.
 */
#define UKL_EXPORT(declaration, parameters)	\
	declaration parameters;			\
	__visible noinline declaration parameters

/**
 * ukl_interrupted - give other tasks the CPU, and see whether a signal is pending
 *
 * A function that loops calls this each time, and returns if the result is true. The
 * signal is then delivered, or terminates the process.
 *
 * Context: process context, without locks that do not sleep.
 * Return: true if a signal is pending.
 */
static inline bool ukl_interrupted(void)
{
	cond_resched();
	return signal_pending(current);
}

/**
 * struct ukl_buffer - memory of a process that is pinned and mapped in the kernel
 * @data: where the kernel accesses it, without access_ok() and SMAP
 * @size: its size in bytes
 * @pages: its pages
 * @count: their number
 * @writable: whether the kernel may write it
 * @mm: the address space whose locked memory has grown by it
 */
struct ukl_buffer {
	void *data;
	size_t size;
	struct page **pages;
	unsigned int count;
	bool writable;
	struct mm_struct *mm;
};

/**
 * ukl_unpin - release a buffer of ukl_pin()
 * @buffer: the buffer
 */
static inline void ukl_unpin(struct ukl_buffer *buffer)
{
	vunmap((void *)((unsigned long)buffer->data & PAGE_MASK));
	unpin_user_pages_dirty_lock(buffer->pages, buffer->count, buffer->writable);
	account_locked_vm(buffer->mm, buffer->count, false);
	mmdrop(buffer->mm);
	kvfree(buffer->pages);
	kfree(buffer);
}

/**
 * ukl_pin - pin memory of the current process and map it in the kernel
 * @address: the memory
 * @size: its size in bytes
 * @writable: whether the kernel will write it
 *
 * Until ukl_unpin() the pages stay where they are, also after munmap(), and count as
 * locked memory of the process (RLIMIT_MEMLOCK). The child of a fork() gets copies. The
 * end of the process does not release them.
 *
 * Context: process context; may sleep.
 * Return: the buffer; -EINVAL if @size is 0; -ENOMEM, also if the process would have more
 * locked memory than allowed; -EFAULT if the memory cannot be accessed like this.
 */
static inline struct ukl_buffer *ukl_pin(void __user *address, size_t size, bool writable)
{
	unsigned long start = untagged_addr((unsigned long)address), offset = offset_in_page(start);
	unsigned int flags = FOLL_LONGTERM | (writable ? FOLL_WRITE : 0);
	struct ukl_buffer *buffer;
	long count, pinned = 0;
	int error = -ENOMEM;

	if (!size)
		return ERR_PTR(-EINVAL);
	if (!access_ok(address, size) || size > (size_t)INT_MAX << PAGE_SHIFT)
		return ERR_PTR(-EFAULT);
	count = PAGE_ALIGN(offset + size) >> PAGE_SHIFT;
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->pages = kvmalloc_array(count, sizeof(*buffer->pages), GFP_KERNEL_ACCOUNT);
	if (!buffer->pages)
		goto free;
	error = account_locked_vm(current->mm, count, true);
	if (error)
		goto free;
	while (pinned < count) {
		long got = pin_user_pages_fast((start & PAGE_MASK) + (pinned << PAGE_SHIFT),
					       count - pinned, flags, buffer->pages + pinned);

		error = got < 0 ? got : -EFAULT;
		if (got <= 0)
			goto unpin;
		pinned += got;
	}
	error = -ENOMEM;
	buffer->data = vmap(buffer->pages, count, VM_MAP, writable ? PAGE_KERNEL : PAGE_KERNEL_RO);
	if (!buffer->data)
		goto unpin;
	buffer->data += offset;
	buffer->size = size;
	buffer->count = count;
	buffer->writable = writable;
	buffer->mm = current->mm;
	mmgrab(buffer->mm);
	return buffer;
unpin:
	unpin_user_pages(buffer->pages, pinned);
	account_locked_vm(current->mm, count, false);
free:
	kvfree(buffer->pages);
	kfree(buffer);
	return ERR_PTR(error);
}

#endif /* _UKL_KERNEL_H */
