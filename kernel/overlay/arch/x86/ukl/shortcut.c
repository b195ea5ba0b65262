// SPDX-License-Identifier: GPL-2.0
/*
 * Functions for applications to call, by ukl_call(): what an application may count
 * on from one kernel to the next, unlike on all the others.
 */
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/security.h>
#include <linux/socket.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <net/busy_poll.h>
#include <net/rps.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <uapi/linux/sched/types.h>
#include <asm/msr.h>
#include <asm/pgtable_types.h>

#include "shortcut.h"

/* What a system call that is not done again returns. */
static long interrupted(long error)
{
	return error == -ERESTARTSYS ? -EINTR : error;
}

/**
 * ukl_socket_open - hold a TCP socket for calls that need no descriptor
 * @fd: descriptor of the socket
 * @socket: where the handle is written
 *
 * Return: 0; -EBADF, -ENOTSOCK, -EOPNOTSUPP for a socket that is not TCP's, -EFAULT.
 */
long ukl_socket_open(int fd, unsigned long __user *socket)
{
	struct file *file = fget(fd);
	struct socket *sock;
	long error = -EBADF;

	if (!file)
		return error;
	error = -ENOTSOCK;
	sock = sock_from_file(file);
	if (!sock)
		goto out;
	error = -EOPNOTSUPP;
	if (!sk_is_tcp(sock->sk))
		goto out;
	error = -EFAULT;
	if (put_user((unsigned long)file, socket))
		goto out;
	return 0;
out:
	fput(file);
	return error;
}

/**
 * ukl_socket_close - give a handle of ukl_socket_open() back
 * @file: the handle
 */
void ukl_socket_close(struct file *file)
{
	fput(file);
}

static unsigned int message_flags(const struct file *file, unsigned int flags)
{
	return file->f_flags & O_NONBLOCK ? flags | MSG_DONTWAIT : flags;
}

/**
 * ukl_socket_send - send on a connected TCP socket, as send(2)
 * @file: handle of ukl_socket_open()
 * @data: what to send
 * @size: its bytes
 * @flags: MSG_* of send(2)
 *
 * Return: the number of bytes that were taken, or an error as of send(2).
 */
long ukl_socket_send(struct file *file, const void __user *data, size_t size,
		     unsigned int flags)
{
	struct socket *sock = file->private_data;
	struct msghdr msg = {
		.msg_flags = message_flags(file, flags & ~MSG_INTERNAL_SENDMSG_FLAGS),
	};
	long error;

	error = import_ubuf(ITER_SOURCE, (void __user *)data, size, &msg.msg_iter);
	if (!error)
		error = security_socket_sendmsg(sock, &msg, msg_data_left(&msg));
	if (!error)
		error = sock->sk->sk_prot->sendmsg(sock->sk, &msg, msg_data_left(&msg));
	return interrupted(error);
}

/**
 * ukl_socket_recv - receive from a connected TCP socket, as recv(2)
 * @file: handle of ukl_socket_open()
 * @data: where it is written
 * @size: its bytes
 * @flags: MSG_* of recv(2)
 *
 * Return: the number of bytes, 0 at the end, or an error as of recv(2).
 */
long ukl_socket_recv(struct file *file, void __user *data, size_t size, unsigned int flags)
{
	struct socket *sock = file->private_data;
	struct msghdr msg = { };
	long error;

	flags = message_flags(file, flags & ~MSG_CMSG_CLOEXEC);
	error = import_ubuf(ITER_DEST, data, size, &msg.msg_iter);
	if (!error)
		error = security_socket_recvmsg(sock, &msg, msg_data_left(&msg), flags);
	if (!error)
		error = READ_ONCE(sock->ops)->recvmsg(sock, &msg, msg_data_left(&msg), flags);
	return interrupted(error);
}

/**
 * ukl_socket_poll - take what the network device has for a socket
 * @file: handle of ukl_socket_open()
 *
 * Runs the poll function of the device's queue that the socket's packets came by
 * (napi_busy_loop()), once, in place of the interrupt that it would raise.
 *
 * Return: 1 if there is something to receive, else 0.
 */
long ukl_socket_poll(struct file *file)
{
	struct sock *sk = ((struct socket *)file->private_data)->sk;

	if (skb_queue_empty_lockless(&sk->sk_receive_queue))
		sk_busy_loop(sk, 1);
	return !skb_queue_empty_lockless(&sk->sk_receive_queue);
}

/**
 * ukl_page_entry - look an address up in the page tables of the process
 * @address: any, also of the kernel half
 * @entry: where the entry is written
 *
 * The tables belong to the kernel: what the entry says can be another thing at once,
 * unless the memory is locked.
 *
 * Return: bytes of the page that the entry maps; 0 if there is none; -EFAULT.
 */
long ukl_page_entry(unsigned long address, unsigned long __user *entry)
{
	struct mm_struct *mm = current->mm;
	unsigned long value = 0;
	unsigned int level;
	pte_t *pte;

	mmap_read_lock(mm);
	pte = lookup_address_in_pgd(pgd_offset(mm, address), address, &level);
	if (pte)
		value = pte_val(ptep_get(pte));
	mmap_read_unlock(mm);

	if (put_user(value, entry))
		return -EFAULT;
	return value & _PAGE_PRESENT ? page_level_size(level) : 0;
}

/**
 * ukl_rdmsr - read a model-specific register
 * @msr: its number
 * @value: where the value is written
 *
 * Return: 0; -EIO if the processor has none of that number; -EFAULT.
 */
long ukl_rdmsr(unsigned int msr, unsigned long __user *value)
{
	u64 read;

	if (rdmsrq_safe(msr, &read))
		return -EIO;
	return put_user(read, value);
}

/**
 * ukl_wrmsr - write a model-specific register of this CPU
 * @msr: its number
 * @value: what is written
 *
 * Return: 0; -EIO if the processor refuses.
 */
long ukl_wrmsr(unsigned int msr, unsigned long value)
{
	return wrmsrq_safe(msr, value) ? -EIO : 0;
}

/**
 * ukl_run_to_completion - let no other thread run on this CPU until it is ended
 * @on: 1 to begin, 0 to end
 *
 * Interrupts and what they ask for (timers, packets) are still served; threads are
 * not, but for those of the stop class, and the share of time that the scheduler
 * keeps for normal threads (sched_rt_runtime_us, the fair server). It is the
 * scheduling class SCHED_FIFO with the highest priority; the end makes the thread a
 * normal one again, with the nice value that it had.
 *
 * Return: 0.
 */
long ukl_run_to_completion(int on)
{
	struct sched_attr attr = {
		.sched_policy = on ? SCHED_FIFO : SCHED_NORMAL,
		.sched_priority = on ? MAX_RT_PRIO - 1 : 0,
		.sched_nice = task_nice(current),
	};

	return sched_setattr_nocheck(current, &attr);
}
