// SPDX-License-Identifier: GPL-2.0
/* Matches with a pattern that PCRE2 was asked to compile to machine code. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	PCRE2_SPTR pattern = (PCRE2_SPTR)"(ab)+$", text = (PCRE2_SPTR)"xxabab";
	pcre2_match_data *data;
	pcre2_code *code;
	PCRE2_SIZE at;
	int error;

	code = pcre2_compile(pattern, PCRE2_ZERO_TERMINATED, 0, &error, &at, NULL);
	data = pcre2_match_data_create_from_pattern(code, NULL);
	printf("compiled %d\n", pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0);
	fflush(stdout);
	printf("match %d\n", pcre2_match(code, text, 6, 0, 0, data, NULL));
	return 0;
}
