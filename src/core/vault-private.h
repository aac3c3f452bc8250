/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_VAULT_PRIVATE_H
#define MAUTH_VAULT_PRIVATE_H
/* What vault.c, vault-rekey.c and vault-export.c share. */

#include "core/vault.h"

struct vault_rekey;
struct first_row;

struct mauth_vault {
	struct mauth_vault_deps deps;
	struct mauth_keyring *keyring;
	struct mauth_verifier_key device_key;        /* of device passwords: sealed in the store */
	struct mauth_enrolments *enrolments;
	struct mauth_devices *devices;
	struct mauth_exceptions *exceptions;
	struct mauth_relay_keys *relay_keys;
	struct mauth_table links;
	struct first_row *first_row;                 /* the key of device passwords is being written; NULL: no */
	struct mauth_timer *first_row_again;
	struct vault_rekey *rekey;                   /* NULL: none under way */
};

#define VAULT_VERIFIER_KEY "verifier-key"            /* meta row */

/* Kinds of rows whose whole value is one sealed text, and what it is sealed with. false: row is not of these. The strings are
 * in scratch, which the caller frees. */
bool vault_seal_context(const struct mauth_store_row *row, struct mauth_seal_context *context_r, char **scratch_r);
/* Is a store that has nothing else as good as empty? */
bool vault_is_summary(const char *kind);
/* Is it a name behind a pseudonym? Sealed, but nobody's login depends on it. */
bool vault_is_pseudonym(const char *kind);
/* Seals everything under the key that seals now; progress may be NULL. */
void vault_reseal(struct mauth_vault *vault, mauth_rekey_fn *progress, void *context);
void vault_rekey_free(struct vault_rekey **rekey);

#endif
