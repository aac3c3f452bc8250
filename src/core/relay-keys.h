/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_RELAY_KEYS_H
#define MAUTH_RELAY_KEYS_H
/* Relay keys: what an MTA has to show before it is given tokens, and for which identities it may ask. A key is generated,
 * shown once, and kept as an HMAC under the store's key, as device passwords are. The picture in memory decides; every
 * change is on disk before it is said to be done. */

#include "core/mem.h"
#include "core/verifier.h"
#include "modernauth/log.h"
#include "modernauth/loop.h"
#include "modernauth/store.h"

#define MAUTH_RELAY_KEY_KIND "relay-key"     /* rows: the name is the id, the value JSON */
#define MAUTH_RELAY_KEY_ID_SIZE 13u          /* 12 lower-case letters and digits, NUL */
#define MAUTH_RELAY_KEY_NAME_MAX 64u
#define MAUTH_RELAY_KEY_BY_MAX 64u
#define MAUTH_RELAY_KEYS_MAX 200u            /* all of them are looked at for each request */
#define MAUTH_RELAY_IDENTITIES_MAX 32u       /* patterns of a key */

struct mauth_relay_key {
	char id[MAUTH_RELAY_KEY_ID_SIZE];
	char *name;
	char **identities;                   /* patterns of UPNs, lower case; ends with NULL */
	int64_t created_at;                  /* wall clock, seconds, as all of them */
	int64_t expires_at;                  /* the first second after; 0: never */
	int64_t last_used_at;                /* 0: never; in the store an hour late at most */
	char *by;                            /* the admin, as doveadm says */
	int64_t uid;                         /* of the process that asked, as the kernel says */
	/* private */
	unsigned char salt[MAUTH_SALT_SIZE], verifier[MAUTH_VERIFIER_SIZE];
};

struct mauth_relay_keys;
struct mauth_relay_keys_deps {
	const struct mauth_loop *loop;
	const struct mauth_log *log;
	const struct mauth_store *store;
	const struct mauth_verifier_key *key;        /* of the store: the same at every start */
};
/* What deps points to must outlive the keys; the store also what it has been given to write. */
struct mauth_relay_keys *mauth_relay_keys_new(const struct mauth_relay_keys_deps *deps);
/* Writes under way go on; last uses that are not in the store yet are written. */
void mauth_relay_keys_free(struct mauth_relay_keys **keys);
/* Takes a row of the store into the picture. MAUTH_CONFIG: it cannot be read. */
enum mauth_status mauth_relay_keys_load(struct mauth_relay_keys *keys, const struct mauth_store_row *row,
					struct mauth_error *error_r);

/* Another front end has written or deleted (no value) the row. MAUTH_CONFIG: it cannot be read; what was known holds. */
enum mauth_status mauth_relay_keys_follow(struct mauth_relay_keys *keys, const struct mauth_store_row *row,
					  struct mauth_error *error_r);

size_t mauth_relay_keys_count(const struct mauth_relay_keys *keys);
/* In order of creation. key NULL: the first; NULL: there is no more. Valid until a change. */
const struct mauth_relay_key *mauth_relay_keys_next(const struct mauth_relay_keys *keys, const struct mauth_relay_key *key);

/* Do its patterns name identity (a UPN)? Whatever its end. */
bool mauth_relay_key_is_for(const struct mauth_relay_key *key, const char *identity);
/* Whose key is secret, and may it ask for identity (a UPN)? Looks at every key, each in constant time; typed in any case,
 * with or without hyphens. MAUTH_BAD_CREDENTIALS: nobody's, MAUTH_EXPIRED, MAUTH_POLICY: not for this identity. *key_r, valid
 * until the next change, is NULL if it is nobody's. */
enum mauth_status mauth_relay_keys_check(const struct mauth_relay_keys *keys, const struct mauth_secret *secret,
					 const char *identity, const struct mauth_relay_key **key_r,
					 struct mauth_error *error_r);
/* Notes the use, if there still is such a key. */
void mauth_relay_keys_used(struct mauth_relay_keys *keys, const char *id);

/* -- relay-keys-change.c -- */

/* One that is to be. */
struct mauth_relay_key_new {
	const char *name;
	const char *const *identities;       /* patterns; copied in lower case */
	size_t identities_count;
	int64_t expires_at;                  /* 0: never */
	const char *by;                      /* NULL: unknown; cleaned and cut */
	int64_t uid;
};
/* key lives during the call; error NULL: it is on disk. */
typedef void mauth_relay_key_change_fn(const struct mauth_relay_key *key, const struct mauth_error *error, void *context);
/* In effect once it is on disk; then done is called, never before this returns. *secret_r is shown once and the caller's.
 * MAUTH_CONFIG at once: no name, name taken, no pattern or a bad one, an end in the past, too many. */
enum mauth_status mauth_relay_keys_add(struct mauth_relay_keys *keys, const struct mauth_relay_key_new *from,
				       struct mauth_secret **secret_r, mauth_relay_key_change_fn *done, void *context,
				       struct mauth_error *error_r);
/* By id or name. Out of effect when this returns, whatever the store says later. MAUTH_USER_UNKNOWN: no such key. */
enum mauth_status mauth_relay_keys_remove(struct mauth_relay_keys *keys, const char *which,
					  mauth_relay_key_change_fn *done, void *context, struct mauth_error *error_r);
/* To be called every few seconds: writes last uses, and tries again what the store would not have. */
void mauth_relay_keys_tend(struct mauth_relay_keys *keys);

/* -- relay-keys-row.c -- */

void mauth_relay_key_encode(const struct mauth_relay_key *key, struct mauth_buf *to);
/* Fills *key_r but for its id; mauth_relay_key_clear() frees what belongs to it. false: cannot be read. */
bool mauth_relay_key_decode(const char *value, size_t size, struct mauth_relay_key *key_r);
void mauth_relay_key_clear(struct mauth_relay_key *key);
/* A name that can be shown, without blanks: 1 to MAUTH_RELAY_KEY_NAME_MAX octets of UTF-8. */
bool mauth_relay_key_name_is_good(const char *name);
bool mauth_relay_key_id_is_good(const char *id);

#endif
