/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CACHE_H
#define MAUTH_CACHE_H
/* Access tokens, keyed (tenant and grant, account), bounded in octets, the least recently used goes first. A token of the
 * password grant is bound to the password that Entra verified when it was fetched, and given only to who presents that.
 * The others are bound to nothing: whoever asks for one must have had the login verified, each time (core/request.c). */

#include "core/table.h"
#include "modernauth/loop.h"

#define MAUTH_TOKEN_ID_RAW ((MAUTH_TOKEN_ID_SIZE - 1) / 2)

struct mauth_cache_entry {
	struct mauth_node node;
	/* Both clocks: the wall clock may jump back, the monotonic one stands still while a machine is suspended. A
	   token is expired when either says so. */
	int64_t expires_wall, expires_mono;  /* seconds */
	int64_t refresh_mono;                /* from here on a hit starts a renewal in the background */
	int64_t refused_until;               /* monotonic: until then a refused token is not fetched anew */
	int64_t forced_mono;                 /* when one like it was last fetched because this one would not do */
	unsigned char salt[MAUTH_SALT_SIZE];
	unsigned char verifier[MAUTH_VERIFIER_SIZE];
	unsigned char token_id[MAUTH_TOKEN_ID_RAW];
	uint32_t token_size;
	uint16_t upn_size;
	uint8_t refusals;                    /* upstream's, in a row */
	bool refused;                        /* upstream refused this very token */
	bool bound;                          /* to the password of the verifier */
	char data[];                         /* UPN, NUL, token, NUL */
};

struct mauth_cache;
/* key and loop must outlive the cache. */
struct mauth_cache *mauth_cache_new(const struct mauth_loop *loop, const struct mauth_verifier_key *key,
				    uint64_t max_octets);
void mauth_cache_free(struct mauth_cache **cache);

/* The entry of (tenant, upn), made the most recently used; NULL if there is none or its token has expired. */
struct mauth_cache_entry *mauth_cache_find(struct mauth_cache *cache, uint32_t tenant, const char *upn);
/* Is password the one that was verified? Constant time. Never true for an entry that is not bound. */
bool mauth_cache_verify(const struct mauth_cache *cache, const struct mauth_cache_entry *entry,
			const struct mauth_secret *password);
const char *mauth_cache_upn(const struct mauth_cache_entry *entry);
/* A copy; the caller frees. */
struct mauth_secret *mauth_cache_token(const struct mauth_cache_entry *entry);
void mauth_cache_token_id(const struct mauth_cache_entry *entry, char id_r[static MAUTH_TOKEN_ID_SIZE]);
/* Seconds that the token still lives by the stricter clock. */
int64_t mauth_cache_life(const struct mauth_cache *cache, const struct mauth_cache_entry *entry);

/* What to remember. */
struct mauth_cache_item {
	uint32_t tenant;
	const char *upn;
	const struct mauth_secret *password; /* verified for this token; NULL: it is bound to none */
	const struct mauth_secret *token;
	int64_t expires_in;                  /* seconds */
	int64_t refresh_in;                  /* seconds until renewal in the background may begin */
};
/* Replaces an entry of the same name, whose count of refusals stays. Nothing is kept if the item alone is larger than
 * the cache. */
void mauth_cache_put(struct mauth_cache *cache, const struct mauth_cache_item *item);
void mauth_cache_drop(struct mauth_cache *cache, struct mauth_cache_entry **entry);

/* Takes over an entry from a predecessor that used the same verifier key. data: UPN, NUL, token, NUL. */
void mauth_cache_adopt(struct mauth_cache *cache, const struct mauth_cache_entry *head, uint32_t tenant,
		       const char *upn, const void *token, size_t token_size);
/* Oldest first, for handing over: the entry after *entry (NULL: the first), or NULL at the end. */
const struct mauth_cache_entry *mauth_cache_next(const struct mauth_cache *cache,
						 const struct mauth_cache_entry *entry);

struct mauth_cache_stats {
	uint64_t entries, octets, evicted;
};
void mauth_cache_stats(const struct mauth_cache *cache, struct mauth_cache_stats *stats_r);

#endif
