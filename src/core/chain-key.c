/* SPDX-License-Identifier: MIT */
#include "core/chain-private.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The secret file: a line with the HMAC key, then the private key as PEM. */
#define MAC_LINE "modernauth-audit-mac: "
#define MAC_KEY_SIZE 32u

static EVP_MAC_CTX *mac_new(const unsigned char *key)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *context = mac == NULL ? NULL : EVP_MAC_CTX_new(mac);
	char name[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0), OSSL_PARAM_construct_end(),
	};

	if (context == NULL || EVP_MAC_init(context, key, MAC_KEY_SIZE, params) != 1)
		abort();
	EVP_MAC_free(mac);
	return context;
}

static struct mauth_chain_key *key_new(const unsigned char *mac_key, EVP_PKEY *pair)
{
	struct mauth_chain_key *key = mauth_new(sizeof(*key));

	key->pair = pair;
	key->hash = EVP_MD_CTX_new();
	key->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (key->hash == NULL || key->sha256 == NULL)
		abort();
	if (mac_key != NULL) {
		key->mac = mac_new(mac_key);
		key->mac_key = mauth_secret_new(mac_key, MAC_KEY_SIZE);
	}
	return key;
}

struct mauth_chain_key *mauth_chain_key_new(void)
{
	EVP_PKEY *pair = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	unsigned char mac_key[MAC_KEY_SIZE];
	struct mauth_chain_key *key;

	if (pair == NULL)
		abort();
	mauth_random(mac_key, sizeof(mac_key));
	key = key_new(mac_key, pair);
	mauth_wipe(mac_key, sizeof(mac_key));
	return key;
}

void mauth_chain_key_free(struct mauth_chain_key **key)
{
	if (*key == NULL)
		return;
	EVP_MD_CTX_free((*key)->hash);
	EVP_MD_free((*key)->sha256);
	EVP_MAC_CTX_free((*key)->mac);
	mauth_secret_free(&(*key)->mac_key);
	EVP_PKEY_free((*key)->pair);
	free(*key);
	*key = NULL;
}

bool mauth_chain_key_is_secret(const struct mauth_chain_key *key)
{
	return key->mac != NULL;
}

/* -- as text ------------------------------------------------------------------------------------------------ */

struct mauth_secret *mauth_chain_key_text(const struct mauth_chain_key *key)
{
	const unsigned char *mac_key = (const unsigned char *)mauth_secret_expose(key->mac_key);
	BIO *bio = BIO_new(BIO_s_secmem());
	struct mauth_buf text = { 0 };
	struct mauth_secret *secret;
	char *pem;
	long size;

	if (bio == NULL || PEM_write_bio_PrivateKey(bio, key->pair, NULL, NULL, 0, NULL, NULL) != 1)
		abort();
	mauth_buf_puts(&text, MAC_LINE);
	for (size_t i = 0; i < MAC_KEY_SIZE; i++)
		mauth_buf_printf(&text, "%02x", mac_key[i]);
	mauth_buf_putc(&text, '\n');
	size = BIO_get_mem_data(bio, &pem);
	mauth_buf_append(&text, pem, (size_t)size);
	secret = mauth_secret_new(text.data, text.size);
	mauth_buf_free(&text);
	BIO_free(bio);
	return secret;
}

char *mauth_chain_key_public(const struct mauth_chain_key *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem, *text;
	long size;

	if (bio == NULL || PEM_write_bio_PUBKEY(bio, key->pair) != 1)
		abort();
	size = BIO_get_mem_data(bio, &pem);
	text = mauth_strndup(pem, (size_t)size);
	BIO_free(bio);
	return text;
}

static int no_passphrase(char *buf, int size, int writing, void *context)
{
	return -1;
}

static bool read_mac_key(const char *text, unsigned char key_r[MAC_KEY_SIZE])
{
	if (strncmp(text, MAC_LINE, sizeof(MAC_LINE) - 1) != 0)
		return false;
	text += sizeof(MAC_LINE) - 1;
	return mauth_chain_take_hex(&text, text + strlen(text), key_r, MAC_KEY_SIZE) && (*text == '\n' || *text == '\r');
}

enum mauth_status mauth_chain_key_read(const struct mauth_secret *text, struct mauth_chain_key **key_r,
				       struct mauth_error *error_r)
{
	const char *data = mauth_secret_expose(text);
	unsigned char mac_key[MAC_KEY_SIZE];
	bool secret = read_mac_key(data, mac_key);
	BIO *bio = BIO_new_mem_buf(data, (int)mauth_secret_size(text));
	EVP_PKEY *pair;

	if (bio == NULL)
		abort();
	pair = secret ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	if (pair == NULL || EVP_PKEY_is_a(pair, "ED25519") != 1) {
		EVP_PKEY_free(pair);
		mauth_wipe(mac_key, sizeof(mac_key));
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "neither the key file of an audit nor its public key (PEM, Ed25519)");
	}
	*key_r = key_new(secret ? mac_key : NULL, pair);
	mauth_wipe(mac_key, sizeof(mac_key));
	return MAUTH_OK;
}

struct mauth_chain_key *mauth_chain_key_dup(const struct mauth_chain_key *key)
{
	struct mauth_secret *text = mauth_chain_key_text(key);
	struct mauth_chain_key *copy = NULL;

	/* It is our own text. */
	if (mauth_chain_key_read(text, &copy, NULL) != MAUTH_OK)
		abort();
	mauth_secret_free(&text);
	return copy;
}

/* -- signatures --------------------------------------------------------------------------------------------- */

#define SIGNED_MAX 160u

static size_t signed_text(const char *writer, const struct mauth_chain_state *state, char text_r[SIGNED_MAX])
{
	int size = snprintf(text_r, SIGNED_MAX, "modernauth audit checkpoint 1\n%s\n%" PRIu64 "\n", writer, state->number);

	for (size_t i = 0; i < MAUTH_CHAIN_HASH; i++)
		size += snprintf(text_r + size, SIGNED_MAX - (size_t)size, "%02x", state->head[i]);
	return (size_t)size;
}

void mauth_chain_sign(const struct mauth_chain_key *key, const char *writer, const struct mauth_chain_state *state,
		      unsigned char signature_r[MAUTH_CHAIN_SIGNATURE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t size = MAUTH_CHAIN_SIGNATURE;
	char text[SIGNED_MAX];
	size_t text_size = signed_text(writer, state, text);

	/* Fails for want of memory only. */
	if (context == NULL || EVP_DigestSignInit(context, NULL, NULL, NULL, key->pair) != 1 ||
	    EVP_DigestSign(context, signature_r, &size, (const unsigned char *)text, text_size) != 1)
		abort();
	EVP_MD_CTX_free(context);
}

bool mauth_chain_check(const struct mauth_chain_key *key, const char *writer, const struct mauth_chain_state *state,
		       const unsigned char signature[MAUTH_CHAIN_SIGNATURE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	char text[SIGNED_MAX];
	size_t text_size = signed_text(writer, state, text);
	bool right;

	if (context == NULL)
		abort();
	right = EVP_DigestVerifyInit(context, NULL, NULL, NULL, key->pair) == 1 &&
		EVP_DigestVerify(context, signature, MAUTH_CHAIN_SIGNATURE, (const unsigned char *)text, text_size) == 1;
	EVP_MD_CTX_free(context);
	return right;
}
