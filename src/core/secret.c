/* SPDX-License-Identifier: MIT */
#include "core/mem.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

struct mauth_secret {
	size_t size;
	char data[];
};

/* Not in mem.c: that goes into other people's processes, which may have no OpenSSL or another one. */
bool mauth_equal_secret(const void *a, const void *b, size_t size)
{
	return CRYPTO_memcmp(a, b, size) == 0;
}

struct mauth_secret *mauth_secret_new(const void *data, size_t size)
{
	struct mauth_secret *secret = mauth_new(sizeof(*secret) + size + 1);

	secret->size = size;
	if (size > 0)
		memcpy(secret->data, data, size);
	return secret;
}

struct mauth_secret *mauth_secret_dup(const struct mauth_secret *secret)
{
	return secret == NULL ? NULL : mauth_secret_new(secret->data, secret->size);
}

void mauth_secret_free(struct mauth_secret **secret)
{
	if (*secret == NULL)
		return;
	mauth_wipe(*secret, sizeof(**secret) + (*secret)->size);
	free(*secret);
	*secret = NULL;
}

const char *mauth_secret_expose(const struct mauth_secret *secret)
{
	return secret->data;
}

size_t mauth_secret_size(const struct mauth_secret *secret)
{
	return secret->size;
}

bool mauth_secret_equal(const struct mauth_secret *a, const struct mauth_secret *b)
{
	return a->size == b->size && mauth_equal_secret(a->data, b->data, a->size);
}

void mauth_token_id(const void *token, size_t size, char id_r[static MAUTH_TOKEN_ID_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256(token, size, digest);
	for (size_t i = 0; i < (MAUTH_TOKEN_ID_SIZE - 1) / 2; i++) {
		id_r[2 * i] = hex[digest[i] >> 4];
		id_r[2 * i + 1] = hex[digest[i] & 15];
	}
	id_r[MAUTH_TOKEN_ID_SIZE - 1] = '\0';
}
