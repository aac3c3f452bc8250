/* SPDX-License-Identifier: MIT */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H
/* Latencies of a run, and what they come down to. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tally {
	int64_t *usecs;
	size_t count, alloc;
};

int64_t now_usecs(void);
void tally_add(struct tally *tally, int64_t usecs);
/* Prints "seconds", "rate", "p50_us", "p99_us", "max_us" as members of a JSON object. */
void tally_print(struct tally *tally, double seconds);

#endif
