/* SPDX-License-Identifier: GPL-2.0 */
unsigned long root(unsigned long number);
