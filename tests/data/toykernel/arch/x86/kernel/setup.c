/* SPDX-License-Identifier: GPL-2.0 */
extern void kernel_only(void);

int first;
int second;
int third;
int fourth;
int fifth;
int sixth;
int seventh;

void setup_arch(void)
{
	kernel_only();
}
