/* SPDX-License-Identifier: MIT */
#include "core/table.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_MIN 256u
/* Old buckets moved per insertion: two would do to finish before the next doubling, four halves the tail. */
#define MOVE_BUCKETS 4u

void mauth_table_init(struct mauth_table *table, const struct mauth_verifier_key *key,
		      const char *(*upn)(const struct mauth_node *node))
{
	memset(table, 0, sizeof(*table));
	table->size = TABLE_MIN;
	table->buckets = mauth_new_array(table->size, sizeof(*table->buckets));
	table->key = key;
	table->upn = upn;
}

void mauth_table_free(struct mauth_table *table)
{
	free(table->buckets);
	free(table->old_buckets);
	memset(table, 0, sizeof(*table));
}

/* The bucket that holds hash now. */
static struct mauth_node **bucket(const struct mauth_table *table, uint64_t hash)
{
	if (table->old_buckets != NULL) {
		size_t old = hash & (table->old_size - 1);

		if (old >= table->moved)
			return &table->old_buckets[old];
	}
	return &table->buckets[hash & (table->size - 1)];
}

struct mauth_node *mauth_table_find(const struct mauth_table *table, uint32_t tenant, const char *upn)
{
	uint64_t hash = mauth_name_hash(table->key, tenant, upn);

	for (struct mauth_node *node = *bucket(table, hash); node != NULL; node = node->chain) {
		if (node->hash == hash && node->tenant == tenant && strcmp(table->upn(node), upn) == 0)
			return node;
	}
	return NULL;
}

static void move_some(struct mauth_table *table)
{
	for (size_t i = 0; i < MOVE_BUCKETS && table->moved < table->old_size; i++) {
		struct mauth_node *node = table->old_buckets[table->moved++], *next;

		for (; node != NULL; node = next) {
			struct mauth_node **to = &table->buckets[node->hash & (table->size - 1)];

			next = node->chain;
			node->chain = *to;
			*to = node;
		}
	}
	if (table->moved < table->old_size)
		return;
	free(table->old_buckets);
	table->old_buckets = NULL;
}

static void grow(struct mauth_table *table)
{
	table->old_buckets = table->buckets;
	table->old_size = table->size;
	table->moved = 0;
	table->size *= 2;
	table->buckets = mauth_new_array(table->size, sizeof(*table->buckets));
}

static void order_append(struct mauth_table *table, struct mauth_node *node)
{
	node->newer = NULL;
	node->older = table->newest;
	if (table->newest != NULL)
		table->newest->newer = node;
	else
		table->oldest = node;
	table->newest = node;
}

static void order_remove(struct mauth_table *table, struct mauth_node *node)
{
	if (node->older != NULL)
		node->older->newer = node->newer;
	else
		table->oldest = node->newer;
	if (node->newer != NULL)
		node->newer->older = node->older;
	else
		table->newest = node->older;
}

void mauth_table_insert(struct mauth_table *table, struct mauth_node *node, uint32_t tenant, const char *upn)
{
	struct mauth_node **to;

	if (table->old_buckets != NULL)
		move_some(table);
	else if (table->count >= table->size)
		grow(table);
	node->tenant = tenant;
	node->hash = mauth_name_hash(table->key, tenant, upn);
	to = bucket(table, node->hash);
	node->chain = *to;
	*to = node;
	order_append(table, node);
	table->count++;
}

void mauth_table_remove(struct mauth_table *table, struct mauth_node *node)
{
	struct mauth_node **p;

	for (p = bucket(table, node->hash); *p != node; p = &(*p)->chain)
		;
	*p = node->chain;
	order_remove(table, node);
	table->count--;
}

void mauth_table_touch(struct mauth_table *table, struct mauth_node *node)
{
	if (table->newest == node)
		return;
	order_remove(table, node);
	order_append(table, node);
}
