// SPDX-License-Identifier: GPL-2.0
/*
 * Brings the network up: loopback, and the one Ethernet device with the addresses
 * that QEMU's user-mode network always has.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init.h"

#define ETHERNET	"eth0"
#define ADDRESS		"10.0.2.15"
#define NETMASK		"255.255.255.0"
#define GATEWAY		"10.0.2.2"

static void set_address(struct sockaddr *where, const char *address)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &in.sin_addr);
	memcpy(where, &in, sizeof(in));
}

static int interface_up(int fd, const char *name)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFFLAGS, &request))
		return -errno;
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) ? -errno : 0;
}

static int interface_address(int fd, const char *name, unsigned long what, const char *address)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	set_address(&request.ifr_addr, address);
	return ioctl(fd, what, &request) ? -errno : 0;
}

static int default_route(int fd, const char *gateway)
{
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

	set_address(&route.rt_dst, "0.0.0.0");
	set_address(&route.rt_genmask, "0.0.0.0");
	set_address(&route.rt_gateway, gateway);
	return ioctl(fd, SIOCADDRT, &route) ? -errno : 0;
}

static int ethernet_up(int fd, const char **what)
{
	int error;

	*what = "address of " ETHERNET;
	error = interface_address(fd, ETHERNET, SIOCSIFADDR, ADDRESS);
	if (error)
		return error == -ENODEV ? 0 : error;	/* a machine without network */
	error = interface_address(fd, ETHERNET, SIOCSIFNETMASK, NETMASK);
	if (error)
		return error;
	*what = ETHERNET;
	error = interface_up(fd, ETHERNET);
	if (error)
		return error;
	*what = "default route";
	return default_route(fd, GATEWAY);
}

/* Returns 0 or a negative errno, with *@what then saying what failed. */
int net_up(const char **what)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error;

	*what = "socket";
	if (fd < 0)
		return errno == EAFNOSUPPORT || errno == ENOSYS ? 0 : -errno;
	*what = "lo";
	error = interface_up(fd, "lo");
	if (!error)
		error = ethernet_up(fd, what);
	close(fd);
	return error;
}
