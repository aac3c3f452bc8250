/* SPDX-License-Identifier: MIT */
#include "core/assertion.h"
#include "core/json.h"
#include "core/jwt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define CLIENT "11112222-3333-4444-5555-666677778888"
#define URL "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
#define NOW 1800000000

/* A pair made for this run: no private key lies in the repository. */
struct pair {
	EVP_PKEY *pkey;
	X509 *cert;
	struct mauth_secret *key_pem, *cert_pem;
};
static struct pair good, other;

static struct mauth_secret *secret_of(BIO *bio)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	struct mauth_secret *secret = mauth_secret_new(data, (size_t)size);

	BIO_free(bio);
	return secret;
}

static struct mauth_secret *key_pem_of(EVP_PKEY *pkey, const char *passphrase)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (passphrase == NULL)
		assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
	else
		assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, EVP_aes_256_cbc(), passphrase,
							       (int)strlen(passphrase), NULL, NULL), 1);
	return secret_of(bio);
}

static X509 *certificate_of(EVP_PKEY *pkey, int64_t begin, int64_t end)
{
	X509 *cert = X509_new();

	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	ASN1_TIME_set(X509_getm_notBefore(cert), begin);
	ASN1_TIME_set(X509_getm_notAfter(cert), end);
	X509_set_pubkey(cert, pkey);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	assert_true(X509_sign(cert, pkey, EVP_sha256()) > 0);
	return cert;
}

static struct mauth_secret *cert_pem_of(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	return secret_of(bio);
}

static void make_pair(struct pair *pair_r, EVP_PKEY *pkey)
{
	assert_non_null(pkey);
	pair_r->pkey = pkey;
	pair_r->cert = certificate_of(pkey, 1600000000, 1700000000);
	pair_r->key_pem = key_pem_of(pkey, NULL);
	pair_r->cert_pem = cert_pem_of(pair_r->cert);
}

static void free_pair(struct pair *pair)
{
	mauth_secret_free(&pair->key_pem);
	mauth_secret_free(&pair->cert_pem);
	X509_free(pair->cert);
	EVP_PKEY_free(pair->pkey);
}

static int make_pairs(void **state)
{
	make_pair(&good, EVP_RSA_gen(2048));
	make_pair(&other, EVP_RSA_gen(2048));
	return 0;
}

static int free_pairs(void **state)
{
	free_pair(&good);
	free_pair(&other);
	return 0;
}

static struct mauth_assertion_key *good_key(void)
{
	struct mauth_assertion_key *key = NULL;

	assert_int_equal(mauth_assertion_key_new(good.cert_pem, good.key_pem, &key, NULL), MAUTH_OK);
	return key;
}

/* Part number index of jwt, decoded. */
static struct mauth_buf part_of(const struct mauth_secret *jwt, unsigned int index)
{
	const char *begin = mauth_secret_expose(jwt);
	struct mauth_buf part = { 0 };

	for (; index > 0; index--)
		begin = strchr(begin, '.') + 1;
	assert_true(mauth_base64url_decode(&part, begin, strcspn(begin, ".")));
	return part;
}

static json_t *json_part_of(const struct mauth_secret *jwt, unsigned int index)
{
	struct mauth_buf part = part_of(jwt, index);
	json_t *value = mauth_json_object(part.data, part.size);

	assert_non_null(value);
	mauth_buf_free(&part);
	return value;
}

/* Whether the public key of pair says that its private half has signed jwt. */
static bool is_signed(const struct mauth_secret *jwt, const struct pair *pair, enum mauth_assertion_alg alg)
{
	const char *text = mauth_secret_expose(jwt);
	struct mauth_buf signature = part_of(jwt, 2);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY *pub = X509_get_pubkey(pair->cert);
	EVP_PKEY_CTX *pctx;
	int result;

	assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, EVP_sha256(), NULL, pub), 1);
	if (alg == MAUTH_ASSERTION_PS256) {
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		/* exactly 32 octets of salt, as RFC 7518 demands */
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32);
	}
	result = EVP_DigestVerify(ctx, (const unsigned char *)signature.data, signature.size,
				  (const unsigned char *)text, (size_t)(strrchr(text, '.') - text));
	EVP_PKEY_free(pub);
	EVP_MD_CTX_free(ctx);
	mauth_buf_free(&signature);
	ERR_clear_error();
	return result == 1;
}

static struct mauth_secret *sign(enum mauth_assertion_alg alg)
{
	struct mauth_assertion_key *key = good_key();
	struct mauth_secret *jwt = NULL;

	assert_int_equal(mauth_assertion_sign(key, alg, CLIENT, URL, NOW, 600, &jwt, NULL), MAUTH_OK);
	mauth_assertion_key_free(&key);
	return jwt;
}

static void the_public_key_confirms_the_signature(void **state)
{
	static const enum mauth_assertion_alg algs[] = { MAUTH_ASSERTION_PS256, MAUTH_ASSERTION_RS256 };

	for (size_t i = 0; i < 2; i++) {
		struct mauth_secret *jwt = sign(algs[i]);

		assert_true(is_signed(jwt, &good, algs[i]));
		assert_false(is_signed(jwt, &good, algs[1 - i]));
		assert_false(is_signed(jwt, &other, algs[i]));
		mauth_secret_free(&jwt);
	}
}

static void check_header(enum mauth_assertion_alg alg, const char *name, const char *print_name, const EVP_MD *md)
{
	struct mauth_secret *jwt = sign(alg);
	json_t *header = json_part_of(jwt, 0);
	struct mauth_buf print = { 0 };
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int size;

	assert_int_equal(X509_digest(good.cert, md, digest, &size), 1);
	mauth_base64url_encode(&print, digest, size);
	assert_int_equal(json_object_size(header), 3);
	assert_string_equal(mauth_json_str(header, "alg"), name);
	assert_string_equal(mauth_json_str(header, "typ"), "JWT");
	assert_string_equal(mauth_json_str(header, print_name), print.data);
	mauth_buf_free(&print);
	json_decref(header);
	mauth_secret_free(&jwt);
}

static void the_header_names_algorithm_and_thumbprint(void **state)
{
	check_header(MAUTH_ASSERTION_PS256, "PS256", "x5t#S256", EVP_sha256());
	check_header(MAUTH_ASSERTION_RS256, "RS256", "x5t", EVP_sha1());
}

static void the_claims_are_those_of_the_documentation(void **state)
{
	struct mauth_secret *jwt = sign(MAUTH_ASSERTION_PS256), *again = sign(MAUTH_ASSERTION_PS256);
	json_t *claims = json_part_of(jwt, 1), *others = json_part_of(again, 1);

	assert_string_equal(mauth_json_str(claims, "aud"), URL);
	assert_string_equal(mauth_json_str(claims, "iss"), CLIENT);
	assert_string_equal(mauth_json_str(claims, "sub"), CLIENT);
	/* Numbers, not strings: RFC 7519, section 2, NumericDate. */
	assert_true(json_is_integer(json_object_get(claims, "nbf")));
	assert_int_equal(json_integer_value(json_object_get(claims, "nbf")), NOW);
	assert_int_equal(json_integer_value(json_object_get(claims, "iat")), NOW);
	assert_int_equal(json_integer_value(json_object_get(claims, "exp")), NOW + 600);
	assert_int_equal(strlen(mauth_json_str(claims, "jti")), 36);
	assert_string_not_equal(mauth_json_str(claims, "jti"), mauth_json_str(others, "jti"));
	json_decref(claims);
	json_decref(others);
	mauth_secret_free(&jwt);
	mauth_secret_free(&again);
}

static void names_that_need_escaping_do_not_break_the_json(void **state)
{
	struct mauth_assertion_key *key = good_key();
	struct mauth_secret *jwt = NULL;
	struct mauth_error error;
	json_t *claims;

	assert_int_equal(mauth_assertion_sign(key, MAUTH_ASSERTION_PS256, "a\"b\\c", URL, NOW, 60, &jwt, NULL),
			 MAUTH_OK);
	claims = json_part_of(jwt, 1);
	assert_string_equal(mauth_json_str(claims, "iss"), "a\"b\\c");
	json_decref(claims);
	mauth_secret_free(&jwt);
	assert_int_equal(mauth_assertion_sign(key, MAUTH_ASSERTION_PS256, "\xff", URL, NOW, 60, &jwt, &error),
			 MAUTH_CONFIG);
	assert_null(jwt);
	mauth_assertion_key_free(&key);
}

static void an_expired_certificate_is_loaded_and_tells_its_end(void **state)
{
	struct mauth_assertion_key *key = good_key();

	assert_int_equal(mauth_assertion_key_not_after(key), 1700000000);
	mauth_assertion_key_free(&key);
	assert_null(key);
	mauth_assertion_key_free(&key);
}

static void check_refused(const struct mauth_secret *cert, const struct mauth_secret *key_pem, const char *says)
{
	struct mauth_assertion_key *key = NULL;
	struct mauth_error error;

	assert_int_equal(mauth_assertion_key_new(cert, key_pem, &key, &error), MAUTH_CONFIG);
	assert_null(key);
	if (strstr(error.text, says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", error.text, says);
	assert_int_equal(ERR_peek_error(), 0);
}

/* An RSA key that promises to be used with PSS only. */
static EVP_PKEY *pss_key_new(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
	EVP_PKEY *pkey = NULL;

	assert_int_equal(EVP_PKEY_keygen_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048), 1);
	assert_int_equal(EVP_PKEY_generate(ctx, &pkey), 1);
	EVP_PKEY_CTX_free(ctx);
	return pkey;
}

static void keys_that_cannot_serve_are_refused_with_the_reason(void **state)
{
	struct mauth_secret *junk = mauth_secret_new("junk", 4), *empty = mauth_secret_new("", 0);
	struct mauth_secret *encrypted = key_pem_of(good.pkey, "sesame");
	struct pair small, curve, pss;

	make_pair(&small, EVP_RSA_gen(1024));
	make_pair(&curve, EVP_EC_gen("P-256"));
	make_pair(&pss, pss_key_new());
	check_refused(good.cert_pem, junk, "no private key in PEM");
	check_refused(good.cert_pem, empty, "no private key in PEM");
	check_refused(good.cert_pem, good.cert_pem, "no private key in PEM");
	check_refused(junk, good.key_pem, "no certificate in PEM");
	check_refused(good.key_pem, good.key_pem, "no certificate in PEM");
	check_refused(good.cert_pem, encrypted, "encrypted");
	check_refused(good.cert_pem, other.key_pem, "do not belong together");
	check_refused(small.cert_pem, small.key_pem, "1024 bits");
	check_refused(curve.cert_pem, curve.key_pem, "not RSA");
	check_refused(pss.cert_pem, pss.key_pem, "not RSA");
	free_pair(&small);
	free_pair(&curve);
	free_pair(&pss);
	mauth_secret_free(&encrypted);
	mauth_secret_free(&junk);
	mauth_secret_free(&empty);
}

static const struct mauth_secret *
get(struct mauth_assertion *cache, const struct mauth_assertion_key *key, int64_t now_secs)
{
	const struct mauth_secret *jwt = NULL;

	assert_int_equal(mauth_assertion_get(cache, key, CLIENT, URL, now_secs, &jwt, NULL), MAUTH_OK);
	return jwt;
}

/* Whether get() at now_secs signs anew after it has signed at NOW. */
static bool signs_anew(int64_t now_secs)
{
	struct mauth_assertion_key *key = good_key();
	struct mauth_assertion cache = { 0 };
	struct mauth_secret *before = mauth_secret_dup(get(&cache, key, NOW));
	bool anew = !mauth_secret_equal(before, get(&cache, key, now_secs));

	mauth_secret_free(&before);
	mauth_assertion_clear(&cache);
	mauth_assertion_key_free(&key);
	return anew;
}

static void an_assertion_is_reused_until_its_last_minute(void **state)
{
	assert_false(signs_anew(NOW));
	assert_false(signs_anew(NOW + 539));
	assert_true(signs_anew(NOW + 540));
	assert_true(signs_anew(NOW + 100000));
}

static void a_clock_that_was_set_back_signs_anew(void **state)
{
	assert_true(signs_anew(NOW - 1));
	assert_true(signs_anew(NOW - 3600));
}

static void the_renewed_assertion_has_the_new_times(void **state)
{
	struct mauth_assertion_key *key = good_key();
	struct mauth_assertion cache = { 0 };
	json_t *claims;

	get(&cache, key, NOW);
	claims = json_part_of(get(&cache, key, NOW + 600), 1);
	assert_int_equal(json_integer_value(json_object_get(claims, "nbf")), NOW + 600);
	assert_int_equal(json_integer_value(json_object_get(claims, "exp")), NOW + 1200);
	json_decref(claims);
	mauth_assertion_clear(&cache);
	mauth_assertion_key_free(&key);
}

static void a_refused_ps256_falls_back_to_rs256_and_stays_there(void **state)
{
	struct mauth_assertion_key *key = good_key();
	struct mauth_assertion cache = { 0 };
	struct mauth_secret *rs256;

	assert_true(is_signed(get(&cache, key, NOW), &good, MAUTH_ASSERTION_PS256));
	assert_true(mauth_assertion_refused(&cache));
	assert_true(is_signed(get(&cache, key, NOW), &good, MAUTH_ASSERTION_RS256));
	rs256 = mauth_secret_dup(get(&cache, key, NOW));
	/* There is nothing left to fall back to, and no reason to sign more often. */
	assert_false(mauth_assertion_refused(&cache));
	assert_true(mauth_secret_equal(rs256, get(&cache, key, NOW)));
	assert_true(is_signed(get(&cache, key, NOW + 600), &good, MAUTH_ASSERTION_RS256));
	mauth_secret_free(&rs256);
	mauth_assertion_clear(&cache);
	assert_null(cache.jwt);
	mauth_assertion_key_free(&key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "the public key confirms the signature", the_public_key_confirms_the_signature },
		{ "the header names algorithm and thumbprint", the_header_names_algorithm_and_thumbprint },
		{ "the claims are those of the documentation", the_claims_are_those_of_the_documentation },
		{ "names that need escaping do not break the JSON",
		  names_that_need_escaping_do_not_break_the_json },
		{ "an expired certificate is loaded and tells its end",
		  an_expired_certificate_is_loaded_and_tells_its_end },
		{ "keys that cannot serve are refused with the reason",
		  keys_that_cannot_serve_are_refused_with_the_reason },
		{ "an assertion is reused until its last minute", an_assertion_is_reused_until_its_last_minute },
		{ "a clock that was set back signs anew", a_clock_that_was_set_back_signs_anew },
		{ "the renewed assertion has the new times", the_renewed_assertion_has_the_new_times },
		{ "a refused PS256 falls back to RS256 and stays there",
		  a_refused_ps256_falls_back_to_rs256_and_stays_there },
	};

	return cmocka_run_group_tests(tests, make_pairs, free_pairs);
}
