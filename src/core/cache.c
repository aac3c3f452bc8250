/* SPDX-License-Identifier: MIT */
#include "core/cache.h"

#include "core/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

struct mauth_cache {
	struct mauth_table table;
	const struct mauth_loop *loop;
	const struct mauth_verifier_key *key;
	uint64_t max_octets, octets, evicted;
};

static struct mauth_cache_entry *entry_of(struct mauth_node *node)
{
	return (struct mauth_cache_entry *)node;       /* node is the first member */
}

const char *mauth_cache_upn(const struct mauth_cache_entry *entry)
{
	return entry->data;
}

static const char *node_upn(const struct mauth_node *node)
{
	return ((const struct mauth_cache_entry *)node)->data;
}

static const char *token_of(const struct mauth_cache_entry *entry)
{
	return entry->data + entry->upn_size + 1;
}

static size_t entry_size(size_t upn_size, size_t token_size)
{
	return sizeof(struct mauth_cache_entry) + upn_size + 1 + token_size + 1;
}

/* What an entry really costs: its block, malloc's word before it, and its share of the buckets. */
static uint64_t entry_octets(struct mauth_cache_entry *entry)
{
	return malloc_usable_size(entry) + sizeof(size_t) + 2 * sizeof(void *);
}

struct mauth_cache *mauth_cache_new(const struct mauth_loop *loop, const struct mauth_verifier_key *key,
				    uint64_t max_octets)
{
	struct mauth_cache *cache = mauth_new(sizeof(*cache));

	mauth_table_init(&cache->table, key, node_upn);
	cache->loop = loop;
	cache->key = key;
	cache->max_octets = max_octets;
	return cache;
}

void mauth_cache_drop(struct mauth_cache *cache, struct mauth_cache_entry **entry)
{
	cache->octets -= entry_octets(*entry);
	mauth_table_remove(&cache->table, &(*entry)->node);
	mauth_wipe(*entry, entry_size((*entry)->upn_size, (*entry)->token_size));
	free(*entry);
	*entry = NULL;
}

static void drop_oldest(struct mauth_cache *cache)
{
	struct mauth_cache_entry *entry = entry_of(cache->table.oldest);

	mauth_cache_drop(cache, &entry);
}

void mauth_cache_free(struct mauth_cache **cache)
{
	if (*cache == NULL)
		return;
	while ((*cache)->table.oldest != NULL)
		drop_oldest(*cache);
	mauth_table_free(&(*cache)->table);
	free(*cache);
	*cache = NULL;
}

int64_t mauth_cache_life(const struct mauth_cache *cache, const struct mauth_cache_entry *entry)
{
	int64_t wall = entry->expires_wall - mauth_wall_secs(cache->loop);
	int64_t mono = entry->expires_mono - mauth_mono_msecs(cache->loop) / 1000;

	return wall < mono ? wall : mono;
}

struct mauth_cache_entry *mauth_cache_find(struct mauth_cache *cache, uint32_t tenant, const char *upn)
{
	struct mauth_node *node = mauth_table_find(&cache->table, tenant, upn);
	struct mauth_cache_entry *entry;

	if (node == NULL)
		return NULL;
	entry = entry_of(node);
	if (mauth_cache_life(cache, entry) <= 0) {
		mauth_cache_drop(cache, &entry);
		return NULL;
	}
	mauth_table_touch(&cache->table, node);
	return entry;
}

bool mauth_cache_verify(const struct mauth_cache *cache, const struct mauth_cache_entry *entry,
			const struct mauth_secret *password)
{
	unsigned char verifier[MAUTH_VERIFIER_SIZE];

	if (!entry->bound)
		return false;
	mauth_verifier(cache->key, entry->salt, entry->node.tenant, entry->data, password, verifier);
	return mauth_equal_secret(verifier, entry->verifier, sizeof(verifier));
}

struct mauth_secret *mauth_cache_token(const struct mauth_cache_entry *entry)
{
	return mauth_secret_new(token_of(entry), entry->token_size);
}

void mauth_cache_token_id(const struct mauth_cache_entry *entry, char id_r[static MAUTH_TOKEN_ID_SIZE])
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < MAUTH_TOKEN_ID_RAW; i++) {
		id_r[2 * i] = hex[entry->token_id[i] >> 4];
		id_r[2 * i + 1] = hex[entry->token_id[i] & 15];
	}
	id_r[MAUTH_TOKEN_ID_SIZE - 1] = '\0';
}

static unsigned char hex_value(char c)
{
	return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* A block with names, token and token id; the rest is the caller's to fill. */
static struct mauth_cache_entry *entry_new(const char *upn, const void *token, size_t token_size)
{
	size_t upn_size = strlen(upn);
	struct mauth_cache_entry *entry = mauth_new(entry_size(upn_size, token_size));
	char id[MAUTH_TOKEN_ID_SIZE];

	entry->forced_mono = INT64_MIN / 2;
	entry->upn_size = (uint16_t)upn_size;
	entry->token_size = (uint32_t)token_size;
	memcpy(entry->data, upn, upn_size);
	memcpy(entry->data + upn_size + 1, token, token_size);
	mauth_token_id(token, token_size, id);
	for (size_t i = 0; i < MAUTH_TOKEN_ID_RAW; i++)
		entry->token_id[i] = (unsigned char)(hex_value(id[2 * i]) << 4 | hex_value(id[2 * i + 1]));
	return entry;
}

static void entry_insert(struct mauth_cache *cache, struct mauth_cache_entry *entry, uint32_t tenant)
{
	struct mauth_node *same = mauth_table_find(&cache->table, tenant, entry->data);

	if (same != NULL) {
		struct mauth_cache_entry *old = entry_of(same);

		if (old->forced_mono > entry->forced_mono)
			entry->forced_mono = old->forced_mono;
		if (old->refusals > entry->refusals) {
			entry->refusals = old->refusals;
			entry->refused_until = old->refused_until;
		}
		mauth_cache_drop(cache, &old);
	}
	mauth_table_insert(&cache->table, &entry->node, tenant, entry->data);
	cache->octets += entry_octets(entry);
	/* It would only take everybody else's along before it goes itself. */
	if (entry_octets(entry) > cache->max_octets) {
		mauth_cache_drop(cache, &entry);
		cache->evicted++;
		return;
	}
	while (cache->octets > cache->max_octets && cache->table.oldest != NULL) {
		drop_oldest(cache);
		cache->evicted++;
	}
}

void mauth_cache_put(struct mauth_cache *cache, const struct mauth_cache_item *item)
{
	struct mauth_cache_entry *entry = entry_new(item->upn, mauth_secret_expose(item->token),
						    mauth_secret_size(item->token));
	int64_t mono = mauth_mono_msecs(cache->loop) / 1000;

	entry->expires_wall = mauth_wall_secs(cache->loop) + item->expires_in;
	entry->expires_mono = mono + item->expires_in;
	entry->refresh_mono = mono + item->refresh_in;
	entry->bound = item->password != NULL;
	if (entry->bound) {
		mauth_random(entry->salt, sizeof(entry->salt));
		mauth_verifier(cache->key, entry->salt, item->tenant, item->upn, item->password, entry->verifier);
	}
	entry_insert(cache, entry, item->tenant);
}

void mauth_cache_adopt(struct mauth_cache *cache, const struct mauth_cache_entry *head, uint32_t tenant,
		       const char *upn, const void *token, size_t token_size)
{
	struct mauth_cache_entry *entry = entry_new(upn, token, token_size);

	entry->expires_wall = head->expires_wall;
	entry->expires_mono = head->expires_mono;
	entry->refresh_mono = head->refresh_mono;
	entry->refused_until = head->refused_until;
	entry->forced_mono = head->forced_mono;
	entry->refused = head->refused;
	entry->refusals = head->refusals;
	entry->bound = head->bound;
	memcpy(entry->salt, head->salt, sizeof(entry->salt));
	memcpy(entry->verifier, head->verifier, sizeof(entry->verifier));
	entry_insert(cache, entry, tenant);
}

const struct mauth_cache_entry *mauth_cache_next(const struct mauth_cache *cache,
						 const struct mauth_cache_entry *entry)
{
	return (const struct mauth_cache_entry *)(entry == NULL ? cache->table.oldest : entry->node.newer);
}

void mauth_cache_stats(const struct mauth_cache *cache, struct mauth_cache_stats *stats_r)
{
	*stats_r = (struct mauth_cache_stats){ cache->table.count, cache->octets, cache->evicted };
}
