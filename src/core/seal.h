/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_SEAL_H
#define MAUTH_SEAL_H
/* Sealing what goes to disk: AES-256-GCM (NIST SP 800-38D) under a key of a keyring, the key's id in the envelope and what
 * the value belongs to as associated data, so that nobody can put one user's token under another user's name. */

#include "core/mem.h"

#define MAUTH_SEAL_KEYS_MAX 8u
#define MAUTH_SEAL_KEY_ID_SIZE 17u      /* 16 hex digits and NUL */
#define MAUTH_SEAL_PLAIN_MAX 48000u     /* its envelope fits into MAUTH_STORE_VALUE_MAX, with a line around it */

struct mauth_keyring;
/* One fresh key. */
struct mauth_keyring *mauth_keyring_new(void);
struct mauth_keyring *mauth_keyring_dup(const struct mauth_keyring *keyring);
void mauth_keyring_free(struct mauth_keyring **keyring);
/* The text of a key file: comment lines begin with "#", then one line "modernauth-key ID BASE64URL-OF-32-OCTETS" per key,
 * the one that seals last. ID is made of the key, so that a damaged line is noticed here. name is for messages.
 * MAUTH_CONFIG with "name:line: ..." */
enum mauth_status mauth_keyring_parse(const char *name, const struct mauth_secret *text, struct mauth_keyring **keyring_r,
				      struct mauth_error *error_r);
/* The same text, with a comment that says what the file is; the caller frees. */
struct mauth_secret *mauth_keyring_format(const struct mauth_keyring *keyring);
/* Adds a fresh key, which seals from now on. MAUTH_CONFIG if there are MAUTH_SEAL_KEYS_MAX already. */
enum mauth_status mauth_keyring_add(struct mauth_keyring *keyring, struct mauth_error *error_r);
/* Drops every key but the one that seals. */
void mauth_keyring_retire(struct mauth_keyring *keyring);
/* The id of the key that seals; lives as long as the keyring is unchanged. */
const char *mauth_keyring_id(const struct mauth_keyring *keyring);
size_t mauth_keyring_count(const struct mauth_keyring *keyring);

/* What a sealed value belongs to. */
struct mauth_seal_context {
	const char *kind, *tenant, *user;    /* tenant and user may be "" */
};
/* Appends the envelope in base64url: version, key id, nonce, ciphertext, tag. plain: at most MAUTH_SEAL_PLAIN_MAX,
 * which the caller has checked: beyond it this aborts. */
void mauth_seal(const struct mauth_keyring *keyring, const struct mauth_seal_context *context,
		const struct mauth_secret *plain, struct mauth_buf *to);
/* MAUTH_CONFIG: sealed under a key that is not in the keyring (the text names its id), changed, or not of this context. */
enum mauth_status mauth_unseal(const struct mauth_keyring *keyring, const struct mauth_seal_context *context,
			       const char *text, size_t size, struct mauth_secret **plain_r, struct mauth_error *error_r);
/* Is text sealed under the key that seals now? false also for what is no envelope. */
bool mauth_seal_is_current(const struct mauth_keyring *keyring, const char *text, size_t size);

#endif
