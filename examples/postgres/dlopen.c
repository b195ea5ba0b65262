// SPDX-License-Identifier: GPL-2.0
/*
 * The server's own dlopen(), dlsym(), dlclose() and dlerror(), under other names.
 *
 * Ring 0 executes no code in user pages, and a shared object is in user pages. The modules
 * that PostgreSQL loads at run time are therefore linked in, each with its own prefix for
 * names (modules.sh), and "loading" one finds its table. The server still looks for the file
 * first, which keeps its rules on which user may load what; the file's content is not read.
 */
#include "c.h"

#include "modules.h"

static const char *problem;

void *
dlopen(const char *file, int mode)
{
	const char *slash = strrchr(file, '/');
	const char *name = slash ? slash + 1 : file;
	size_t		length = strcspn(name, ".");

	for (const struct linked_module *module = linked_modules; module->name; module++)
		if (strlen(module->name) == length && strncmp(module->name, name, length) == 0)
			return (void *) module;
	problem = "this server has all its modules linked in, and this is none of them";
	return NULL;
}

void *
dlsym(void *handle, const char *symbol)
{
	const struct linked_module *module = handle;

	for (const struct linked_symbol *entry = module->symbols; entry->name; entry++)
		if (strcmp(entry->name, symbol) == 0)
			return entry->address;
	problem = "the module has no such symbol";
	return NULL;
}

int
dlclose(void *handle)
{
	return 0;
}

char *
dlerror(void)
{
	const char *text = problem;

	problem = NULL;
	return (char *) text;
}
