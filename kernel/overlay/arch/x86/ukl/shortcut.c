// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that applications can call with ukl_call(). Unlike other kernel
 * functions they are kept stable across kernel versions.
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

/* Error code of a system call that is not restarted */
static long interrupted(long error)
{
	return error == -ERESTARTSYS ? -EINTR : error;
}

/**
 * ukl_socket_open - get a handle of a TCP socket for the functions below
 * @fd: file descriptor of the socket
 * @socket: where the handle is stored
 *
 * Return: 0; -EBADF; -ENOTSOCK; -EOPNOTSUPP if it is not a TCP socket; -EFAULT.
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
 * ukl_socket_close - release a handle of ukl_socket_open()
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
 * ukl_socket_send - send on a connected TCP socket, like send(2)
 * @file: handle of ukl_socket_open()
 * @data: data to send
 * @size: size in bytes
 * @flags: MSG_* of send(2)
 *
 * Return: the number of bytes sent, or an error of send(2).
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
 * ukl_socket_recv - receive from a connected TCP socket, like recv(2)
 * @file: handle of ukl_socket_open()
 * @data: destination buffer
 * @size: size in bytes
 * @flags: MSG_* of recv(2)
 *
 * Return: the number of bytes received, 0 at end of file, or an error of
 * recv(2).
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
 * ukl_socket_poll - poll the network device for packets of a socket
 * @file: handle of ukl_socket_open()
 *
 * Run the poll function of the device queue that delivered the socket's packets
 * once, as napi_busy_loop() does, instead of waiting for its interrupt.
 *
 * Return: 1 if there is data to receive, otherwise 0.
 */
long ukl_socket_poll(struct file *file)
{
	struct sock *sk = ((struct socket *)file->private_data)->sk;

	if (skb_queue_empty_lockless(&sk->sk_receive_queue))
		sk_busy_loop(sk, 1);
	return !skb_queue_empty_lockless(&sk->sk_receive_queue);
}

/**
 * ukl_page_entry - read the page table entry of an address in this process
 * @address: any address, including the kernel half
 * @entry: where the entry is stored
 *
 * The kernel may change the entry at any time, unless the memory is locked.
 *
 * Return: the size in bytes of the page that the entry maps; 0 if there is
 * none; -EFAULT.
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
 * @msr: number of the register
 * @value: where the value is stored
 *
 * Return: 0; -EIO if the CPU does not have the register; -EFAULT.
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
 * @msr: number of the register
 * @value: value to write
 *
 * Return: 0; -EIO if the CPU refuses the write.
 */
long ukl_wrmsr(unsigned int msr, unsigned long value)
{
	return wrmsrq_safe(msr, value) ? -EIO : 0;
}

/**
 * ukl_run_to_completion - start or stop exclusive use of this CPU
 * @on: 1 to start, 0 to stop
 *
 * Interrupts and softirqs (timers, packets) are still handled. Other threads do
 * not run, except those of the stop class and normal threads in the time that
 * the scheduler reserves for them (sched_rt_runtime_us, the fair server). This
 * sets SCHED_FIFO with the highest priority. Stopping sets SCHED_NORMAL with
 * the previous nice value.
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
