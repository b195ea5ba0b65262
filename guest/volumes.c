// SPDX-License-Identifier: GPL-2.0
/*
 * Mounts the host's volumes and disks, and unmounts them at the end.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

/*
 * directio: read() and write() bypass the guest's page cache and go to the host at once.
 * Guest and host never disagree, and no written data is lost when the machine is killed.
 * cache=mmap: shared mappings, which databases use, still work; msync() writes them back.
 * See "cache" and "directio" in Documentation/filesystems/9p.rst. msize is the kernel's own
 * default, stated because it is the size of a buffer: more would take MiBs of physically
 * contiguous memory.
 */
#define OPTIONS_9P	"trans=virtio,version=9p2000.L,msize=131072,cache=mmap,directio"

/* After an error of the disk, do not write to a journal that may be broken. */
#define OPTIONS_EXT4	"errors=remount-ro"

#define DISKS		"/sys/block"
#define DISK_WAIT	2000	/* ms to wait for a disk's node */

/* "mounting TARGET", and the reason why it failed. */
static char complaint[PATH_MAX + 64];

static int make_directories(const char *path)
{
	char copy[PATH_MAX];
	struct stat found;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy))
		return -ENAMETOOLONG;
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	if (mkdir(copy, 0755) && errno != EEXIST)
		return -errno;
	if (stat(copy, &found))
		return -errno;
	return S_ISDIR(found.st_mode) ? 0 : -ENOTDIR;
}

static bool has_serial(const char *disk, const char *serial)
{
	char path[PATH_MAX], text[64] = "";
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), DISKS "/%s/serial", disk);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return !strcmp(text, serial);
}

/* Disks' names depend on the order of detection; serial numbers do not. */
static bool find_disk(const char *serial, char *node, size_t size)
{
	struct dirent *entry;
	bool found = false;
	DIR *disks = opendir(DISKS);

	if (!disks)
		return false;
	while (!found && (entry = readdir(disks))) {
		found = entry->d_name[0] != '.' && has_serial(entry->d_name, serial);
		if (found)
			snprintf(node, size, "/dev/%s", entry->d_name);
	}
	closedir(disks);
	return found;
}

static int await_disk(const char *serial, char *node, size_t size)
{
	long end = now_ms() + DISK_WAIT;

	while (!find_disk(serial, node, size)) {
		if (now_ms() >= end)
			return -ENODEV;
		usleep(5000);
	}
	return 0;
}

static int mount_disk(const struct volume *volume, unsigned long flags)
{
	char node[PATH_MAX];
	int error = await_disk(volume->source, node, sizeof(node));

	if (error)
		return error;
	return mount(node, volume->target, "ext4", flags, OPTIONS_EXT4) ? -errno : 0;
}

static int mount_root(const struct volume *volume)
{
	char node[PATH_MAX];
	int error = await_disk(volume->source, node, sizeof(node));

	return error ? error : root_up(node);
}

/* Let a file have a second name, or another file be in its place, without a copy of it. */
static int bind_file(const struct volume *volume)
{
	int fd = open(volume->target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno != EEXIST)
		return -errno;
	if (fd >= 0)
		close(fd);
	return mount(volume->source, volume->target, NULL, MS_BIND, NULL) ? -errno : 0;
}

static int volume_up(const struct volume *volume)
{
	unsigned long flags = MS_NODEV | MS_NOSUID | (volume->read_only ? MS_RDONLY : 0);
	bool is_9p = !strcmp(volume->type, "9p");
	int error;

	if (!strcmp(volume->type, "squashfs"))
		return mount_root(volume);
	if (!strcmp(volume->type, "initrd"))
		return root_up(NULL);
	if (!strcmp(volume->type, "bind"))
		return bind_file(volume);
	error = make_directories(volume->target);
	if (error)
		return error;
	if (!strcmp(volume->type, "ext4"))
		return mount_disk(volume, flags);
	if (mount(volume->source, volume->target, volume->type, flags, is_9p ? OPTIONS_9P : NULL))
		return -errno;
	return 0;
}

/* Returns 0 or a negative errno, with *@what then saying what failed. */
int volumes_up(const struct run *run, const char **what)
{
	for (size_t i = 0; i < run->volume_count; i++) {
		const struct volume *volume = &run->volumes[i];
		int error = volume_up(volume);

		if (!error)
			continue;
		snprintf(complaint, sizeof(complaint), "mounting %s (%s)", volume->target,
			 volume->type);
		*what = complaint;
		return error;
	}
	return 0;
}

/*
 * Unmount in reverse order. Make what cannot be unmounted at least read-only, which writes
 * all data; the journal takes care of the rest.
 */
void volumes_down(const struct run *run)
{
	for (size_t i = run->volume_count; i-- > 0;) {
		const char *target = run->volumes[i].target;

		if (umount2(target, 0) && errno != EINVAL)
			mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
}
