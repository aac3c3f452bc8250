/* SPDX-License-Identifier: MIT */
#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int64_t now_usecs(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void tally_add(struct tally *tally, int64_t usecs)
{
	if (tally->count == tally->alloc) {
		tally->alloc = tally->alloc * 2 + 1024;
		tally->usecs = realloc(tally->usecs, tally->alloc * sizeof(*tally->usecs));
		if (tally->usecs == NULL)
			abort();
	}
	tally->usecs[tally->count++] = usecs;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static long long at(const struct tally *tally, size_t percent)
{
	return tally->count == 0 ? 0 : (long long)tally->usecs[(tally->count - 1) * percent / 100];
}

void tally_print(struct tally *tally, double seconds)
{
	if (tally->count > 0)
		qsort(tally->usecs, tally->count, sizeof(*tally->usecs), by_size);
	printf("\"seconds\": %.4f, \"rate\": %.1f, \"p50_us\": %lld, \"p99_us\": %lld, \"max_us\": %lld", seconds,
	       seconds > 0 ? (double)tally->count / seconds : 0, at(tally, 50), at(tally, 99), at(tally, 100));
}
