/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_TABLE_H
#define MAUTH_TABLE_H
/* Intrusive hash table with LRU order, for things that belong to (tenant, UPN). Grows a few buckets with each insertion,
 * so that no login waits for a million entries to be moved. */

#include "core/verifier.h"

struct mauth_node {
	struct mauth_node *chain;            /* of the bucket */
	struct mauth_node *older, *newer;
	uint64_t hash;
	uint32_t tenant;
};

struct mauth_table {
	struct mauth_node **buckets, **old_buckets;
	size_t size, old_size;               /* powers of two */
	size_t moved;                        /* old buckets emptied so far */
	size_t count;
	struct mauth_node *oldest, *newest;
	const struct mauth_verifier_key *key;
	/* The UPN of a node. */
	const char *(*upn)(const struct mauth_node *node);
};

void mauth_table_init(struct mauth_table *table, const struct mauth_verifier_key *key,
		      const char *(*upn)(const struct mauth_node *node));
/* Frees the table, not the nodes. */
void mauth_table_free(struct mauth_table *table);
/* NULL if there is none. Does not change the order. */
struct mauth_node *mauth_table_find(const struct mauth_table *table, uint32_t tenant, const char *upn);
/* node must not be in the table, nor another one with its name. It becomes the newest. */
void mauth_table_insert(struct mauth_table *table, struct mauth_node *node, uint32_t tenant, const char *upn);
void mauth_table_remove(struct mauth_table *table, struct mauth_node *node);
void mauth_table_touch(struct mauth_table *table, struct mauth_node *node);

#endif
