// SPDX-License-Identifier: GPL-2.0
/*
 * syscalls_kernel - kernel code of syscalls.c: functions that are called instead of system
 * calls, on a TCP socket whose address the caller has looked up before
 */
#include <linux/file.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <ukl/kernel.h>

UKL_EXPORT(long side_empty, (void))
{
	return 0;
}

/* Return the socket, which stays open, or null. */
UKL_EXPORT(struct sock *side_socket, (int fd))
{
	struct file *file = fget(fd);
	struct socket *socket = file ? sock_from_file(file) : NULL;

	return socket && sk_is_tcp(socket->sk) ? socket->sk : NULL;
}

UKL_EXPORT(void side_release, (struct sock *sk))
{
	fput(sk->sk_socket->file);
}

UKL_EXPORT(long side_send, (struct sock *sk, const char __user *data))
{
	struct msghdr message = { };
	struct kvec vector;
	char byte;
	long sent;

	if (get_user(byte, data))
		return -EFAULT;
	vector.iov_base = &byte;
	vector.iov_len = 1;
	iov_iter_kvec(&message.msg_iter, ITER_SOURCE, &vector, 1, 1);
	lock_sock(sk);
	sent = tcp_sendmsg_locked(sk, &message, 1);
	release_sock(sk);
	return sent;
}

static int take(read_descriptor_t *wanted, struct sk_buff *skb, unsigned int offset, size_t size)
{
	size = min(size, wanted->count);
	skb_copy_bits(skb, offset, wanted->arg.buf, size);
	wanted->count -= size;
	return size;
}

/* Receive a byte that has arrived. */
UKL_EXPORT(long side_receive, (struct sock *sk, char __user *data))
{
	char byte;
	read_descriptor_t wanted = { .arg.buf = &byte, .count = 1 };
	long got;

	lock_sock(sk);
	got = tcp_read_sock(sk, &wanted, take);
	release_sock(sk);
	if (got == 1 && put_user(byte, data))
		return -EFAULT;
	return got ?: -EAGAIN;
}
