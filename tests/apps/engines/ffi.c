// SPDX-License-Identifier: GPL-2.0
/* Calls a closure, which is code that libffi generates. */
#include <ffi.h>
#include <stdio.h>

static void called(ffi_cif *cif, void *result, void **args, void *three)
{
	(void)cif;
	*(ffi_arg *)result = *(int *)args[0] + *(int *)three;
}

int main(void)
{
	ffi_type *types[] = { &ffi_type_sint };
	ffi_closure *closure;
	int three = 3;
	void *code;
	ffi_cif cif;

	closure = ffi_closure_alloc(sizeof(*closure), &code);
	if (!closure || ffi_prep_cif(&cif, FFI_DEFAULT_ABI, 1, &ffi_type_sint, types) ||
	    ffi_prep_closure_loc(closure, &cif, called, &three, code))
		return 1;
	printf("prepared\n");
	fflush(stdout);
	printf("called %d\n", ((int (*)(int))code)(39));
	return 0;
}
