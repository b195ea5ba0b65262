/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ARCH_X86_UKL_SHORTCUT_H
#define _ARCH_X86_UKL_SHORTCUT_H

#include <linux/compiler_types.h>
#include <linux/types.h>

struct file;

long ukl_socket_open(int fd, unsigned long __user *socket);
void ukl_socket_close(struct file *file);
long ukl_socket_send(struct file *file, const void __user *data, size_t size,
		     unsigned int flags);
long ukl_socket_recv(struct file *file, void __user *data, size_t size, unsigned int flags);
long ukl_socket_poll(struct file *file);
long ukl_page_entry(unsigned long address, unsigned long __user *entry);
long ukl_rdmsr(unsigned int msr, unsigned long __user *value);
long ukl_wrmsr(unsigned int msr, unsigned long value);
long ukl_run_to_completion(int on);

#endif /* _ARCH_X86_UKL_SHORTCUT_H */
