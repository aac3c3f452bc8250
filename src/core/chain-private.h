/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_CHAIN_PRIVATE_H
#define MAUTH_CHAIN_PRIVATE_H
/* What chain.c and chain-key.c share. */

#include "core/chain.h"

#include <openssl/evp.h>

struct mauth_chain_key {
	EVP_MD_CTX *hash;                    /* for SHA-256: making one costs as much as using it, and a thread has its own key */
	EVP_MD *sha256;
	EVP_MAC_CTX *mac;                    /* HMAC-SHA-256 with the key in it; NULL: a public one */
	struct mauth_secret *mac_key;
	EVP_PKEY *pair;                      /* Ed25519 */
};

void mauth_chain_sign(const struct mauth_chain_key *key, const char *writer, const struct mauth_chain_state *state,
		      unsigned char signature_r[MAUTH_CHAIN_SIGNATURE]);
bool mauth_chain_check(const struct mauth_chain_key *key, const char *writer, const struct mauth_chain_state *state,
		       const unsigned char signature[MAUTH_CHAIN_SIGNATURE]);

#endif
