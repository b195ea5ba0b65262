// SPDX-License-Identifier: 0BSD
/*
 * Kernel code: it is compiled and linked as part of the kernel, and calls the kernel's functions.
 * Return a negative error number on failure, copy the program's data by copy_from_user() and
 * copy_to_user(), and end a loop when ukl_interrupted() says so.
 */

#include <linux/file.h>
#include <linux/net.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <ukl/kernel.h>

#define BODY	"Hello from @NAME@.\n"

/* Receive a request from the connection with this descriptor, and answer it. */
UKL_EXPORT(long answer, (int connection))
{
	char request[512], reply[256];	/* the rest of the request is not looked at */
	struct kvec in = { .iov_base = request, .iov_len = sizeof(request) };
	struct kvec out = { .iov_base = reply };
	struct msghdr message = { };
	struct socket *socket;
	int result;

	socket = sockfd_lookup(connection, &result);
	if (!socket)
		return result;
	result = kernel_recvmsg(socket, &message, &in, 1, sizeof(request), 0);
	if (result > 0) {
		out.iov_len = scnprintf(reply, sizeof(reply),
					"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
					"Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
					strlen(BODY), BODY);
		memset(&message, 0, sizeof(message));
		result = kernel_sendmsg(socket, &message, &out, 1, out.iov_len);
	}
	sockfd_put(socket);
	return result;
}
