// SPDX-License-Identifier: GPL-2.0
/*
 * Brings the network up: loopback, the first Ethernet device with the fixed addresses of
 * QEMU's user-mode network, and the second one, if there is one, with the address from the
 * run description or from a DHCP server. In an image that is not run by ukl, the first one
 * gets its address by DHCP too, unless the kernel has set it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

#define ETHERNET	"eth0"
#define ADDRESS		"10.0.2.15"
#define NETMASK		"255.255.255.0"
#define GATEWAY		"10.0.2.2"

#define SECOND		"eth1"
#define DHCP		"dhcp"
#define DHCP_SCRIPT	"/etc/ukl/udhcpc"

#define HOSTS		"/etc/hosts"
#define MAX_HOSTS	(32 * 1024)	/* bytes about other guests; a network has 253 */

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

/* busybox's client goes to the background with its first lease, and renews it from there. */
static int interface_dhcp(int fd, char *name)
{
	char *argv[] = { "udhcpc", "-n", "-t", "10", "-T", "2", "-i", name, "-s", DHCP_SCRIPT,
			 NULL };
	int error, status, null;
	pid_t pid;

	error = interface_up(fd, name);
	if (error)
		return error;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		setsid();
		execv("/bin/busybox", argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ETIMEDOUT;
}

/* Whether "ip=" on the kernel's command line set an address. */
static bool has_address(int fd, const char *name)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	return !ioctl(fd, SIOCGIFADDR, &request);
}

static int ethernet_up(int fd, bool dhcp, const char **what)
{
	int error;

	if (dhcp && has_address(fd, ETHERNET))
		return 0;
	if (dhcp) {	/* a packaged image, in an unknown network */
		*what = "DHCP on " ETHERNET;
		error = interface_dhcp(fd, ETHERNET);
		return error == -ENODEV ? 0 : error;
	}
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

/* "10.77.0.5/24". */
static int second_static(int fd, const char *text)
{
	char address[INET_ADDRSTRLEN + sizeof("/24")], netmask[INET_ADDRSTRLEN];
	struct in_addr mask;
	unsigned int prefix;
	char *slash;
	int error;

	if (strlen(text) >= sizeof(address))
		return -EINVAL;
	strcpy(address, text);
	slash = strchr(address, '/');
	if (!slash || sscanf(slash, "/%u", &prefix) != 1 || !prefix || prefix > 32)
		return -EINVAL;
	*slash = '\0';
	mask.s_addr = htonl(~0U << (32 - prefix));
	inet_ntop(AF_INET, &mask, netmask, sizeof(netmask));
	error = interface_address(fd, SECOND, SIOCSIFADDR, address);
	if (!error)
		error = interface_address(fd, SECOND, SIOCSIFNETMASK, netmask);
	return error ? error : interface_up(fd, SECOND);
}

static int second_up(int fd, const char *address, const char **what)
{
	if (!address)
		return 0;
	if (!strcmp(address, DHCP)) {
		*what = "DHCP on " SECOND;
		return interface_dhcp(fd, SECOND);
	}
	*what = "address of " SECOND;
	return second_static(fd, address);
}

/* Returns 0 or a negative errno, with *@what then saying what failed. */
int net_up(const struct run *run, const char **what)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error;

	*what = "socket";
	if (fd < 0)
		return errno == EAFNOSUPPORT || errno == ENOSYS ? 0 : -errno;
	*what = "lo";
	error = interface_up(fd, "lo");
	if (!error)
		error = ethernet_up(fd, run->dhcp, what);
	if (!error)
		error = second_up(fd, run->address, what);
	close(fd);
	return error;
}

/* Take the second interface down; without one, do nothing. */
void net_down(void)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(request.ifr_name, SECOND);
	if (fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &request)) {
		request.ifr_flags &= ~IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &request);
	}
	if (fd >= 0)
		close(fd);
}

/* Bring the second interface up as that of another machine; it is down. */
int net_again(const char *address, const char *mac, const char **what)
{
	struct ifreq request = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };
	unsigned char *byte = (unsigned char *)request.ifr_hwaddr.sa_data;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;

	*what = "hardware address of " SECOND;
	strcpy(request.ifr_name, SECOND);
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", byte, byte + 1, byte + 2, byte + 3,
		   byte + 4, byte + 5) != 6)
		error = -EINVAL;
	else if (fd < 0 || ioctl(fd, SIOCSIFHWADDR, &request))
		error = -errno;
	if (!error) {
		*what = "address of " SECOND;
		error = second_static(fd, address);
	}
	if (fd >= 0)
		close(fd);
	return error;
}

/* Replace /etc/hosts by its first @size bytes and @more after them. */
static void write_hosts(off_t size, const char *more, size_t length)
{
	int from = open(HOSTS, O_RDONLY | O_CLOEXEC);
	int to = open(HOSTS ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char *text = malloc(size);

	if (from >= 0 && to >= 0 && text && read(from, text, size) == size &&
	    write(to, text, size) == size && write(to, more, length) == (ssize_t)length)
		rename(HOSTS ".new", HOSTS);
	free(text);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
}

/*
 * The host sends the guests of the network: "hosts", "host ADDRESS NAME" for each, "hosts-end".
 * Append them to the original content of /etc/hosts. Returns whether @line is one of these.
 */
bool net_hosts(const char *line)
{
	static char text[MAX_HOSTS];
	static off_t begin = -1;
	static size_t size;
	struct stat status;
	int added;

	if (!strcmp(line, "hosts")) {
		if (begin < 0)
			begin = stat(HOSTS, &status) ? 0 : status.st_size;
		size = 0;
		return true;
	}
	if (!strncmp(line, "host ", 5)) {
		added = snprintf(text + size, sizeof(text) - size, "%s\n", line + 5);
		if (added > 0 && added < (int)(sizeof(text) - size))
			size += added;
		return true;
	}
	if (strcmp(line, "hosts-end"))
		return false;
	if (begin >= 0)
		write_hosts(begin, text, size);
	return true;
}
