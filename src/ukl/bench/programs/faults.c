// SPDX-License-Identifier: GPL-2.0
/*
 * faults - page faults, by what the kernel has to do for them
 *
 * Touches a region in places that are far enough apart for a fault each, then discards its
 * pages. Measures only the touching, a region at a time. Code is not in /tmp: a program in ring
 * 0 executes no files of a file system that is mounted nosuid.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define PAGE	4096
#define TOUCHED	100	/* places in a region */
#define AROUND	16	/* pages of a file that one read fault maps: 64 KiB (mm/memory.c) */
#define STRIDE	(AROUND * PAGE)
#define SIZE	(TOUCHED * STRIDE)
#define IN_ORDER (TOUCHED * AROUND)

#define RETURN	"\xc3"	/* the instruction RET */

static volatile char *anonymous, *plain, *shared, *private, *forbidden, *code;
static sigjmp_buf back;

static volatile char *map(int protection, int flags, int file)
{
	void *place = mmap(NULL, SIZE, protection, flags, file, 0);

	if (place == MAP_FAILED)
		bench_fail("mmap");
	if (madvise(place, SIZE, MADV_NOHUGEPAGE))
		bench_fail("madvise");
	return place;
}

static void on_fault(int number)
{
	siglongjmp(back, number);
}

/* A file with RETURN at the begin of each page. */
static int make(const char *path)
{
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (file < 0)
		bench_fail(path);
	for (off_t page = 0; page < SIZE; page += PAGE)
		if (pwrite(file, RETURN, 1, page) != 1)
			bench_fail(path);
	return file;
}

static void prepare(void)
{
	int file = make("/tmp/bench"), text = make("/bench-code");
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

	anonymous = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* As malloc() does it: the system decides the size of the pages. */
	plain = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (plain == MAP_FAILED)
		bench_fail("mmap");
	shared = map(PROT_READ | PROT_WRITE, MAP_SHARED, file);
	private = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
	code = map(PROT_READ | PROT_EXEC, MAP_PRIVATE, text);
	forbidden = map(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (sigaction(SIGSEGV, &action, NULL))
		bench_fail("sigaction");
}

static void forget(volatile char *region)
{
	if (madvise((void *)region, SIZE, MADV_DONTNEED))
		bench_fail("madvise");
}

static void read_pages(volatile char *region, unsigned long count, int forgotten)
{
	for (unsigned long part; count; count -= part) {
		part = count < TOUCHED ? count : TOUCHED;
		if (forgotten)
			forget(region);
		bench_begin();
		for (unsigned long i = 0; i < part; i++)
			(void)region[i * STRIDE];
		bench_end();
	}
}

/* `before`: whether to read each page first, so that the write finds it mapped. */
static void write_pages(volatile char *region, unsigned long count, int before)
{
	for (unsigned long part; count; count -= part) {
		part = count < TOUCHED ? count : TOUCHED;
		forget(region);
		for (unsigned long i = 0; before && i < part; i++)
			(void)region[i * STRIDE];
		bench_begin();
		for (unsigned long i = 0; i < part; i++)
			region[i * STRIDE] = 1;
		bench_end();
	}
}

/* The same loop on pages that are present. */
static void loop(unsigned long count)
{
	for (int i = 0; i < TOUCHED; i++)
		(void)shared[i * STRIDE];
	read_pages(shared, count, 0);
}

static void read_anonymous(unsigned long count)
{
	read_pages(anonymous, count, 1);
}

static void write_anonymous(unsigned long count)
{
	write_pages(anonymous, count, 0);
}

static void read_file(unsigned long count)
{
	read_pages(shared, count, 1);
}

static void execute_file(unsigned long count)
{
	for (unsigned long part; count; count -= part) {
		part = count < TOUCHED ? count : TOUCHED;
		forget(code);
		bench_begin();
		for (unsigned long i = 0; i < part; i++)
			((void (*)(void))(code + i * STRIDE))();
		bench_end();
	}
}

/* Every page of the region in order. */
static void write_in_order(unsigned long count)
{
	for (unsigned long part; count; count -= part) {
		part = count < IN_ORDER ? count : IN_ORDER;
		forget(plain);
		bench_begin();
		for (unsigned long i = 0; i < part; i++)
			plain[i * PAGE] = 1;
		bench_end();
	}
}

static void copy_zero(unsigned long count)
{
	write_pages(anonymous, count, 1);
}

static void copy_file(unsigned long count)
{
	write_pages(private, count, 1);
}

static void catch_signal(unsigned long count)
{
	volatile unsigned long i;

	bench_begin();
	for (i = 0; i < count; i++)
		if (sigsetjmp(back, 0) == 0)
			(void)*forbidden;
	bench_end();
}

static const struct bench_row rows[] = {
	{ "loop", loop, 100 },
	{ "read, anonymous", read_anonymous, 100 },
	{ "write, anonymous", write_anonymous, 100 },
	{ "write, in order", write_in_order, IN_ORDER },
	{ "read, file", read_file, 100 },
	{ "execute, file", execute_file, 100 },
	{ "write, copy of zeros", copy_zero, 100 },
	{ "write, copy of file", copy_file, 100 },
	{ "signal and longjmp", catch_signal, 50 },
};

int main(int argc, char **argv)
{
	prepare();
	return BENCH_MAIN(argc, argv, rows);
}
