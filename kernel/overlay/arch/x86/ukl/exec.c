// SPDX-License-Identifier: GPL-2.0
/*
 * Unikernel Linux: start an application that is linked into the kernel.
 *
 * The kernel image contains the application's initial data as an ELF executable
 * without text. At boot its content is copied to a file on the kernel's
 * internal tmpfs. A small marker file in a normal file system redirects
 * execve() to that file, like a "#!" script redirects to its interpreter.
 * load_elf_binary() does the rest.
 */
#define pr_fmt(fmt) "UKL: " fmt

#include <linux/binfmts.h>
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/buildid.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/elf.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/kprobes.h>
#include <linux/kstrtox.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/kernel_read_file.h>
#include <linux/nospec.h>
#include <linux/personality.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/uidgid.h>
#include <linux/ukl.h>
#include <asm/cmdline.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/pvclock.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mmu.h>
#include <asm/mmu_context.h>
#include <asm/ptrace.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include <asm/ukl.h>
#include <asm/ukl_fast.h>

#include "app.h"

/**
 * struct ukl_app - an application that can be started
 * @list:	entry in ukl_apps
 * @kobj:	its directory in /sys/kernel/ukl
 * @attr:	the marker file in that directory
 * @file:	the internal file with its data
 * @text:	start of its text
 * @text_end:	end of its text
 * @vma:	describes its text
 * @marker:	content of its marker files
 */
struct ukl_app {
	struct list_head	list;
	struct kobject		kobj;
	struct bin_attribute	attr;
	struct file		*file;
	const char		*text;
	const char		*text_end;
	struct vm_area_struct	vma;
	struct ukl_marker	marker;
};

/* Filled at boot, constant afterwards */
static LIST_HEAD(ukl_apps);

static struct ukl_app *ukl_find_app(const char *name)
{
	struct ukl_app *app;

	list_for_each_entry(app, &ukl_apps, list) {
		if (!strcmp(app->marker.name, name))
			return app;
	}
	return NULL;
}

/* For early boot only: the descriptions are freed with the init data. */
static bool __init ukl_linked(void)
{
	return &__ukl_apps_start[0] != &__ukl_apps_end[0];
}

/* Do marker files count that name a program? See ukl_expected(). */
static bool ukl_programs __ro_after_init;

static int __init ukl_parse_programs(char *value)
{
	return kstrtobool(value, &ukl_programs);
}
early_param("ukl.programs", ukl_parse_programs);

/**
 * ukl_expected - can applications be started in this kernel?
 *
 * For early boot only, before the parameters are parsed.
 */
bool __init ukl_expected(void)
{
	char value[8];
	bool on;

	if (ukl_linked())
		return true;
	return cmdline_find_option(boot_command_line, "ukl.programs", value, sizeof(value)) > 0 &&
	       !kstrtobool(value, &on) && on;
}

/**
 * ukl_present - is there an application that can be started?
 */
bool ukl_present(void)
{
	return ukl_programs || !list_empty(&ukl_apps);
}

/**
 * ukl_mm - is this the address space of an application?
 * @mm:	an address space, or NULL
 */
bool ukl_mm(const struct mm_struct *mm)
{
	return mm_is_ukl(mm);
}

/**
 * ukl_current - does the current process run in application mode?
 *
 * Return: true in all threads of a process that was started by a marker file.
 */
bool ukl_current(void)
{
	return mm_is_ukl(current->mm);
}

/**
 * ukl_valid_ip - may a tracer set application mode to this instruction pointer?
 * @ip:	instruction pointer
 *
 * Return: true if @ip is in the application's own text, at an entry point of
 * the stubs, or in the user half, where SMEP or page protection causes a fault.
 */
bool ukl_valid_ip(unsigned long ip)
{
	if (!ukl_text_address(ip))
		return ip < TASK_SIZE_MAX;
	return ip < (unsigned long)__ukl_entry_start ||
	       ip == (unsigned long)ukl_syscall ||
	       ip == (unsigned long)ukl_syscall_restart ||
	       ip == (unsigned long)ukl_call ||
	       ip == (unsigned long)ukl_fast_ret;
}

/**
 * ukl_valid_frame - may sigreturn() resume application mode here?
 * @ip:	instruction pointer
 * @sp:	stack pointer
 *
 * Both values come from a signal frame. Without this check sigreturn() could
 * jump anywhere into the kernel at CPL 0.
 *
 * Return: true if @ip is valid for ukl_valid_ip() or in the copy of a probed
 * instruction, and @sp is in the user half.
 */
bool ukl_valid_frame(unsigned long ip, unsigned long sp)
{
	return (ukl_valid_ip(ip) || is_kprobe_insn_slot(ip)) && sp < TASK_SIZE_MAX;
}

/**
 * ukl_shown - make an address from a process' registers safe for the log
 * @address:	instruction pointer, or address of a fault
 *
 * The log may be readable by unprivileged users. In application mode an address
 * can be in the kernel half and reveal where KASLR has placed the kernel.
 *
 * Return: @address if the process is a normal one or the address is in the user
 * half; the link-time address, as in System.map, if it is in the kernel image;
 * otherwise the hash that %p would print.
 */
unsigned long ukl_shown(unsigned long address)
{
	unsigned long hash = 0;

	if (!ukl_current() || address < TASK_SIZE_MAX)
		return address;
	if (address >= (unsigned long)_text && address < (unsigned long)_end)
		return address - kaslr_offset();
	ptr_to_hashval((const void *)address, &hash);
	return hash;
}

/* In bprm->ukl_flags, above UKL_MARKER_*: bprm->ukl_marker is the program itself. */
#define UKL_BPRM_PROGRAM	0x80000000

static bool ukl_elf64(const char *ident)
{
	return !memcmp(ident, ELFMAG, SELFMAG) && ident[EI_CLASS] == ELFCLASS64;
}

/**
 * ukl_linked_binprm - is this an execve() of a linked-in application?
 * @bprm:	the program that is being loaded
 *
 * Return: true if a marker file has redirected to the internal file of an
 * application. The internal file alone does not count, nor does a file to which
 * another binary format has redirected since.
 */
bool ukl_linked_binprm(const struct linux_binprm *bprm)
{
	const struct ukl_app *app;

	if (!bprm->ukl_marker || (bprm->ukl_flags & UKL_BPRM_PROGRAM))
		return false;
	list_for_each_entry(app, &ukl_apps, list) {
		if (file_inode(app->file) == file_inode(bprm->file))
			return true;
	}
	return false;
}

/**
 * ukl_binprm - will the program run in application mode?
 * @bprm:	the program that is being loaded
 */
bool ukl_binprm(const struct linux_binprm *bprm)
{
	if (bprm->ukl_marker && (bprm->ukl_flags & UKL_BPRM_PROGRAM))
		return file_inode(bprm->ukl_marker) == file_inode(bprm->file) &&
		       ukl_elf64(bprm->buf);
	return ukl_linked_binprm(bprm);
}

/**
 * ukl_exe_file - the file that was executed
 * @bprm:	the program that is being loaded
 *
 * Return: the marker file, or @bprm->file if this is not a linked-in application.
 */
struct file *ukl_exe_file(const struct linux_binprm *bprm)
{
	return ukl_linked_binprm(bprm) ? bprm->ukl_marker : bprm->file;
}

/**
 * ukl_release_binprm - release the references of load_ukl_marker()
 * @bprm:	the program, whether it has been loaded or not
 */
void ukl_release_binprm(struct linux_binprm *bprm)
{
	if (!bprm->ukl_marker)
		return;
	exe_file_allow_write_access(bprm->ukl_marker);
	fput(bprm->ukl_marker);
}

/*
 * With CAP_SYS_RAWIO a process can do by other means what an application can
 * do: iopl(), /dev/mem, MSRs. Only the capability in the initial user namespace
 * counts.
 */
static bool ukl_may_rawio(void)
{
	return ns_capable_noaudit(&init_user_ns, CAP_SYS_RAWIO);
}

/*
 * Let the application execute what is mapped from here on. Page table isolation has
 * set NX in the top-level entry of the arguments.
 */
static void ukl_allow_exec(struct mm_struct *mm)
{
	mm->def_flags |= VM_UKL;
#ifdef CONFIG_MITIGATION_PAGE_TABLE_ISOLATION
	if (!cpu_feature_enabled(X86_FEATURE_PTI))
		return;
	/* pgd_none() is constant with four levels. */
	for (unsigned int i = 0; i < PTRS_PER_PGD / 2; i++) {
		pgdval_t val = pgd_val(mm->pgd[i]);

		if (!val)
			continue;
		WRITE_ONCE(mm->pgd[i].pgd, (val & ~_PAGE_NX) | _PAGE_NOPTISHADOW);
		kernel_to_user_pgdp(&mm->pgd[i])->pgd = 0;
	}
#endif
}

/**
 * ukl_begin_exec - make the new address space one of application mode
 * @bprm:	the program that is being loaded, past the point of no return
 *
 * Called before any CPU loads the address space, so that each CPU that loads or
 * borrows it also loads the IDT and MSR_LSTAR of application mode. From then on
 * the process is not dumpable by its owner: setting "dumpable" to 1 sets it to
 * 2.
 *
 * As for a set-user-ID program, the caller's input is not trusted: AT_SECURE
 * tells the C library, and personality and stack limit are reset.
 */
void ukl_begin_exec(struct linux_binprm *bprm)
{
	if (!ukl_binprm(bprm))
		return;

	set_bit(MM_CONTEXT_UKL, &bprm->mm->context.flags);
	if (IS_ENABLED(CONFIG_UKL_RET) && (bprm->ukl_flags & UKL_MARKER_RET))
		set_bit(MM_CONTEXT_UKL_RET, &bprm->mm->context.flags);
	if (bprm->ukl_flags & UKL_MARKER_EXEC) {
		set_bit(MM_CONTEXT_UKL_EXEC, &bprm->mm->context.flags);
		ukl_allow_exec(bprm->mm);
	}
	if (bprm->ukl_flags & UKL_MARKER_JIT)
		set_bit(MM_CONTEXT_UKL_JIT, &bprm->mm->context.flags);
	if (bprm->ukl_flags & UKL_MARKER_WX)
		set_bit(MM_CONTEXT_UKL_WX, &bprm->mm->context.flags);
	if (bprm->ukl_flags & UKL_MARKER_TREE)
		set_bit(MM_CONTEXT_UKL_TREE, &bprm->mm->context.flags);

	if (!ukl_may_rawio()) {
		bprm->secureexec = 1;
		bprm->per_clear |= PER_CLEAR_ON_SETID;
	}
}

/**
 * ukl_setup_additional_pages - set the vDSO address for the auxiliary vector
 *
 * The counterpart of arch_setup_additional_pages(). The normal vDSO is user
 * text, which application mode cannot execute. AT_SYSINFO_EHDR points to an
 * image whose functions are application text instead.
 */
void ukl_setup_additional_pages(void)
{
	current->mm->context.vdso = (void __user *)ukl_vdso;
}

/**
 * ukl_start_thread - turn a new user frame into one of application mode
 * @regs:	the registers set up by start_thread()
 */
void ukl_start_thread(struct pt_regs *regs)
{
	struct mm_struct *mm = current->mm;
	const struct ukl_app *app;

	/*
	 * The application's indirect branches and returns are not hardened like
	 * the kernel's, so other processes must not train them. An error means
	 * that there is no mitigation or that it is disabled;
	 * spectre_v2_show_state() reports that.
	 */
	arch_prctl_spec_ctrl_set(current, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_DISABLE);

	/* For /proc/PID/stat: the executable has no text segment. */
	list_for_each_entry(app, &ukl_apps, list) {
		if (regs->ip >= (unsigned long)app->text &&
		    regs->ip < (unsigned long)app->text_end) {
			mm->context.ukl_app = app;
			mm->start_code = (unsigned long)app->text;
			mm->end_code = (unsigned long)app->text_end;
		}
	}

	/*
	 * The auxiliary vector is complete. The kernel must not use the vDSO of a
	 * linked-in application.
	 */
	if (mm->context.ukl_app)
		mm->context.vdso = NULL;

	regs->csx = __KERNEL_CS | UKL_CSX_APP;
	regs->ssx = __KERNEL_DS;
	/* Allow access to the application's data, which is in user pages. */
	if (cpu_feature_enabled(X86_FEATURE_SMAP))
		regs->flags |= X86_EFLAGS_AC;
}

/**
 * ukl_text_page - get the page at an address of application text
 * @addr:	address
 *
 * Return: the page of the kernel image, or NULL if @addr is not in application
 * text.
 */
struct page *ukl_text_page(unsigned long addr)
{
	return ukl_text_address(addr) ? pfn_to_page(PHYS_PFN(__pa_symbol(addr))) : NULL;
}

/**
 * ukl_text_vma - get the VMA that describes an application's text
 * @mm:	an address space, or NULL
 *
 * It is used for /proc/PID/maps and core dumps.
 *
 * Return: a VMA that is not part of the address space, like that of the
 * vsyscall page, or NULL if @mm is not an application's.
 */
struct vm_area_struct *ukl_text_vma(struct mm_struct *mm)
{
	if (!mm || !mm->context.ukl_app)
		return NULL;
	return (struct vm_area_struct *)&mm->context.ukl_app->vma;
}

/**
 * ukl_read_text - read an application's text for a tracer
 * @mm:	the application's address space
 * @addr:	start address
 * @buf:	destination buffer
 * @len:	number of bytes
 *
 * Return: the number of bytes read.
 */
int ukl_read_text(struct mm_struct *mm, unsigned long addr, void *buf, int len)
{
	const struct vm_area_struct *vma = ukl_text_vma(mm);

	if (!vma || addr < vma->vm_start || addr >= vma->vm_end)
		return 0;
	len = min_t(unsigned long, len, vma->vm_end - addr);
	memcpy(buf, (const void *)addr, len);
	return len;
}

#ifndef CONFIG_X86_VSYSCALL_EMULATION
struct vm_area_struct *get_gate_vma(struct mm_struct *mm)
{
	return ukl_text_vma(mm);
}

int in_gate_area(struct mm_struct *mm, unsigned long addr)
{
	const struct vm_area_struct *vma = ukl_text_vma(mm);

	return vma && addr >= vma->vm_start && addr < vma->vm_end;
}

int in_gate_area_no_mm(unsigned long addr)
{
	return 0;
}
#endif

static const char *ukl_vma_name(struct vm_area_struct *vma)
{
	return "[ukl]";
}

static const struct vm_operations_struct ukl_vma_ops = {
	.name	= ukl_vma_name,
};

/*
 * The marker file decides who may run code in supervisor mode. It counts only
 * if it is owned by root of the initial user namespace, not writable by group
 * or others, and on a mount where set-user-ID programs take effect.
 * (do_open_execat() has already refused noexec mounts.)
 */
static bool ukl_marker_trusted(const struct file *file)
{
	/* A mapping of a file of overlayfs has a file of the layer below. */
	const struct path *path = file_user_path(file);
	struct inode *inode = d_inode(path->dentry);
	vfsuid_t owner = i_uid_into_vfsuid(mnt_idmap(path->mnt), inode);

	return vfsuid_eq_kuid(owner, GLOBAL_ROOT_UID) &&
	       !(inode->i_mode & 0022) &&
	       S_ISREG(inode->i_mode) && mnt_may_suid(path->mnt);
}

/* Memory of memfd_create(), shmget(), MAP_SHARED or MAP_HUGETLB */
static bool ukl_memory_file(const struct file *file)
{
	return file_user_path(file)->mnt->mnt_flags & MNT_INTERNAL;
}

/**
 * ukl_may_execute - may the current process execute this mapping?
 * @file:	the mapped file, or NULL
 * @written:	may the memory differ from the file?
 * @vm_flags:	the flags that the mapping will have
 *
 * An application is only as trustworthy as the code that it executes. What it maps
 * from a file has the rules of the marker file. Its marker says whether it may execute
 * anything else. Mappings without VM_UKL belong to a normal process, or to an
 * application that cannot execute user memory at all.
 *
 * Return: 0, or -EACCES.
 */
int ukl_may_execute(const struct file *file, bool written, unsigned long vm_flags)
{
	const unsigned long *context = &current->mm->context.flags;
	const char *what;

	if (!(vm_flags & VM_UKL) || !(vm_flags & VM_EXEC))
		return 0;
	if ((vm_flags & VM_WRITE) && !test_bit(MM_CONTEXT_UKL_WX, context)) {
		what = "it is writable";
	} else if (!file || written || ukl_memory_file(file)) {
		if (test_bit(MM_CONTEXT_UKL_JIT, context))
			return 0;
		what = "the process can have written to it";
	} else {
		if (ukl_marker_trusted(file))
			return 0;
		what = "not owned by root, writable by others, or on a nosuid mount";
	}
	if (file)
		pr_notice_ratelimited("%s[%d] may not execute %pD: %s\n", current->comm,
				      task_pid_nr(current), file, what);
	else
		pr_notice_ratelimited("%s[%d] may not execute memory: %s\n", current->comm,
				      task_pid_nr(current), what);
	return -EACCES;
}

/**
 * ukl_may_write_text - may a process write its own text by /proc/self/mem?
 * @mm:	its address space
 *
 * Such a write ignores that the text is read-only. For an application it makes what
 * was written executable, which needs UKL_MARKER_JIT.
 */
bool ukl_may_write_text(const struct mm_struct *mm)
{
	return !mm_is_ukl(mm) || test_bit(MM_CONTEXT_UKL_JIT, &mm->context.flags);
}

/*
 * Apply the rules for a set-user-ID root program:
 *
 * - Conditions that make such a program lose its privileges (a tracer,
 *   no_new_privs, a file system context shared with another process) make the
 *   start fail, unless the caller and its tracer could do the same harm
 *   themselves.
 * - Root's permission holds in the initial user namespace only.
 * - The capability bounding set limits the privileges gained by execve().
 *
 * To a security module the start is the loading of a kernel module from the
 * marker file.
 */
static int ukl_may_start(const struct linux_binprm *bprm)
{
	if (current_user_ns() != &init_user_ns)
		return -EPERM;
	if (!cap_raised(current_cred()->cap_bset, CAP_SYS_RAWIO))
		return -EPERM;
	if (bprm->unsafe && !ukl_may_rawio())
		return -EPERM;
	if ((bprm->unsafe & LSM_UNSAFE_PTRACE) && !ptracer_capable(current, &init_user_ns))
		return -EPERM;
	return security_kernel_read_file(bprm->file, READING_MODULE, false);
}

/* Run @file in application mode, and take over the caller's reference to it. */
static int ukl_take_program(struct linux_binprm *bprm, struct file *file, unsigned int flags)
{
	if (exe_file_deny_write_access(file)) {
		fput(file);
		return -ETXTBSY;
	}
	bprm->ukl_marker = file;
	bprm->ukl_flags = flags | UKL_BPRM_PROGRAM;
	bprm->interp_flags |= BINPRM_FLAGS_ENFORCE_NONDUMP;
	return 0;
}

static int ukl_load_program(struct linux_binprm *bprm)
{
	const struct ukl_program_marker *marker = (const struct ukl_program_marker *)bprm->buf;
	unsigned int flags = marker->flags;
	char ident[EI_CLASS + 1];
	struct file *file;
	loff_t pos = 0;
	int err;

	BUILD_BUG_ON(sizeof(*marker) > sizeof(bprm->buf));

	if (!ukl_programs ||
	    !ukl_program_marker_valid(marker, i_size_read(file_inode(bprm->file)))) {
		pr_notice_ratelimited("%s: %s\n", bprm->filename, ukl_programs ?
				      "not a valid marker file of a program" :
				      "boot the kernel with ukl.programs=1 to start programs");
		return -ENOEXEC;
	}
	if (!ukl_marker_trusted(bprm->file)) {
		pr_notice_ratelimited("%s: must be owned by root, writable by nobody else, and not on a nosuid mount\n",
				      bprm->filename);
		return -EACCES;
	}
	err = ukl_may_start(bprm);
	if (err)
		return err;
	/* There, the path leads to another file. */
	if (current_chrooted()) {
		pr_notice_ratelimited("%s: the caller is in a chroot\n", bprm->filename);
		return -EPERM;
	}

	file = open_exec(marker->path);
	if (IS_ERR(file))
		return PTR_ERR(file);
	err = -ENOEXEC;
	if (kernel_read(file, ident, sizeof(ident), &pos) != sizeof(ident) || !ukl_elf64(ident)) {
		pr_notice_ratelimited("%s: %s is not a 64-bit ELF file\n", bprm->filename,
				      marker->path);
		goto put;
	}
	err = -EACCES;
	if (!ukl_marker_trusted(file)) {
		pr_notice_ratelimited("%s: %s must be owned by root, writable by nobody else, and not on a nosuid mount\n",
				      bprm->filename, marker->path);
		goto put;
	}
	err = ukl_take_program(bprm, get_file(file), flags);
	if (err)
		goto put;
	bprm->interpreter = file;
	return 0;
put:
	exe_file_allow_write_access(file);
	fput(file);
	return err;
}

/**
 * ukl_inherit - run a program in application mode because the caller of execve() does
 * @bprm:	the program that is being loaded, before the point of no return
 *
 * This needs UKL_MARKER_TREE in the marker of the caller. The rules for the program are
 * those of a marker file. If it does not meet them, it becomes a normal process.
 */
void ukl_inherit(struct linux_binprm *bprm)
{
	unsigned int flags = UKL_MARKER_EXEC | UKL_MARKER_TREE;
	const unsigned long *context;

	if (bprm->ukl_marker || !ukl_current())
		return;
	context = &current->mm->context.flags;
	if (!test_bit(MM_CONTEXT_UKL_TREE, context) ||
	    !ukl_elf64(bprm->buf) || !ukl_marker_trusted(bprm->file) || ukl_may_start(bprm))
		return;
	if (test_bit(MM_CONTEXT_UKL_RET, context))
		flags |= UKL_MARKER_RET;
	if (test_bit(MM_CONTEXT_UKL_JIT, context))
		flags |= UKL_MARKER_JIT;
	if (test_bit(MM_CONTEXT_UKL_WX, context))
		flags |= UKL_MARKER_WX;
	ukl_take_program(bprm, get_file(bprm->file), flags);
}

static int load_ukl_marker(struct linux_binprm *bprm)
{
	const struct ukl_marker *marker = ukl_elf_marker(bprm->buf);
	loff_t size = sizeof(*marker);
	struct ukl_app *app;
	struct file *file;
	int err;

	BUILD_BUG_ON(sizeof(struct elf64_hdr) + sizeof(struct ukl_marker_note) >
		     sizeof(bprm->buf));

	if (bprm->ukl_marker)
		return -ENOEXEC;
	if (ukl_program_marker_magic((const struct ukl_program_marker *)bprm->buf))
		return ukl_load_program(bprm);
	if (!marker) {
		marker = (const struct ukl_marker *)bprm->buf;
		if (!ukl_marker_magic(marker))
			return -ENOEXEC;
		size = i_size_read(file_inode(bprm->file));
	}

	if (!ukl_marker_valid(marker, size)) {
		pr_notice_ratelimited("%s: not a marker file of version %d\n",
				      bprm->filename, UKL_MARKER_VERSION);
		return -ENOEXEC;
	}
	app = ukl_find_app(marker->name);
	if (!app) {
		pr_notice_ratelimited("%s: no application '%s' in this kernel\n",
				      bprm->filename, marker->name);
		return -ENOEXEC;
	}
	if (memcmp(marker->build_id, app->marker.build_id, sizeof(marker->build_id))) {
		pr_notice_ratelimited("%s: belongs to another kernel (build id %*phN, this is %*phN)\n",
				      bprm->filename, UKL_BUILD_ID_SIZE, marker->build_id,
				      UKL_BUILD_ID_SIZE, app->marker.build_id);
		return -ENOEXEC;
	}
	if (!ukl_marker_trusted(bprm->file)) {
		pr_notice_ratelimited("%s: must be owned by root, not writable by group or others, and not on a nosuid mount\n",
				      bprm->filename);
		return -EACCES;
	}
	err = ukl_may_start(bprm);
	if (err)
		return err;

	file = dentry_open(&app->file->f_path, O_RDONLY, current_cred());
	if (IS_ERR(file))
		return PTR_ERR(file);
	/* As in open_exec(). free_bprm() releases it. */
	if (exe_file_deny_write_access(file)) {
		fput(file);
		return -ETXTBSY;
	}
	if (exe_file_deny_write_access(bprm->file)) {
		exe_file_allow_write_access(file);
		fput(file);
		return -ETXTBSY;
	}

	/* Credentials and /proc/PID/exe come from the marker file. */
	bprm->ukl_marker = get_file(bprm->file);
	bprm->ukl_flags = marker->flags;
	/* Deny reading and tracing by processes that only have the same uid. */
	bprm->interp_flags |= BINPRM_FLAGS_ENFORCE_NONDUMP;
	bprm->interpreter = file;
	return 0;
}

static struct linux_binfmt ukl_format = {
	.load_binary	= load_ukl_marker,
};

static void ukl_app_release(struct kobject *kobj)
{
	struct ukl_app *app = container_of(kobj, struct ukl_app, kobj);

	if (!IS_ERR_OR_NULL(app->file))
		fput(app->file);
	kfree(app);
}

static const struct kobj_type ukl_app_type = {
	.sysfs_ops	= &kobj_sysfs_ops,
	.release	= ukl_app_release,
};

/* Content of a piece, in the image that is freed with the init data */
static const void *__init ukl_content(const struct ukl_app_info *info, u64 vaddr)
{
	return info->image + (vaddr - info->low);
}

static void __init ukl_filter_rela(const struct ukl_app_info *info, void *common)
{
	ukl_own_rela(common + (info->rela - info->common.vaddr),
		     common + (info->rela_end - info->common.vaddr),
		     (unsigned long)info->text, (unsigned long)info->text_end);
}

static int __init ukl_write(struct file *file, const void *content, u64 size, loff_t *pos)
{
	u64 done = 0;

	while (done < size) {
		ssize_t n = kernel_write(file, content + done, size - done, pos);

		if (n <= 0)
			return n ?: -EIO;
		done += n;
	}
	/* The pieces start at page boundaries, see app-rw.lds. */
	*pos = ALIGN(*pos, PAGE_SIZE);
	return 0;
}

static int __init ukl_fill_file(struct file *file, const struct ukl_app_info *info)
{
	loff_t pos = 0;
	void *common;
	int err;

	common = kvmalloc(info->common.size, GFP_KERNEL);
	if (!common)
		return -ENOMEM;
	memcpy(common, ukl_content(info, info->common.vaddr), info->common.size);
	ukl_filter_rela(info, common);

	err = ukl_write(file, ukl_content(info, info->ro.vaddr), info->ro.size, &pos);
	if (!err)
		err = ukl_write(file, common, info->common.size, &pos);
	if (!err)
		err = ukl_write(file, ukl_content(info, info->rw.vaddr), info->rw.size, &pos);
	kvfree(common);
	return err;
}

/* Create the internal file, a copy of the data in the kernel image. */
static struct file *__init ukl_make_file(const struct ukl_app_info *info)
{
	u64 size = ALIGN(info->ro.size, PAGE_SIZE) + ALIGN(info->common.size, PAGE_SIZE) +
		   info->rw.size;
	struct file *file;
	char *name;
	int err;

	name = kasprintf(GFP_KERNEL, "ukl:%s", info->name);
	if (!name)
		return ERR_PTR(-ENOMEM);
	file = shmem_kernel_file_setup(name, size, mk_vma_flags(VMA_NORESERVE_BIT));
	kfree(name);
	if (IS_ERR(file))
		return file;

	err = ukl_fill_file(file, info);
	if (err) {
		fput(file);
		return ERR_PTR(err);
	}
	/* All processes that run the application share its pages. */
	SHMEM_I(file_inode(file))->seals = F_SEAL_SEAL | F_SEAL_SHRINK |
					   F_SEAL_GROW | F_SEAL_WRITE;
	return file;
}

/* Create the sysfs file from which marker files are copied. */
static int __init ukl_add_attr(struct ukl_app *app)
{
	sysfs_bin_attr_init(&app->attr);
	app->attr.attr.name = "marker";
	app->attr.attr.mode = 0444;
	app->attr.size = sizeof(app->marker);
	app->attr.private = &app->marker;
	app->attr.read = sysfs_bin_attr_simple_read;
	return sysfs_create_bin_file(&app->kobj, &app->attr);
}

extern const void __start_notes, __stop_notes;

static int __init ukl_add_app(struct kobject *parent, const struct ukl_app_info *info)
{
	struct ukl_app *app;
	int err;

	app = kzalloc(sizeof(*app), GFP_KERNEL);
	if (!app)
		return -ENOMEM;
	kobject_init(&app->kobj, &ukl_app_type);

	memcpy(app->marker.magic, UKL_MARKER_MAGIC, sizeof(app->marker.magic));
	app->marker.version = UKL_MARKER_VERSION;
	strscpy(app->marker.name, info->name);
	app->text = info->text;
	app->text_end = info->text_end;
	app->vma.vm_start = PAGE_ALIGN_DOWN((unsigned long)info->text);
	app->vma.vm_end = PAGE_ALIGN((unsigned long)info->text_end);
	app->vma.vm_page_prot = PAGE_READONLY_EXEC;
	app->vma.vm_ops = &ukl_vma_ops;
	vm_flags_init(&app->vma, VM_READ | VM_EXEC);
	err = build_id_parse_buf(&__start_notes, app->marker.build_id,
				 &__stop_notes - &__start_notes);
	if (err)
		goto put;

	app->file = ukl_make_file(info);
	err = PTR_ERR_OR_ZERO(app->file);
	if (err)
		goto put;

	err = kobject_add(&app->kobj, parent, "%s", info->name);
	if (!err)
		err = ukl_add_attr(app);
	if (err)
		goto put;

	list_add_tail(&app->list, &ukl_apps);
	pr_info("application '%s': %zu KiB of text, %llu KiB of initial data\n",
		info->name, (info->text_end - info->text) / 1024,
		(info->ro.size + info->common.size + info->rw.size) / 1024);
	return 0;
put:
	kobject_put(&app->kobj);
	return err;
}

static int __init ukl_init(void)
{
	const struct ukl_app_info *info;
	struct kobject *parent;

	idt_setup_ukl();

	if (ukl_programs)
		ukl_map_entries();
	/* Before the format of ELF files, which marker files can be, too */
	if (ukl_programs || ukl_linked())
		insert_binfmt(&ukl_format);
	if (!ukl_linked())
		return 0;

	parent = kobject_create_and_add("ukl", kernel_kobj);
	if (!parent)
		return -ENOMEM;

	for (info = __ukl_apps_start; info < __ukl_apps_end; info++) {
		int err = ukl_add_app(parent, info);

		if (err)
			pr_err("application '%s': error %d\n", info->name, err);
	}
#ifdef CONFIG_PARAVIRT_CLOCK
	ukl_pvclock = pvclock_get_pvti_cpu0_va();
#endif
#ifdef CONFIG_HYPERV_TIMER
	ukl_hvclock = hv_get_tsc_page();
#endif
	return 0;
}
late_initcall(ukl_init);
