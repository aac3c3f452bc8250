/* SPDX-License-Identifier: MIT */
#include "core/verifier.h"

#include "core/mem.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

/* Salt, tenant, UPN with its NUL and password fit. */
#define INPUT_MAX (MAUTH_SALT_SIZE + sizeof(uint32_t) + MAUTH_USER_MAX + 1 + MAUTH_PASSWORD_MAX)

void mauth_verifier_key_new(struct mauth_verifier_key *key_r)
{
	mauth_random(key_r->key, sizeof(key_r->key));
}

/* HMAC-SHA-256 without a key. HMAC() looks both up by name each time, which is most of what it costs, above all with cold
 * caches. Lives as long as the process, which has one thread. Fails for want of memory only. */
static EVP_MAC_CTX *hmac_sha256(void)
{
	static EVP_MAC_CTX *context;
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac;

	if (context != NULL)
		return context;
	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (mac != NULL)
		context = EVP_MAC_CTX_new(mac);
	if (context == NULL || EVP_MAC_CTX_set_params(context, params) != 1)
		abort();
	EVP_MAC_free(mac);
	return context;
}

void mauth_verifier(const struct mauth_verifier_key *key, const unsigned char *salt, uint32_t tenant, const char *upn,
		    const struct mauth_secret *password, unsigned char verifier_r[static MAUTH_VERIFIER_SIZE])
{
	unsigned char input[INPUT_MAX];
	size_t upn_size = strnlen(upn, MAUTH_USER_MAX) + 1, size = 0;
	size_t password_size = mauth_secret_size(password);
	size_t out_size;
	EVP_MAC_CTX *mac = hmac_sha256();

	/* Longer passwords never get this far; a cut one must not verify a longer one. */
	if (password_size > MAUTH_PASSWORD_MAX) {
		mauth_random(verifier_r, MAUTH_VERIFIER_SIZE);
		return;
	}
	memcpy(input, salt, MAUTH_SALT_SIZE);
	size += MAUTH_SALT_SIZE;
	memcpy(input + size, &tenant, sizeof(tenant));
	size += sizeof(tenant);
	memcpy(input + size, upn, upn_size - 1);
	input[size + upn_size - 1] = '\0';
	size += upn_size;
	memcpy(input + size, mauth_secret_expose(password), password_size);
	size += password_size;
	/* Going on would compare octets that nobody has written. */
	if (EVP_MAC_init(mac, key->key, sizeof(key->key), NULL) != 1 || EVP_MAC_update(mac, input, size) != 1 ||
	    EVP_MAC_final(mac, verifier_r, &out_size, MAUTH_VERIFIER_SIZE) != 1)
		abort();
	mauth_wipe(input, size);
}

static uint64_t rotate(uint64_t x, unsigned int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 (Aumasson, Bernstein 2012). OpenSSL has it too, at ten times the cost per call for a short name. */
uint64_t mauth_name_hash(const struct mauth_verifier_key *key, uint32_t tenant, const char *upn)
{
	uint64_t k[2], v[4], word;
	size_t size = strlen(upn), i;

	memcpy(k, key->key, sizeof(k));
	v[0] = k[0] ^ 0x736f6d6570736575u;
	v[1] = k[1] ^ 0x646f72616e646f6du;
	v[2] = k[0] ^ 0x6c7967656e657261u;
	v[3] = k[1] ^ 0x7465646279746573u ^ tenant;
	for (i = 0; i + 8 <= size; i += 8) {
		memcpy(&word, upn + i, 8);
		v[3] ^= word;
		sip_round(v);
		sip_round(v);
		v[0] ^= word;
	}
	word = (uint64_t)size << 56;
	for (size_t j = 0; i + j < size; j++)
		word |= (uint64_t)(unsigned char)upn[i + j] << (8 * j);
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
