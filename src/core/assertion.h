/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_ASSERTION_H
#define MAUTH_ASSERTION_H
/* Client assertions (private_key_jwt): certificate-credentials.md of entra-docs; RFC 7523. */

#include "modernauth/modernauth.h"

struct mauth_assertion_key;

/* From a PEM certificate and its unencrypted PEM private key (RSA, 2,048 bits or more). MAUTH_CONFIG with what is
 * wrong: not PEM, encrypted, other key type, key and certificate do not belong together. An expired certificate is loaded. */
enum mauth_status mauth_assertion_key_new(const struct mauth_secret *certificate_pem,
					  const struct mauth_secret *key_pem,
					  struct mauth_assertion_key **key_r, struct mauth_error *error_r);
void mauth_assertion_key_free(struct mauth_assertion_key **key);
/* End of the certificate's validity, seconds since the epoch. */
int64_t mauth_assertion_key_not_after(const struct mauth_assertion_key *key);

enum mauth_assertion_alg {
	MAUTH_ASSERTION_PS256,   /* header x5t#S256: what Entra's documentation asks for */
	MAUTH_ASSERTION_RS256,   /* header x5t (SHA-1): ADFS and older services */
};
/* A signed JWT for audience (the exact token URL), valid from now for lifetime_secs. The caller frees. */
enum mauth_status mauth_assertion_sign(const struct mauth_assertion_key *key, enum mauth_assertion_alg alg,
				       const char *client_id, const char *audience, int64_t now_secs,
				       unsigned int lifetime_secs, struct mauth_secret **jwt_r,
				       struct mauth_error *error_r);

/* A signed assertion, reused for its life (RSA signing costs more than a login). One per tenant. Zero-initialise. */
struct mauth_assertion {
	struct mauth_secret *jwt;
	int64_t renew_at;                /* wall clock, seconds */
	enum mauth_assertion_alg alg;    /* sticks to RS256 once Entra has refused PS256 */
};
/* The assertion to send now, owned by *cache: signs when there is none or less than 60 s of its 600 s are left. */
enum mauth_status mauth_assertion_get(struct mauth_assertion *cache, const struct mauth_assertion_key *key,
				      const char *client_id, const char *audience, int64_t now_secs,
				      const struct mauth_secret **jwt_r, struct mauth_error *error_r);
/* Entra said that it cannot read our signature (700027 and kin): true if the next get() will try RS256 instead. */
bool mauth_assertion_refused(struct mauth_assertion *cache);
void mauth_assertion_clear(struct mauth_assertion *cache);

#endif
