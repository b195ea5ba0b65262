// SPDX-License-Identifier: GPL-2.0
/*
 * Switches to the root file system of a container image: a squashfs that nobody writes, below a
 * tmpfs that takes what the guest writes. In a packaged image it is a directory of the initrd.
 *
 * From the initrd come the kernel's file systems, the directory with the marker files, and the
 * names of hosts. Nothing else is mounted over the image: unlike in the initrd, /run and /tmp are
 * its own. The overlay honours set-user-ID bits, as the kernel demands it of a mount from which
 * programs start in application mode.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define LOWER		"/root.image"
#define WRITTEN		"/root.written"
#define MERGED		"/root.merged"
#define LAYERS		"lowerdir=" LOWER ",upperdir=" WRITTEN "/upper,workdir=" WRITTEN "/work"

#define MARKERS		"/ukl"

/* Mounts of the initrd that move along, with those below them. */
static const char *const moved[] = { "/proc", "/sys", "/dev" };

/* Files that the host or a DHCP server has determined. */
static const char *const copied[] = { "/etc/hosts", "/etc/resolv.conf" };

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

static int make_overlay(const char *disk)
{
	mkdir(LOWER, 0755);	/* if one of these fails, mount() reports it */
	mkdir(WRITTEN, 0755);
	mkdir(MERGED, 0755);
	if (!disk)
		return mount(LOWER, MERGED, NULL, MS_BIND, NULL) ? -errno : 0;
	if (mount(disk, LOWER, "squashfs", MS_RDONLY, NULL) ||
	    mount("tmpfs", WRITTEN, "tmpfs", 0, "mode=0755") ||
	    /* The root directory has the owner and the mode of this one. */
	    mkdir(WRITTEN "/upper", 0755) || mkdir(WRITTEN "/work", 0755) ||
	    mount("overlay", MERGED, "overlay", 0, LAYERS))
		return -errno;
	return 0;
}

static int move_mounts(void)
{
	char target[64];

	for (size_t i = 0; i < COUNT(moved); i++) {
		snprintf(target, sizeof(target), MERGED "%s", moved[i]);
		if (mkdir(target, 0755) && errno != EEXIST)
			return -errno;
		if (mount(moved[i], target, NULL, MS_MOVE, NULL))
			return -errno;
	}
	return 0;
}

/* Make the overlay the root of this process. Afterwards it is not in a chroot(). */
static int enter(void)
{
	if (chdir(MERGED) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		return -errno;
	return 0;
}

/* An image may have a symbolic link there, to a file that only its own init would make. */
static int copy_file(int from, const char *path)
{
	char data[4096];
	ssize_t got;
	int to, error = 0;

	if (unlink(path) && errno != ENOENT)
		return -errno;
	to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (to < 0)
		return -errno;
	while (!error && (got = read(from, data, sizeof(data))) != 0) {
		if (got < 0 || write(to, data, got) != got)
			error = errno ? -errno : -EIO;
	}
	close(to);
	return error;
}

static int bring(int markers, const int *files)
{
	char source[64];
	int error;

	snprintf(source, sizeof(source), "/proc/self/fd/%d", markers);
	if ((mkdir(MARKERS, 0755) && errno != EEXIST) ||
	    mount(source, MARKERS, NULL, MS_BIND, NULL))
		return -errno;
	if (mkdir("/etc", 0755) && errno != EEXIST)
		return -errno;
	for (size_t i = 0; i < COUNT(copied); i++) {
		error = files[i] < 0 ? 0 : copy_file(files[i], copied[i]);
		if (error)
			return error;
	}
	return 0;
}

/*
 * Make the image on @disk, or in the initrd if that is NULL, the root of all processes.
 * Returns 0 or a negative errno.
 */
int root_up(const char *disk)
{
	int files[COUNT(copied)], markers, error;

	markers = open(MARKERS, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (markers < 0)
		return -errno;
	for (size_t i = 0; i < COUNT(copied); i++)
		files[i] = open(copied[i], O_RDONLY | O_CLOEXEC);
	error = make_overlay(disk);
	if (!error)
		error = move_mounts();
	if (!error)
		error = enter();
	if (!error)
		error = bring(markers, files);
	close(markers);
	for (size_t i = 0; i < COUNT(copied); i++) {
		if (files[i] >= 0)
			close(files[i]);
	}
	return error;
}
