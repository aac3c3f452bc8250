/* SPDX-License-Identifier: MIT */
#include "core/assertion.h"
#include "core/entra.h"
#include "core/json.h"
#include "core/jwt.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEY_BITS_MIN 2048
#define LIFETIME_SECS 600u          /* Entra's documentation: "5-10 minutes after nbf at most" */
#define RENEW_SECS 60               /* before its end: the request that carries it takes its time */

struct mauth_assertion_key {
	EVP_PKEY *pkey;
	unsigned char sha256[32], sha1[20];  /* of the certificate's DER: how Entra finds it */
	int64_t not_after;
};

static BIO *open_secret(const struct mauth_secret *secret)
{
	BIO *bio = BIO_new_mem_buf(mauth_secret_expose(secret), (int)mauth_secret_size(secret));

	if (bio == NULL)
		abort();
	return bio;
}

/* OpenSSL would ask for the passphrase on the terminal. */
static int refuse_passphrase(char *buf, int size, int rwflag, void *context)
{
	bool *encrypted = context;

	*encrypted = true;
	return -1;
}

static enum mauth_status read_key(const struct mauth_secret *pem, EVP_PKEY **pkey_r, struct mauth_error *error_r)
{
	BIO *bio = open_secret(pem);
	bool encrypted = false;
	EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, &encrypted);
	int bits;

	BIO_free(bio);
	if (pkey == NULL && encrypted)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the private key is encrypted; expected one without "
				  "passphrase (openssl pkey -in key.pem -out plain.pem)");
	if (pkey == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 0,
				  "no private key in PEM; expected -----BEGIN PRIVATE KEY-----");
	/* An RSA-PSS key could not do RS256, which the fallback needs. */
	if (EVP_PKEY_is_a(pkey, "RSA") != 1) {
		EVP_PKEY_free(pkey);
		return mauth_fail(error_r, MAUTH_CONFIG, 0,
				  "the private key is not RSA; expected RSA of %d bits or more", KEY_BITS_MIN);
	}
	bits = EVP_PKEY_get_bits(pkey);
	if (bits < KEY_BITS_MIN) {
		EVP_PKEY_free(pkey);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the private key has %d bits; expected %d or more",
				  bits, KEY_BITS_MIN);
	}
	*pkey_r = pkey;
	return MAUTH_OK;
}

/* Thumbprints and end of the certificate; false if OpenSSL cannot tell. */
static bool read_certificate(const X509 *cert, struct mauth_assertion_key *key)
{
	struct tm end;
	unsigned int size;

	if (X509_digest(cert, EVP_sha256(), key->sha256, &size) != 1 ||
	    X509_digest(cert, EVP_sha1(), key->sha1, &size) != 1 ||
	    ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end) != 1)
		return false;
	key->not_after = timegm(&end);
	return true;
}

static enum mauth_status check_pair(const struct mauth_secret *certificate_pem, EVP_PKEY *pkey,
				    struct mauth_assertion_key *key, struct mauth_error *error_r)
{
	BIO *bio = open_secret(certificate_pem);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	bool belongs, readable;

	BIO_free(bio);
	if (cert == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 0,
				  "no certificate in PEM; expected -----BEGIN CERTIFICATE-----");
	belongs = X509_check_private_key(cert, pkey) == 1;
	readable = read_certificate(cert, key);
	X509_free(cert);
	if (!belongs)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "certificate and private key do not belong together; "
				  "expected the key of the first certificate in the file");
	if (!readable)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the certificate cannot be read");
	return MAUTH_OK;
}

enum mauth_status mauth_assertion_key_new(const struct mauth_secret *certificate_pem,
					  const struct mauth_secret *key_pem,
					  struct mauth_assertion_key **key_r, struct mauth_error *error_r)
{
	struct mauth_assertion_key key = { 0 };
	enum mauth_status status;

	if (mauth_secret_size(certificate_pem) > MAUTH_CONFIG_MAX || mauth_secret_size(key_pem) > MAUTH_CONFIG_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "certificate or key too large");
	/* What OpenSSL has to say about our attempts must not turn up in somebody else's error message. */
	ERR_set_mark();
	status = read_key(key_pem, &key.pkey, error_r);
	if (status == MAUTH_OK)
		status = check_pair(certificate_pem, key.pkey, &key, error_r);
	ERR_pop_to_mark();
	if (status != MAUTH_OK) {
		EVP_PKEY_free(key.pkey);
		return status;
	}
	*key_r = mauth_new(sizeof(key));
	**key_r = key;
	return MAUTH_OK;
}

void mauth_assertion_key_free(struct mauth_assertion_key **key)
{
	if (*key == NULL)
		return;
	EVP_PKEY_free((*key)->pkey);
	free(*key);
	*key = NULL;
}

int64_t mauth_assertion_key_not_after(const struct mauth_assertion_key *key)
{
	return key->not_after;
}

static int append_json(const char *data, size_t size, void *context)
{
	mauth_buf_append(context, data, size);
	return 0;
}

/* Appends value as compact JSON in base64url, and drops it. */
static void append_part(struct mauth_buf *jwt, json_t *value)
{
	struct mauth_buf text = { 0 };

	if (json_dump_callback(value, append_json, &text, JSON_COMPACT) == 0)
		mauth_base64url_encode(jwt, text.data, text.size);
	mauth_buf_free(&text);
	json_decref(value);
}

static json_t *new_header(const struct mauth_assertion_key *key, enum mauth_assertion_alg alg)
{
	struct mauth_buf print = { 0 };
	json_t *header = NULL;

	switch (alg) {
	case MAUTH_ASSERTION_PS256:
		mauth_base64url_encode(&print, key->sha256, sizeof(key->sha256));
		header = json_pack("{s:s, s:s, s:s}", "alg", "PS256", "typ", "JWT", "x5t#S256", print.data);
		break;
	case MAUTH_ASSERTION_RS256:
		mauth_base64url_encode(&print, key->sha1, sizeof(key->sha1));
		header = json_pack("{s:s, s:s, s:s}", "alg", "RS256", "typ", "JWT", "x5t", print.data);
		break;
	}
	mauth_buf_free(&print);
	return header;
}

/* NULL if a string is no UTF-8. */
static json_t *
new_claims(const char *client_id, const char *audience, int64_t now_secs, unsigned int lifetime_secs)
{
	const json_int_t now = now_secs;
	char jti[MAUTH_GUID_SIZE];

	mauth_guid(jti);
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "aud", audience, "iss", client_id,
			 "sub", client_id, "jti", jti, "nbf", now, "iat", now, "exp", now + lifetime_secs);
}

static bool sign_init(EVP_MD_CTX *ctx, EVP_PKEY *pkey, enum mauth_assertion_alg alg)
{
	EVP_PKEY_CTX *pctx;

	if (EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, pkey) != 1)
		return false;
	switch (alg) {
	case MAUTH_ASSERTION_PS256:
		/* RFC 7518, section 3.5: the salt is as long as the hash. */
		return EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		       EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	case MAUTH_ASSERTION_RS256:
		return EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PADDING) == 1;
	}
	return false;
}

/* Appends "." and the signature over what is in jwt. */
static bool append_signature(struct mauth_buf *jwt, EVP_PKEY *pkey, enum mauth_assertion_alg alg)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const size_t alloc = (size_t)EVP_PKEY_get_size(pkey);
	unsigned char *signature = mauth_new(alloc);
	size_t size = alloc;
	bool ok;

	if (ctx == NULL)
		abort();
	ok = sign_init(ctx, pkey, alg) &&
	     EVP_DigestSign(ctx, signature, &size, (const unsigned char *)jwt->data, jwt->size) == 1;
	EVP_MD_CTX_free(ctx);
	if (ok) {
		mauth_buf_putc(jwt, '.');
		mauth_base64url_encode(jwt, signature, size);
	}
	mauth_wipe(signature, alloc);
	free(signature);
	return ok;
}

enum mauth_status mauth_assertion_sign(const struct mauth_assertion_key *key, enum mauth_assertion_alg alg,
				       const char *client_id, const char *audience, int64_t now_secs,
				       unsigned int lifetime_secs, struct mauth_secret **jwt_r,
				       struct mauth_error *error_r)
{
	struct mauth_buf jwt = { 0 };
	json_t *claims = new_claims(client_id, audience, now_secs, lifetime_secs);
	bool ok;

	if (claims == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "client_id or token URL is not UTF-8");
	append_part(&jwt, new_header(key, alg));
	mauth_buf_putc(&jwt, '.');
	append_part(&jwt, claims);
	ERR_set_mark();
	ok = append_signature(&jwt, key->pkey, alg);
	ERR_pop_to_mark();
	if (ok)
		*jwt_r = mauth_secret_new(jwt.data, jwt.size);
	mauth_buf_free(&jwt);
	if (!ok)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "OpenSSL cannot sign with the configured key");
	return MAUTH_OK;
}

enum mauth_status mauth_assertion_get(struct mauth_assertion *cache, const struct mauth_assertion_key *key,
				      const char *client_id, const char *audience, int64_t now_secs,
				      const struct mauth_secret **jwt_r, struct mauth_error *error_r)
{
	const int64_t use_secs = (int64_t)LIFETIME_SECS - RENEW_SECS;
	struct mauth_secret *jwt = NULL;
	enum mauth_status status;

	/* More than a full life left: the clock was set back, and Entra would find nbf in the future. */
	if (cache->jwt != NULL && now_secs < cache->renew_at && cache->renew_at - now_secs <= use_secs) {
		*jwt_r = cache->jwt;
		return MAUTH_OK;
	}
	status = mauth_assertion_sign(key, cache->alg, client_id, audience, now_secs, LIFETIME_SECS, &jwt,
				      error_r);
	if (status != MAUTH_OK)
		return status;
	mauth_secret_free(&cache->jwt);
	cache->jwt = jwt;
	cache->renew_at = now_secs + use_secs;
	*jwt_r = jwt;
	return MAUTH_OK;
}

bool mauth_assertion_refused(struct mauth_assertion *cache)
{
	/* The certificate itself is refused, then: signing anew for every login would not mend that. */
	if (cache->alg == MAUTH_ASSERTION_RS256)
		return false;
	cache->alg = MAUTH_ASSERTION_RS256;
	mauth_secret_free(&cache->jwt);
	return true;
}

void mauth_assertion_clear(struct mauth_assertion *cache)
{
	mauth_secret_free(&cache->jwt);
	memset(cache, 0, sizeof(*cache));
}
