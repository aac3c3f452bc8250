/* SPDX-License-Identifier: MIT */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* libFuzzer's entry point; standalone.c calls it, too. Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. Not assert(): it must not go away with NDEBUG. */
#define MUST(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

#endif
