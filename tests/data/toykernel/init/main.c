/* SPDX-License-Identifier: GPL-2.0 */
const char banner[] = "toy kernel " __FILE__;
extern void setup_arch(void);
void kernel_only(void) { }
void start_kernel(void) { setup_arch(); }
