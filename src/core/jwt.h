/* SPDX-License-Identifier: MIT */
#ifndef MAUTH_JWT_H
#define MAUTH_JWT_H
/* JSON Web Tokens as far as a client needs them: base64url and a look at the claims. */

#include "core/mem.h"

/* Appends data in base64url without padding (RFC 7515, section 2). */
void mauth_base64url_encode(struct mauth_buf *buf, const void *data, size_t size);
/* Appends what text stands for. false, and buf as before: not base64url without padding, or not the one spelling
 * of its octets. */
bool mauth_base64url_decode(struct mauth_buf *buf, const char *text, size_t size);

/* Claims of a token; "" or 0 if absent, of another type or too large for the field. */
struct mauth_jwt {
	char upn[MAUTH_USER_MAX + 1];    /* upn, else preferred_username, else unique_name */
	char oid[64], tid[64];
	int64_t exp;                     /* seconds since the epoch */
	char aud[256], appid[64];
	char scp[512];                   /* delegated permissions, separated by blanks */
	char roles[512];                 /* the application's, the same */
};
/* Reads the claims of token. false, and *jwt_r untouched: not a JWT that can be read; to us tokens are opaque, so
 * this is no error. The signature is NOT verified: the token is meant for Exchange, which does verify it, and came
 * to us straight from the token endpoint over verified TLS. Good for the audit, never for deciding who somebody
 * is. */
bool mauth_jwt_read(const char *token, size_t size, struct mauth_jwt *jwt_r);

#endif
