// SPDX-License-Identifier: GPL-2.0
/* The setting: root's files, space for the attackers' files, and the addresses they know. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fuzz.h"

/* ---- Files that only root may have ---- */

static uint64_t content(unsigned int i)
{
	return mix(seed + i);
}

static void sentinel(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);

	for (unsigned int i = 0; i < 64; i++) {
		uint64_t word = content(i);

		if (write(fd, &word, sizeof(word)) != sizeof(word))
			exit(1);
	}
	if (fchmod(fd, mode) || close(fd))
		exit(1);
}

static bool same_as_before(const char *path, mode_t mode)
{
	uint64_t words[65];
	struct stat stat;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool same = fd >= 0 && !fstat(fd, &stat) && read(fd, words, sizeof(words)) == 512 &&
		    stat.st_uid == 0 && stat.st_gid == 0 && (stat.st_mode & 07777) == mode;

	for (unsigned int i = 0; same && i < 64; i++)
		same = words[i] == content(i);
	close(fd);
	return same;
}

const char *changed_file(void)
{
	if (!same_as_before(SECRET, 0600))
		return SECRET;
	return same_as_before(PUBLIC, 0644) ? NULL : PUBLIC;
}

void scene(void)
{
	mkdir("/sentinel", 0755);
	sentinel(SECRET, 0600);
	sentinel(PUBLIC, 0644);
	mkdir(TOP, 01777);
	if (mount("none", TOP, "tmpfs", 0, "size=16m,mode=1777"))
		exit(1);
	mount("none", "/tmp", "tmpfs", MS_REMOUNT, "size=16m");
	mount("none", "/dev/shm", "tmpfs", MS_REMOUNT, "size=16m");
	/* Files that outlive their processes must not fill the machine. */
	put("/proc/sys/kernel/shmmax", "1048576");
	put("/proc/sys/kernel/shmall", "2048");
	put("/proc/sys/kernel/msgmni", "32");
	put("/proc/sys/kernel/sem", "32 1024 32 32");
}

/* Addresses that an attacker might have learned in some other way */
void know_symbols(void)
{
	static const char *const names[] = {
		"ukl_syscall", "ukl_syscall_fast", "ukl_syscall_restart", "ukl_return_by_ret",
		"ukl_call", "ukl_fast_ret", "__ukl_text_start", "ukl_app_start", "_text",
		"entry_SYSCALL_64", "asm_exc_page_fault", "commit_creds", "init_task", "idt_table",
	};
	char line[256], name[128], type;
	unsigned long address;
	FILE *file = fopen("/proc/kallsyms", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %c %127s", &address, &type, name) != 3)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			if (!strcmp(names[i], name) && n_symbols < SYMBOLS)
				symbols[n_symbols++] = address;
			if (!strcmp("_text", name))
				image = address;
		}
	}
	if (file)
		fclose(file);
	linked = getenv("LINKED") ? strtoul(getenv("LINKED"), NULL, 16) : 0;
}
