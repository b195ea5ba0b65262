// SPDX-License-Identifier: GPL-2.0
/* Sections of the program's own naming, of every kind. */
#include <stdint.h>
#include <stdio.h>

#define IN(name) __attribute__((section(name), used))

struct entry {
	int number;
	const char *name;
};

/* A table that several places add to, walked by its boundaries. */
IN("my_table") static struct entry one = { 1, "one" };
IN("my_table") static struct entry two = { 2, "two" };
extern struct entry __start_my_table[], __stop_my_table[];

IN("my_constants") static const int constants[2] = { 40, 2 };
extern const int __start_my_constants[], __stop_my_constants[];

IN("my_code") static int code(int n) { return n + 1; }
extern char __start_my_code[], __stop_my_code[];

IN(".PyRuntime") static int runtime[4] __attribute__((aligned(64))) = { 3 };
IN(".probes") static unsigned short semaphore = 4;

__asm__(".section my_zeroes, \"aw\", @nobits\n.balign 128\nzeroes: .skip 1000\n.previous");
extern char zeroes[], __start_my_zeroes[], __stop_my_zeroes[];

__asm__(".section my_tls, \"awT\", @progbits\n.balign 16\n.globl own_tls\n"
	".type own_tls, @tls_object\nown_tls: .long 77\n.size own_tls, 4\n.previous");
extern __thread int own_tls;

/* As <sys/sdt.h> makes them. */
__asm__(".text\n990: nop\n"
	".pushsection .note.stapsdt, \"\", \"note\"\n.balign 4\n"
	".4byte 2f-1f, 4f-3f, 3\n1: .asciz \"stapsdt\"\n2: .balign 4\n"
	"3: .8byte 990b\n.8byte _.stapsdt.base\n.8byte 0\n"
	".asciz \"own\"\n.asciz \"probe\"\n.asciz \"\"\n4: .balign 4\n.popsection\n"
	".ifndef _.stapsdt.base\n"
	".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n"
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n"
	".size _.stapsdt.base, 1\n.popsection\n.endif\n");

/* A note of one's own, in memory. */
__asm__(".pushsection .note.own, \"a\", @note\n.balign 4\n.long 4, 4, 1\n"
	".asciz \"OWN\"\nown_note: .long 123\n.popsection");
extern const int own_note;

int main(void)
{
	int sum = 0;

	for (struct entry *e = __start_my_table; e < __stop_my_table; e++)
		sum += e->number;
	printf("table %td %d\n", __stop_my_table - __start_my_table, sum);
	sum = 0;
	for (const int *c = __start_my_constants; c < __stop_my_constants; c++)
		sum += *c;
	printf("constants %d\n", sum);
	printf("code %d %d\n", code(1),
	       (char *)code >= __start_my_code && (char *)code < __stop_my_code);
	printf("data %d %d %d\n", runtime[0], semaphore, (int)((uintptr_t)runtime % 64));
	for (sum = 0; sum < 1000 && !zeroes[sum]; sum++)
		;
	printf("zeroes %td %d %d\n", __stop_my_zeroes - __start_my_zeroes, sum,
	       (int)((uintptr_t)zeroes % 128));
	printf("tls %d\n", own_tls);
	printf("note %d\n", own_note);
	return 0;
}
