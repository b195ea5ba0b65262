// SPDX-License-Identifier: GPL-2.0
/*
 * Python as one program: the interpreter of libpython3.N-pic.a and built-in modules.
 *
 * The standard library is /usr/lib/python3N.zip. There is no search for it: the guest has
 * one Python.
 */
#include <Python.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

#define HOME "/usr"

#define MODULE(name) PyObject *PyInit_##name(void);
#include "ukl-modules.h"
#undef MODULE

static struct _inittab modules[] = {
#define MODULE(name) { #name, PyInit_##name },
#include "ukl-modules.h"
#undef MODULE
	{ NULL, NULL },
};

#define LITERAL(word) #word
#define TEXT(macro) LITERAL(macro)

/*
 * These two replace the interpreter's own, which call dlopen(): the code of a shared object
 * is in user pages, which ring 0 may not execute. `import` therefore raises an ImportError
 * with the reason, and packages with a slower module in Python fall back to that.
 */
const char *_PyImport_DynLoadFiletab[] = {
	".cpython-" TEXT(PY_MAJOR_VERSION) TEXT(PY_MINOR_VERSION) "-x86_64-linux-gnu.so",
	".abi3.so",
	".so",
	NULL,
};

typedef void (*dl_funcptr)(void);

dl_funcptr _PyImport_FindSharedFuncptr(const char *prefix, const char *shortname,
				       const char *pathname, FILE *file)
{
	PyObject *message, *name, *path;

	message = PyUnicode_FromFormat("%s is a shared object, and its code cannot run in the "
				       "kernel; use a version of `%s` that is pure Python",
				       pathname, shortname);
	name = PyUnicode_FromString(shortname);
	path = PyUnicode_DecodeFSDefault(pathname);
	if (message && name && path)
		PyErr_SetImportError(message, name, path);
	Py_XDECREF(message);
	Py_XDECREF(name);
	Py_XDECREF(path);
	return NULL;
}

static PyStatus configure(PyConfig *config, int argc, char **argv)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	PyStatus status;

	status = PyConfig_SetBytesArgv(config, argc, argv);
	if (PyStatus_Exception(status))
		return status;
	if (!getenv("PYTHONHOME")) {
		status = PyConfig_SetBytesString(config, &config->home, HOME);
		if (PyStatus_Exception(status))
			return status;
	}
	/* sys.executable, for programs that start themselves again. */
	if (self && *self == '/')
		status = PyConfig_SetBytesString(config, &config->executable, self);
	return status;
}

int main(int argc, char **argv)
{
	PyConfig config;
	PyStatus status;

	if (PyImport_ExtendInittab(modules)) {
		fputs("python: no memory\n", stderr);
		return 1;
	}
	PyConfig_InitPythonConfig(&config);
	status = configure(&config, argc, argv);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
	return Py_RunMain();
}
