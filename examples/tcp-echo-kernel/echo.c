// SPDX-License-Identifier: GPL-2.0
/*
 * The event loop of the echo server, as kernel code
 *
 * Connections have no file descriptors. TCP calls ready() when something has happened to one,
 * which puts it into a list and wakes the loop. The loop takes the received data out of the
 * socket and sends it back, by the functions of TCP, under one lock of the socket.
 *
 * Each client has a buffer of data that it has sent and not yet received back. While that is
 * not empty, the loop does not read from this client, so a client that does not read blocks
 * only itself.
 */
#include <linux/file.h>
#include <linux/llist.h>
#include <linux/net.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <ukl/kernel.h>

#define BUFFER_SIZE	(16 * 1024)
#define ACCEPTED_AT_ONCE 64
/* Retry interval while out of memory [jiffies] */
#define RETRY		(HZ / 5)

struct loop;

/* A client, or the listening socket */
struct client {
	struct loop *loop;
	struct socket *socket;
	struct llist_node node;		/* in loop->ready if queued is 1 */
	unsigned long queued;
	struct list_head list;
	size_t start, end;		/* data to send: buffer[start..end) */
	char buffer[];
};

struct loop {
	struct task_struct *task;
	struct llist_head ready;
	struct list_head clients;
	struct client *listener;
};

static void enqueue(struct client *client)
{
	if (!test_and_set_bit(0, &client->queued) &&
	    llist_add(&client->node, &client->loop->ready))
		wake_up_process(client->loop->task);
}

/*
 * Callbacks of TCP, with the socket locked, often in softirq context. A connection that is
 * not accepted yet has those of the listening socket.
 */
static void knock(struct sock *sk)
{
	if (sk->sk_state == TCP_LISTEN && sk->sk_user_data)
		enqueue(sk->sk_user_data);
}

static void ready(struct sock *sk)
{
	if (sk->sk_user_data)
		enqueue(sk->sk_user_data);
}

static void writable(struct sock *sk)
{
	if (sk->sk_socket && sk_stream_is_writeable(sk)) {
		clear_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		ready(sk);
	}
}

/* Copy received data into the client's buffer, as much as fits. */
static int take(read_descriptor_t *wanted, struct sk_buff *skb, unsigned int offset, size_t size)
{
	struct client *client = wanted->arg.data;

	size = min(size, BUFFER_SIZE - client->end);
	if (skb_copy_bits(skb, offset, client->buffer + client->end, size))
		return -EFAULT;
	client->end += size;
	return size;
}

/* Send as much as the socket takes; false if the connection is broken. */
static bool send_back(struct client *client, struct sock *sk)
{
	while (client->start < client->end) {
		struct kvec data = {
			.iov_base = client->buffer + client->start,
			.iov_len = client->end - client->start,
		};
		struct msghdr message = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
		int sent;

		iov_iter_kvec(&message.msg_iter, ITER_SOURCE, &data, 1, data.iov_len);
		sent = tcp_sendmsg_locked(sk, &message, data.iov_len);
		if (sent < 0)
			return sent == -EAGAIN;
		client->start += sent;
	}
	client->start = 0;
	client->end = 0;
	return true;
}

/* Send back what has come; false at the end of the connection. */
static bool serve(struct client *client)
{
	struct sock *sk = client->socket->sk;
	read_descriptor_t wanted = { .arg.data = client, .count = 1 };
	bool open;
	int got;

	lock_sock(sk);
	for (;;) {
		open = send_back(client, sk);
		/* A client that does not read: writable() goes on. */
		if (!open || client->end)
			break;
		got = tcp_read_sock(sk, &wanted, take);
		open = got > 0 || (!got && !(sk->sk_shutdown & RCV_SHUTDOWN));
		if (got <= 0)
			break;
		/* Less than fits: there is no more now, unless its end has come, too. */
		if (got < BUFFER_SIZE && !(sk->sk_shutdown & RCV_SHUTDOWN)) {
			open = send_back(client, sk);
			break;
		}
	}
	release_sock(sk);
	return open;
}

static void drop(struct client *client)
{
	struct sock *sk = client->socket->sk;

	/* No callback runs while we own the lock, nor afterwards. */
	lock_sock(sk);
	sk->sk_user_data = NULL;
	release_sock(sk);
	sock_release(client->socket);
	list_del(&client->list);
	client->socket = NULL;
	/* If it is in the list again, it is freed when it is found there. */
	if (!test_bit(0, &client->queued))
		kvfree(client);
}

static struct client *make_client(struct loop *loop, struct socket *socket, size_t buffer)
{
	struct client *client = kvmalloc(struct_size(client, buffer, buffer), GFP_KERNEL_ACCOUNT);

	if (!client)
		return NULL;
	memset(client, 0, sizeof(*client));
	client->loop = loop;
	client->socket = socket;
	INIT_LIST_HEAD(&client->list);
	return client;
}

static int add_client(struct loop *loop, struct socket *socket)
{
	struct client *client = make_client(loop, socket, BUFFER_SIZE);
	struct sock *sk = socket->sk;

	if (!client) {
		sock_release(socket);
		return -ENOMEM;
	}
	list_add(&client->list, &loop->clients);
	tcp_sock_set_nodelay(sk);
	lock_sock(sk);
	sk->sk_user_data = client;
	sk->sk_data_ready = ready;
	sk->sk_state_change = ready;
	sk->sk_write_space = writable;
	release_sock(sk);
	/* Something may have come before. */
	enqueue(client);
	return 0;
}

/* Returns 0, or an error if connections may be waiting that cannot be accepted now. */
static int accept_clients(struct loop *loop)
{
	struct socket *socket;
	int error = 0;

	for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
		error = kernel_accept(loop->listener->socket, &socket, O_NONBLOCK);
		if (error == -EAGAIN)
			return 0;
		if (!error)
			error = add_client(loop, socket);
		if (error)
			return error;
	}
	enqueue(loop->listener);
	return 0;
}

static void sleep_until_ready(struct loop *loop, bool retry)
{
	set_current_state(TASK_INTERRUPTIBLE);
	if (llist_empty(&loop->ready) && !signal_pending(current)) {
		if (retry)
			schedule_timeout(RETRY);
		else
			schedule();
	}
	__set_current_state(TASK_RUNNING);
	if (retry)
		enqueue(loop->listener);
}

static void run(struct loop *loop)
{
	bool retry = false;

	while (!ukl_interrupted()) {
		struct llist_node *batch = llist_reverse_order(llist_del_all(&loop->ready));
		struct client *client, *next;

		if (!batch) {
			sleep_until_ready(loop, retry);
			retry = false;
			continue;
		}
		llist_for_each_entry_safe(client, next, batch, node) {
			clear_bit(0, &client->queued);
			/* What happens from here on puts it into the list again. */
			smp_mb__after_atomic();
			if (client == loop->listener)
				retry = accept_clients(loop) != 0;
			else if (!client->socket)
				kvfree(client);
			else if (!serve(client))
				drop(client);
		}
	}
}

/* Echo what the clients of a listening socket send, until a signal arrives. */
UKL_EXPORT(long echo_serve, (int fd))
{
	struct loop loop = { .task = current };
	struct client *client, *next;
	void (*before)(struct sock *sk);
	struct socket *listener;
	struct llist_node *left;
	int error;

	listener = sockfd_lookup(fd, &error);
	if (!listener)
		return error;
	error = -EINVAL;
	if (!sk_is_tcp(listener->sk) || listener->sk->sk_state != TCP_LISTEN)
		goto put;
	INIT_LIST_HEAD(&loop.clients);
	error = -ENOMEM;
	loop.listener = make_client(&loop, listener, 0);
	if (!loop.listener)
		goto put;

	lock_sock(listener->sk);
	before = listener->sk->sk_data_ready;
	listener->sk->sk_user_data = loop.listener;
	listener->sk->sk_data_ready = knock;
	release_sock(listener->sk);
	enqueue(loop.listener);

	run(&loop);

	lock_sock(listener->sk);
	listener->sk->sk_data_ready = before;
	listener->sk->sk_user_data = NULL;
	release_sock(listener->sk);
	list_for_each_entry_safe(client, next, &loop.clients, list)
		drop(client);
	left = llist_del_all(&loop.ready);
	llist_for_each_entry_safe(client, next, left, node)
		if (client != loop.listener)
			kvfree(client);
	kvfree(loop.listener);
	error = -EINTR;
put:
	sockfd_put(listener);
	return error;
}
