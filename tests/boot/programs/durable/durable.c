// SPDX-License-Identifier: GPL-2.0
/*
 * durable write DIR...: appends a numbered record to DIR/log and renames a new file to
 * DIR/last, makes both durable in each DIR, and only then prints the number; never ends.
 * durable read DIR...: prints the number of complete records, and the content of DIR/last.
 * durable kinds DIR: tests what a database needs of a file system.
 * durable limits DIR: prints the names of calls that a local file system has, and DIR has not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RECORD	16	/* bytes: 15 digits and a newline */
#define PAGE	4096

static void check(int ok, const char *what, const char *where)
{
	if (ok)
		return;
	printf("%s of %s: %s\n", what, where, strerror(errno));
	exit(1);
}

static void put(int fd, const char *text, const char *where)
{
	check(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write", where);
	check(!fsync(fd), "fsync", where);
}

static void append(const char *directory, const char *record)
{
	char log[256], fresh[256], last[256];
	int fd;

	snprintf(log, sizeof(log), "%s/log", directory);
	snprintf(fresh, sizeof(fresh), "%s/fresh", directory);
	snprintf(last, sizeof(last), "%s/last", directory);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	check(fd >= 0, "open", log);
	put(fd, record, log);
	close(fd);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	check(fd >= 0, "open", fresh);
	put(fd, record, fresh);
	close(fd);
	check(!rename(fresh, last), "rename", fresh);
	fd = open(directory, O_RDONLY | O_DIRECTORY);
	check(fd >= 0, "open", directory);
	check(!fsync(fd), "fsync", directory);
	close(fd);
}

static void tell(const char *directory)
{
	char path[256], record[RECORD + 1] = "";
	long count = 0, last = -1;
	FILE *file;

	snprintf(path, sizeof(path), "%s/log", directory);
	file = fopen(path, "r");
	check(file != NULL, "open", path);
	while (fread(record, RECORD, 1, file) == 1 && atol(record) == count)
		count++;
	fclose(file);
	snprintf(path, sizeof(path), "%s/last", directory);
	file = fopen(path, "r");
	check(file && fscanf(file, "%ld", &last) == 1, "read", path);
	fclose(file);
	printf("%s %ld %ld\n", directory, count, last);
}

static void kinds(const char *directory)
{
	char text[16] = "";
	struct stat found;
	char *map;
	int fd;

	check(!chdir(directory), "chdir", directory);
	fd = open("mapped", O_RDWR | O_CREAT, 0640);
	check(fd >= 0 && !ftruncate(fd, 2 * PAGE), "make", "mapped");
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(map != MAP_FAILED, "mmap", "mapped");
	strcpy(map, "by memory");
	check(!msync(map, 2 * PAGE, MS_SYNC), "msync", "mapped");
	check(pread(fd, text, 9, 0) == 9 && !strcmp(text, "by memory"), "pread", "mapped");
	check(pwrite(fd, "by writing", 10, PAGE) == 10, "pwrite", "mapped");
	check(!strcmp(map + PAGE, "by writing"), "the map", "mapped");
	strcpy(map, "not synced");	/* the end of the process, or of the machine, syncs it */
	check(!stat("mapped", &found) && (found.st_mode & 0777) == 0640, "mode", "mapped");
	check(!lockf(fd, F_TLOCK, 0), "lockf", "mapped");
	check(!symlink("mapped", "link") && !stat("link", &found), "symlink", "link");
	fd = open("gone", O_RDWR | O_CREAT, 0600);
	check(fd >= 0 && !unlink("gone") && write(fd, "x", 1) == 1, "use after unlink", "gone");
	printf("kinds ok\n");
}

static void want(int ok, const char *what)
{
	if (!ok)
		printf("without %s\n", what);
}

static int locks_are_separate(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT, 0600);
	int ok = !flock(fd, LOCK_EX) && !lockf(fd, F_TLOCK, 0);

	close(fd);
	return ok;
}

static void limits(const char *directory)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	struct timespec times[2] = { { .tv_nsec = 5 }, { .tv_sec = 1, .tv_nsec = 7 } };
	struct stat found;
	int fd, gone;

	check(!chdir(directory), "chdir", directory);
	want(open(".", O_TMPFILE | O_RDWR, 0600) >= 0, "O_TMPFILE");
	fd = open("some", O_RDWR | O_CREAT, 0600);
	want(!fallocate(fd, 0, 0, PAGE), "fallocate");
	check(!ftruncate(fd, 1 << 20), "truncate", "some");
	want(lseek(fd, 0, SEEK_HOLE) < 1 << 20, "SEEK_HOLE");
	want(!fcntl(fd, F_SETLEASE, F_WRLCK), "leases");
	want(!futimens(fd, times) && !fstat(fd, &found) && found.st_mtim.tv_nsec == 7,
	     "nanoseconds");
	close(fd);
	want(!renameat2(AT_FDCWD, "some", AT_FDCWD, "other", RENAME_NOREPLACE), "renameat2");
	want(!mkfifo("fifo", 0600), "FIFOs");
	want(!bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&name, sizeof(name)),
	     "sockets");
	gone = open("gone", O_RDWR | O_CREAT, 0600);
	check(gone >= 0 && !unlink("gone"), "unlink", "gone");
	want(!fchmod(gone, 0640), "fchmod of a deleted file");
	want(!ftruncate(gone, 5), "ftruncate of a deleted file");
	want(locks_are_separate("locked"), "flock() apart from fcntl()");
	printf("limits end\n");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && !strcmp(argv[1], "kinds")) {
		kinds(argv[2]);
	} else if (argc > 2 && !strcmp(argv[1], "limits")) {
		limits(argv[2]);
	} else if (argc > 2 && !strcmp(argv[1], "read")) {
		for (int i = 2; i < argc; i++)
			tell(argv[i]);
	} else if (argc > 2) {
		for (long number = 0;; number++) {
			char record[RECORD + 2];

			snprintf(record, sizeof(record), "%015ld\n", number);
			for (int i = 2; i < argc; i++)
				append(argv[i], record);
			printf("kept %ld\n", number);
		}
	}
	return 0;
}
