// SPDX-License-Identifier: GPL-2.0
/*
 * durable write DIR...: appends a numbered record to DIR/log and renames a new file to
 * DIR/last, makes both durable in each DIR, and only then prints the number; never ends.
 * durable read DIR...: prints the number of complete records, and the content of DIR/last.
 * durable kinds DIR: tests what a database needs of a file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && !strcmp(argv[1], "kinds")) {
		kinds(argv[2]);
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
