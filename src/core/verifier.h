/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_VERIFIER_H
#define MAUTH_VERIFIER_H
/* Verifiers: what we keep instead of passwords. HMAC-SHA256 under a key that only this process (and the successor it
 * hands over to) knows, salted per entry: useless in a core file of anybody else, and no two entries compare. Not a password
 * hash: the key, not the cost, is what protects it. */

#include "modernauth/modernauth.h"

#define MAUTH_VERIFIER_SIZE 32u
#define MAUTH_SALT_SIZE 16u

struct mauth_verifier_key {
	unsigned char key[32];
};
void mauth_verifier_key_new(struct mauth_verifier_key *key_r);

/* salt: MAUTH_SALT_SIZE octets. tenant and upn are bound in, so that a verifier is good for one user only. */
void mauth_verifier(const struct mauth_verifier_key *key, const unsigned char *salt, uint32_t tenant, const char *upn,
		    const struct mauth_secret *password, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE]);

/* A hash for tables of names: keyed, so that a client cannot choose collisions. */
uint64_t mauth_name_hash(const struct mauth_verifier_key *key, uint32_t tenant, const char *upn);

#endif
