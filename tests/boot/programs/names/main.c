// SPDX-License-Identifier: GPL-2.0
/*
 * Prints what the C library finds by name: services, protocols, time zones, a locale.
 */
#include <arpa/inet.h>
#include <grp.h>
#include <locale.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

static void zone(void)
{
	time_t when = 1700000000;
	char text[64];

	tzset();
	strftime(text, sizeof(text), "%F %T %Z", localtime(&when));
	printf("%s\n", text);
}

int main(void)
{
	struct addrinfo wanted = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	struct protoent *protocol = getprotobyname("udp");
	struct servent *service = getservbyname("ntp", "udp");
	struct group *group = getgrnam("tty");
	wchar_t wide[4];

	if (!getaddrinfo("localhost", "http", &wanted, &found))
		printf("http %d\n", ntohs(((struct sockaddr_in *)found->ai_addr)->sin_port));
	printf("ntp %d\n", service ? ntohs(service->s_port) : -1);
	service = getservbyport(htons(22), "tcp");
	printf("22 %s\n", service ? service->s_name : "?");
	printf("udp %d\n", protocol ? protocol->p_proto : -1);
	printf("tty %d\n", group ? (int)group->gr_gid : -1);
	zone();
	unsetenv("TZ");
	zone();
	printf("locale %s", setlocale(LC_ALL, "C.UTF-8") ?: "none");
	printf(" %zd", mbstowcs(wide, "\xc3\xa4", 4));
	printf(" %x\n", towupper(0xe4));
	return 0;
}
