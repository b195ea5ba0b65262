// SPDX-License-Identifier: GPL-2.0
/*
 * The cache's table, and the answers to GET, as kernel code
 *
 * A connection of the cache belongs to one of two: to this file, which reads requests from the
 * socket and answers each "get KEY", or to the program. It begins here. A request of another
 * kind hands it to the program, with what was read of that request; the program gives it back
 * when it has answered. Whoever owns a connection is told of new data: TCP calls data_ready(),
 * which starts answer() for the one, and wakes the program's epoll for the other.
 *
 * Table and connections are files, so that the end of the process releases them.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jhash.h>
#include <linux/net.h>
#include <linux/rculist.h>
#include <linux/skbuff.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <ukl/kernel.h>

#include "cache.h"

#define BUCKETS		(1 << 16)
/* All entries together [bytes] */
#define LIMIT		(64UL << 20)

struct entry {
	struct hlist_node node;
	struct rcu_head rcu;
	unsigned int flags, key_size, size;
	char data[];			/* the key, then the value */
};

struct cache {
	refcount_t users;		/* its file and its connections */
	spinlock_t lock;		/* for changes of the table */
	size_t size;
	atomic_long_t answered;
	struct hlist_head buckets[BUCKETS];
};

struct connection {
	struct cache *cache;
	struct socket *socket;
	struct work_struct work;
	void (*data_ready)(struct sock *sk);
	void (*write_space)(struct sock *sk);
	/* All below is protected by the socket's lock. */
	bool is_programs;
	bool is_wanted;			/* by the program, as soon as everything is sent */
	size_t start, end;		/* to send: output[start..end) */
	size_t got;			/* read and not answered: input[0..got) */
	char input[LINE_SIZE];
	char output[REPLY_SIZE];
};

/* --- the table --------------------------------------------------------------------------- */

static struct hlist_head *bucket_of(struct cache *cache, const char *key, unsigned int size)
{
	return &cache->buckets[jhash(key, size, 0) % BUCKETS];
}

/* With the lock, or as a reader of RCU */
static struct entry *find(struct hlist_head *bucket, const char *key, unsigned int size)
{
	struct entry *entry;

	hlist_for_each_entry_rcu(entry, bucket, node, true)
		if (entry->key_size == size && !memcmp(entry->data, key, size))
			return entry;
	return NULL;
}

/* Write the reply's part for a key; returns its size, 0 if there is no such key. */
static size_t reply_of(struct cache *cache, const char *key, unsigned int size, char *reply)
{
	struct entry *entry;
	size_t length = 0;

	rcu_read_lock();
	entry = find(bucket_of(cache, key, size), key, size);
	if (entry) {
		length = sprintf(reply, "VALUE %.*s %u %u\r\n", size, key, entry->flags,
				 entry->size);
		memcpy(reply + length, entry->data + size, entry->size);
		length += entry->size;
		memcpy(reply + length, "\r\n", 2);
		length += 2;
	}
	rcu_read_unlock();
	return length;
}

static void put_cache(struct cache *cache)
{
	struct hlist_node *next;
	struct entry *entry;

	if (!refcount_dec_and_test(&cache->users))
		return;
	for (int i = 0; i < BUCKETS; i++)
		hlist_for_each_entry_safe(entry, next, &cache->buckets[i], node)
			kfree(entry);
	kvfree(cache);
}

static int release_cache(struct inode *inode, struct file *file)
{
	put_cache(file->private_data);
	return 0;
}

static const struct file_operations cache_file = {
	.release = release_cache,
};

/* Returns the file of one of ours, for fput(), or NULL. */
static struct file *file_of(int fd, const struct file_operations *kind)
{
	struct file *file = fget(fd);

	if (file && file->f_op != kind) {
		fput(file);
		return NULL;
	}
	return file;
}

/* Make a cache; returns its descriptor. */
UKL_EXPORT(long cache_open, (void))
{
	struct cache *cache = kvzalloc(sizeof(*cache), GFP_KERNEL_ACCOUNT);
	int fd;

	if (!cache)
		return -ENOMEM;
	refcount_set(&cache->users, 1);
	spin_lock_init(&cache->lock);
	fd = anon_inode_getfd("[cache]", &cache_file, cache, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		kvfree(cache);
	return fd;
}

/* Store a value; returns 0, or -ENOMEM if the cache is full. */
UKL_EXPORT(long cache_set, (int fd, const char __user *key, unsigned int key_size,
			    const char __user *value, unsigned int size, unsigned int flags))
{
	struct file *file = file_of(fd, &cache_file);
	struct hlist_head *bucket;
	struct entry *entry, *old;
	struct cache *cache;
	long error = -EINVAL;
	size_t freed = 0;

	if (!file)
		return -EBADF;
	cache = file->private_data;
	if (key_size > KEY_SIZE || size > VALUE_SIZE)
		goto put;
	error = -ENOMEM;
	entry = kmalloc(struct_size(entry, data, key_size + size), GFP_KERNEL_ACCOUNT);
	if (!entry)
		goto put;
	entry->flags = flags;
	entry->key_size = key_size;
	entry->size = size;
	error = -EFAULT;
	if (copy_from_user(entry->data, key, key_size) ||
	    copy_from_user(entry->data + key_size, value, size))
		goto free;

	bucket = bucket_of(cache, entry->data, key_size);
	spin_lock(&cache->lock);
	old = find(bucket, entry->data, key_size);
	if (old)
		freed = struct_size(old, data, old->key_size + old->size);
	error = -ENOMEM;
	if (cache->size - freed + struct_size(entry, data, key_size + size) <= LIMIT) {
		cache->size += struct_size(entry, data, key_size + size) - freed;
		if (old)
			hlist_replace_rcu(&old->node, &entry->node);
		else
			hlist_add_head_rcu(&entry->node, bucket);
		error = 0;
	}
	spin_unlock(&cache->lock);
	if (!error && old)
		kfree_rcu(old, rcu);
free:
	if (error)
		kfree(entry);
put:
	fput(file);
	return error;
}

/* Write the reply's part for a key to @reply; returns its size, 0 if there is no such key. */
UKL_EXPORT(long cache_get, (int fd, const char __user *key, unsigned int key_size,
			    char __user *reply))
{
	struct file *file = file_of(fd, &cache_file);
	char name[KEY_SIZE], *text;
	long length = -EINVAL;

	if (!file)
		return -EBADF;
	text = kmalloc(REPLY_SIZE, GFP_KERNEL);
	if (!text)
		length = -ENOMEM;
	else if (key_size <= KEY_SIZE)
		length = copy_from_user(name, key, key_size) ? -EFAULT :
			 reply_of(file->private_data, name, key_size, text);
	if (length > 0 && copy_to_user(reply, text, length))
		length = -EFAULT;
	kfree(text);
	fput(file);
	return length;
}

/* Returns how many requests were answered by this file. */
UKL_EXPORT(long cache_answered, (int fd))
{
	struct file *file = file_of(fd, &cache_file);
	long number = -EBADF;

	if (file) {
		number = atomic_long_read(&((struct cache *)file->private_data)->answered);
		fput(file);
	}
	return number;
}

/* --- connections ------------------------------------------------------------------------- */

/* Callbacks of TCP, with the socket locked, often in softirq context */
static void data_ready(struct sock *sk)
{
	struct connection *connection = sk->sk_user_data;

	if (connection->is_programs)
		connection->data_ready(sk);
	else
		queue_work(system_highpri_wq, &connection->work);
}

static void write_space(struct sock *sk)
{
	struct connection *connection = sk->sk_user_data;

	connection->write_space(sk);
	if (connection->start < connection->end)
		queue_work(system_highpri_wq, &connection->work);
}

static void hand_over(struct connection *connection)
{
	connection->is_programs = true;
	connection->is_wanted = false;
	connection->data_ready(connection->socket->sk);
}

/* Copy received data into the connection's input, as much as fits. */
static int take(read_descriptor_t *wanted, struct sk_buff *skb, unsigned int offset, size_t size)
{
	struct connection *connection = wanted->arg.data;

	size = min(size, LINE_SIZE - connection->got);
	if (skb_copy_bits(skb, offset, connection->input + connection->got, size))
		return -EFAULT;
	connection->got += size;
	return size;
}

/* Send what is to be sent; false if some of it is left. */
static bool send_all(struct connection *connection)
{
	while (connection->start < connection->end) {
		struct kvec data = {
			.iov_base = connection->output + connection->start,
			.iov_len = connection->end - connection->start,
		};
		struct msghdr message = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
		int sent;

		iov_iter_kvec(&message.msg_iter, ITER_SOURCE, &data, 1, data.iov_len);
		sent = tcp_sendmsg_locked(connection->socket->sk, &message, data.iov_len);
		if (sent == -EAGAIN)
			return false;
		/* A broken connection: reading will tell. */
		connection->start = sent < 0 ? connection->end : connection->start + sent;
	}
	connection->start = 0;
	connection->end = 0;
	return true;
}

/*
 * Write the answer to the first request that was read. Returns 1 if that was done, 0 if it has
 * not arrived completely, -1 if it is not a GET of one key.
 */
static int answer_one(struct connection *connection)
{
	char *input = connection->input, *key = input + 4, *line;
	size_t got = connection->got, size, length;

	if (memcmp(input, "get ", min_t(size_t, got, 4)))
		return -1;
	line = memchr(input, '\n', got);
	if (!line)
		return got < LINE_SIZE ? 0 : -1;
	size = line - key;
	if (size && key[size - 1] == '\r')
		size--;
	if (line < key || !size || size > KEY_SIZE)
		return -1;
	if (memchr(key, ' ', size) || memchr(key, '\0', size))
		return -1;
	length = reply_of(connection->cache, key, size, connection->output);
	memcpy(connection->output + length, "END\r\n", 5);
	connection->end = length + 5;
	atomic_long_inc(&connection->cache->answered);
	connection->got -= line + 1 - input;
	memmove(input, line + 1, connection->got);
	return 1;
}

static void answer(struct work_struct *work)
{
	struct connection *connection = container_of(work, struct connection, work);
	struct sock *sk = connection->socket->sk;
	read_descriptor_t wanted = { .arg.data = connection, .count = 1 };

	lock_sock(sk);
	/* What does not fit is sent by the next call, from write_space(). */
	while (send_all(connection) && !connection->is_programs) {
		int done = connection->got ? answer_one(connection) : 0;

		if (done < 0 || connection->is_wanted) {
			hand_over(connection);
		} else if (!done && tcp_read_sock(sk, &wanted, take) <= 0) {
			if (sk->sk_shutdown & RCV_SHUTDOWN)
				hand_over(connection);
			break;
		}
	}
	release_sock(sk);
}

static void detach(struct connection *connection)
{
	struct sock *sk = connection->socket->sk;

	lock_sock(sk);
	sk->sk_user_data = NULL;
	sk->sk_data_ready = connection->data_ready;
	sk->sk_write_space = connection->write_space;
	connection->is_programs = true;
	release_sock(sk);
	/* Nothing starts it any more, and it takes the lock. */
	cancel_work_sync(&connection->work);
	sockfd_put(connection->socket);
	put_cache(connection->cache);
	kfree(connection);
}

static int release_connection(struct inode *inode, struct file *file)
{
	detach(file->private_data);
	return 0;
}

static const struct file_operations connection_file = {
	.release = release_connection,
};

/* Answer what comes from a connection of TCP until the descriptor that is returned is closed. */
UKL_EXPORT(long cache_attach, (int fd, int socket))
{
	struct file *file = file_of(fd, &cache_file);
	struct connection *connection;
	struct sock *sk;
	int error = -ENOMEM;

	if (!file)
		return -EBADF;
	connection = kzalloc(sizeof(*connection), GFP_KERNEL_ACCOUNT);
	if (!connection)
		goto put;
	connection->cache = file->private_data;
	INIT_WORK(&connection->work, answer);
	connection->socket = sockfd_lookup(socket, &error);
	if (!connection->socket)
		goto free;
	sk = connection->socket->sk;
	error = -EINVAL;
	if (!sk_is_tcp(sk) || sk->sk_state == TCP_LISTEN)
		goto put_socket;

	error = -EBUSY;
	lock_sock(sk);
	if (!sk->sk_user_data) {
		connection->data_ready = sk->sk_data_ready;
		connection->write_space = sk->sk_write_space;
		sk->sk_user_data = connection;
		sk->sk_data_ready = data_ready;
		sk->sk_write_space = write_space;
		error = 0;
	}
	release_sock(sk);
	if (error)
		goto put_socket;
	refcount_inc(&connection->cache->users);
	fput(file);
	error = anon_inode_getfd("[connection]", &connection_file, connection,
				 O_RDWR | O_CLOEXEC);
	if (error < 0)
		detach(connection);
	else	/* Something may have come before. */
		queue_work(system_highpri_wq, &connection->work);
	return error;

put_socket:
	sockfd_put(connection->socket);
free:
	kfree(connection);
put:
	fput(file);
	return error;
}

/*
 * Make the program the owner of a connection. Writes what was read of its next request to @input,
 * which has LINE_SIZE bytes, and returns the size of that. Returns -EAGAIN if an answer is not sent
 * yet; the connection is handed over then as soon as it is.
 */
UKL_EXPORT(long cache_take, (int fd, char __user *input))
{
	struct file *file = file_of(fd, &connection_file);
	struct connection *connection;
	char data[LINE_SIZE];
	long got = -EAGAIN;
	struct sock *sk;

	if (!file)
		return -EBADF;
	connection = file->private_data;
	sk = connection->socket->sk;
	lock_sock(sk);
	if (connection->is_programs || send_all(connection)) {
		connection->is_programs = true;
		got = connection->got;
		memcpy(data, connection->input, got);
		connection->got = 0;
	} else {
		connection->is_wanted = true;
	}
	release_sock(sk);
	fput(file);
	if (got > 0 && copy_to_user(input, data, got))
		return -EFAULT;
	return got;
}

/* Give a connection back, at the beginning of a request. */
UKL_EXPORT(long cache_give, (int fd))
{
	struct file *file = file_of(fd, &connection_file);
	struct connection *connection;

	if (!file)
		return -EBADF;
	connection = file->private_data;
	lock_sock(connection->socket->sk);
	connection->is_programs = false;
	release_sock(connection->socket->sk);
	queue_work(system_highpri_wq, &connection->work);
	fput(file);
	return 0;
}
