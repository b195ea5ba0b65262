/* SPDX-License-Identifier: GPL-2.0 */
/* The tables that modules.sh writes and dlopen.c searches. */
struct linked_symbol
{
	const char *name;			/* as in the module's source; NULL ends the table */
	void	   *address;
};

struct linked_module
{
	const char *name;			/* of the file, without `.so`; NULL ends the table */
	const struct linked_symbol *symbols;
};

extern const struct linked_module linked_modules[];
