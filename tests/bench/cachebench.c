/* SPDX-License-Identifier: MIT */
/* What a hit costs the broker's core: find, verify the password, copy the token, at several sizes of the cache.
 *
 * usage: cachebench [token=OCTETS] [ENTRIES]... */
#include "core/cache.h"
#include "core/mem.h"
#include "core/verifier.h"
#include "poll_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HITS 200000u

static size_t token_size = 2000;

static unsigned long resident_kib(void)
{
	unsigned long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file != NULL && fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	if (file != NULL)
		fclose(file);
	return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void name_of(char name_r[static 64], unsigned int number)
{
	snprintf(name_r, 64, "user%u@bench.test", number);
}

static void fill(struct mauth_cache *cache, unsigned int entries, const struct mauth_secret *password)
{
	char *octets = mauth_new(token_size + 1), name[64];
	struct mauth_secret *token;

	for (size_t i = 0; i < token_size; i++)
		octets[i] = (char)('a' + i % 26);
	token = mauth_secret_new(octets, token_size);
	for (unsigned int i = 0; i < entries; i++) {
		name_of(name, i);
		mauth_cache_put(cache, &(struct mauth_cache_item){ .upn = name, .password = password, .token = token,
								   .expires_in = 3600, .refresh_in = 3000 });
	}
	mauth_secret_free(&token);
	free(octets);
}

static void measure(struct poll_loop *loop, unsigned int entries)
{
	struct mauth_verifier_key key;
	struct mauth_cache *cache = mauth_cache_new(poll_loop_loop(loop), &key, (uint64_t)1 << 40);
	struct mauth_secret *password = mauth_secret_new("correct horse battery", 21);
	unsigned long before = resident_kib();
	unsigned int state = 1, good = 0;
	int64_t begin, end;
	char name[64];

	mauth_verifier_key_new(&key);
	fill(cache, entries, password);
	begin = mauth_mono_usecs(poll_loop_loop(loop));
	for (unsigned int i = 0; i < HITS; i++) {
		struct mauth_cache_entry *entry;
		struct mauth_secret *token;

		state = state * 1664525u + 1013904223u;
		name_of(name, (unsigned int)(((uint64_t)state * entries) >> 32));
		entry = mauth_cache_find(cache, 0, name);
		if (entry == NULL || !mauth_cache_verify(cache, entry, password))
			continue;
		token = mauth_cache_token(entry);
		mauth_secret_free(&token);
		good++;
	}
	end = mauth_mono_usecs(poll_loop_loop(loop));
	printf("{\"entries\": %u, \"hits\": %u, \"ns\": %.0f, \"octets_per_entry\": %.0f}\n", entries, good,
	       (double)(end - begin) * 1000 / HITS, (double)(resident_kib() - before) * 1024 / entries);
	fflush(stdout);
	mauth_secret_free(&password);
	mauth_cache_free(&cache);
}

int main(int argc, char **argv)
{
	struct poll_loop *loop = poll_loop_new();

	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "token=%zu", &token_size) != 1)
			measure(loop, (unsigned int)strtoul(argv[i], NULL, 10));
	poll_loop_free(&loop);
	return 0;
}
