// SPDX-License-Identifier: GPL-2.0
/* Finds an ELF file in /proc/self/exe, and its text and names by dl_iterate_phdr(). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void);
static int bad_names;
static int found(struct dl_phdr_info *i, size_t s, void *r)
{
	for (int k = 0; k < i->dlpi_phnum; k++)
		*(int *)r |= i->dlpi_phdr[k].p_type == PT_LOAD && (unsigned long)main - i->dlpi_addr - i->dlpi_phdr[k].p_vaddr < i->dlpi_phdr[k].p_memsz;
	if (access(i->dlpi_name, R_OK) && errno == EFAULT)
		bad_names++;
	return 0;
}
int main(void)
{
	char m[4] = ""; int r = 0;
	read(open("/proc/self/exe", O_RDONLY), m, 4);
	dl_iterate_phdr(found, &r);
	printf("ELF %d, text found %d, names that are not there %d\n", !memcmp(m, "\177ELF", 4), r, bad_names);
}
