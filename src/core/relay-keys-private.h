/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_RELAY_KEYS_PRIVATE_H
#define MAUTH_RELAY_KEYS_PRIVATE_H
/* What relay-keys.c and relay-keys-change.c share. */

#include "core/relay-keys.h"

struct relay_key {
	struct mauth_relay_key pub;          /* must be first */
	struct relay_key *next;
	unsigned int writing;                /* writes of it that are under way */
	int64_t written_use;                 /* last_used_at as the store has it */
	bool loose;                          /* in neither list: goes with its last write */
};

struct relay_key_write;

struct mauth_relay_keys {
	struct mauth_relay_keys_deps deps;
	struct relay_key *oldest;            /* in effect, or ended; the oldest first */
	struct relay_key *removed;           /* in effect no more, but still in the store */
	size_t count, adding;
	struct relay_key_write *writes;      /* under way */
};

void relay_key_insert(struct mauth_relay_keys *keys, struct relay_key *key);
void relay_key_free(struct relay_key *key);
void relay_key_verifier(const struct mauth_relay_keys *keys, const struct mauth_relay_key *key,
			const struct mauth_secret *typed, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE]);
/* Lets go of what is being written, and tries once more what is not in the store. */
void relay_keys_change_close(struct mauth_relay_keys *keys);

#endif
