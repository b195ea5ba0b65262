// SPDX-License-Identifier: GPL-2.0
/*
 * counter - a plugin for QEMU's emulator that counts what a guest executes
 *
 * Argument: counts=PATH, of at least sizeof(struct shared) bytes. When another process writes a
 * new number into `asked`, the counts are copied into the file and `answered` becomes that
 * number: how often each block of code was executed, and each privileged instruction.
 *
 * API is the version of QEMU's interface for plugins (docs/devel/tcg-plugins.rst). No
 * distribution ships qemu-plugin.h, so what is used of it is declared here.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT	__attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum { QEMU_PLUGIN_INLINE_ADD_U64 };

EXPORT int qemu_plugin_version = API;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*callback)(qemu_plugin_id_t,
							    struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
#if API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *data, size_t size);
#endif
#if API < 2
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation, void *at,
					      uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation,
						void *at, uint64_t value);
#else
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, int operation,
						       qemu_plugin_u64 entry, uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn,
							 int operation, qemu_plugin_u64 entry,
							 uint64_t value);
#endif

/* bench/counting.py reads these. */
#define RECORDS	(1 << 19)

struct record {
	uint64_t address;
	uint32_t what;	/* a block: number of instructions; an instruction: KIND | its kind */
	uint32_t unused;
	uint64_t count;
};

struct shared {
	_Atomic uint64_t asked, answered;
	uint64_t used, lost;
	struct record records[RECORDS];
};

#define KIND	(1U << 31)

enum kind {
	NONE, SYSCALL, SYSRET, IRET, SWAPGS, CR3, INVALIDATE, WRMSR, HALT, PORT,
};

static struct shared *shared;
static struct record own[RECORDS];
static uint32_t buckets[RECORDS];	/* 1 + index of a record */
static uint64_t used, lost;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#if API >= 2
static struct qemu_plugin_scoreboard *scores;

static qemu_plugin_u64 entry(uint32_t index)
{
	return (qemu_plugin_u64){ scores, index * sizeof(uint64_t) };
}
#endif

/* Returns the index of a record, RECORDS if there is no space for it. */
static uint32_t find(uint64_t address, uint32_t what)
{
	uint64_t hash = (address ^ (uint64_t)what << 32) * 0x9e3779b97f4a7c15ULL;
	uint32_t at = (uint32_t)(hash >> 45), found = RECORDS;

	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < RECORDS; i++, at++) {
		uint32_t *bucket = &buckets[at % RECORDS];

		if (!*bucket) {
			own[used].address = address;
			own[used].what = what;
			*bucket = (uint32_t)++used;
		}
		if (own[*bucket - 1].address == address && own[*bucket - 1].what == what) {
			found = *bucket - 1;
			break;
		}
	}
	lost += found == RECORDS;
	pthread_mutex_unlock(&lock);
	return found;
}

/* Intel SDM, volume 2: prefixes, and the opcodes of privileged instructions */
static enum kind kind_of(const uint8_t *code, size_t size)
{
	bool operand16 = false;
	size_t i = 0;
	uint8_t second, third;

	for (; i < size; i++) {
		uint8_t byte = code[i];

		operand16 |= byte == 0x66;
		if (byte != 0x66 && byte != 0xf2 && byte != 0xf3 && byte != 0x2e && byte != 0x3e &&
		    byte != 0x64 && byte != 0x65)
			break;
	}
	if (i < size && (code[i] & 0xf0) == 0x40)	/* REX */
		i++;
	if (i >= size)
		return NONE;
	switch (code[i]) {
	case 0xcf:
		return IRET;
	case 0xf4:
		return HALT;
	case 0x6c ... 0x6f: case 0xe4 ... 0xe7: case 0xec ... 0xef:
		return PORT;
	case 0x0f:
		break;
	default:
		return NONE;
	}
	second = i + 1 < size ? code[i + 1] : 0;
	third = i + 2 < size ? code[i + 2] : 0;
	switch (second) {
	case 0x05:
		return SYSCALL;
	case 0x07:
		return SYSRET;
	case 0x22:
		return (third >> 3 & 7) == 3 ? CR3 : NONE;
	case 0x30:
		return WRMSR;
	case 0x01:
		if (third == 0xf8)
			return SWAPGS;
		return third >> 6 != 3 && (third >> 3 & 7) == 7 ? INVALIDATE : NONE;	/* INVLPG */
	case 0x38:
		return third == 0x82 && operand16 ? INVALIDATE : NONE;		/* INVPCID */
	default:
		return NONE;
	}
}

static void count_block(struct qemu_plugin_tb *tb, uint32_t index)
{
#if API < 2
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
						 &own[index].count, 1);
#else
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64,
							  entry(index), 1);
#endif
}

static void count_instruction(struct qemu_plugin_insn *insn, uint32_t index)
{
#if API < 2
	qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
						   &own[index].count, 1);
#else
	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							    entry(index), 1);
#endif
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t number = qemu_plugin_tb_n_insns(tb);
	uint32_t index = find(qemu_plugin_tb_vaddr(tb), (uint32_t)number);

	(void)id;
	if (index < RECORDS)
		count_block(tb, index);
	for (size_t i = 0; i < number; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		size_t size = qemu_plugin_insn_size(insn);
		enum kind kind;
#if API < 3
		kind = kind_of(qemu_plugin_insn_data(insn), size);
#else
		uint8_t code[16];

		kind = kind_of(code, qemu_plugin_insn_data(insn, code, size < 16 ? size : 16));
#endif
		if (kind == NONE)
			continue;
		index = find(qemu_plugin_insn_vaddr(insn), KIND | kind);
		if (index < RECORDS)
			count_instruction(insn, index);
	}
}

static void answer(void)
{
	uint64_t number;

	pthread_mutex_lock(&lock);
	number = used;
	memcpy(shared->records, own, number * sizeof(own[0]));
	shared->lost = lost;
	pthread_mutex_unlock(&lock);
#if API >= 2
	for (uint32_t i = 0; i < number; i++)
		shared->records[i].count = qemu_plugin_u64_sum(entry(i));
#endif
	shared->used = number;
}

static void *serve(void *nothing)
{
	static const struct timespec pause = { 0, 1000000 };

	for (;;) {
		uint64_t asked = shared->asked;

		if (asked != shared->answered) {
			answer();
			shared->answered = asked;
		}
		nanosleep(&pause, NULL);
	}
	return nothing;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	pthread_t thread;
	int file = -1;

	(void)info;
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "counts=", 7))
			file = open(argv[i] + 7, O_RDWR | O_CLOEXEC);
	if (file < 0) {
		fprintf(stderr, "counter: no file for the counts\n");
		return -1;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (shared == MAP_FAILED) {
		perror("counter");
		return -1;
	}
#if API >= 2
	scores = qemu_plugin_scoreboard_new(RECORDS * sizeof(uint64_t));
#endif
	if (pthread_create(&thread, NULL, serve, NULL)) {
		fprintf(stderr, "counter: no thread\n");
		return -1;
	}
	pthread_detach(thread);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
