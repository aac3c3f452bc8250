/* SPDX-License-Identifier: MIT */
#include "core/seal.h"

#include "core/jwt.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define KEY_SIZE 32
#define ID_OCTETS 8u            /* MAUTH_SEAL_KEY_ID_SIZE is their hex */
#define NONCE_SIZE 12u
#define TAG_SIZE 16u
#define NAME_SIZE (1u + ID_OCTETS)              /* version and key id: what an envelope begins with */
#define HEAD_SIZE (NAME_SIZE + NONCE_SIZE)
#define ENVELOPE_MIN (HEAD_SIZE + TAG_SIZE)
#define BASE64_SIZE(octets) (((octets) * 4u + 2u) / 3u)
#define NAME_TEXT_SIZE BASE64_SIZE(NAME_SIZE)   /* whole groups: the name can be read alone */
#define TEXT_MIN BASE64_SIZE(ENVELOPE_MIN)
#define TEXT_MAX BASE64_SIZE(ENVELOPE_MIN + MAUTH_SEAL_PLAIN_MAX)
#define KEY_FILE_MAX 65536u

_Static_assert(NAME_SIZE % 3 == 0, "the name must end where a base64 group ends");
_Static_assert(TEXT_MAX <= 65536u, "a sealed value must fit into a row of the store");

struct key {
	unsigned char id[ID_OCTETS];
	unsigned char octets[KEY_SIZE];
	char id_hex[MAUTH_SEAL_KEY_ID_SIZE];
};

struct mauth_keyring {
	size_t count;
	struct key keys[MAUTH_SEAL_KEYS_MAX];   /* the last one seals */
};

static enum mauth_status advise(struct mauth_error *error_r, enum mauth_status status, const char *advice)
{
	if (error_r != NULL)
		mauth_clean_copy(error_r->advice, sizeof(error_r->advice), advice, strlen(advice));
	return status;
}

static void to_hex(const unsigned char *data, size_t size, char *hex_r)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		hex_r[2 * i] = digits[data[i] >> 4];
		hex_r[2 * i + 1] = digits[data[i] & 15];
	}
	hex_r[2 * size] = '\0';
}

/* -- the keyring -- */

/* The id is made of the key: a key file with a damaged line is found when it is read, not when nothing can be unsealed,
 * and 64 bits of the hash of 256 random bits help nobody to find them. */
static void name_key(struct key *key)
{
	static const char purpose[] = "modernauth key id";
	unsigned char input[sizeof(purpose) + KEY_SIZE], digest[SHA256_DIGEST_LENGTH];

	memcpy(input, purpose, sizeof(purpose));
	memcpy(input + sizeof(purpose), key->octets, KEY_SIZE);
	SHA256(input, sizeof(input), digest);
	memcpy(key->id, digest, ID_OCTETS);
	to_hex(key->id, ID_OCTETS, key->id_hex);
	mauth_wipe(input, sizeof(input));
}

static const struct key *sealing_key(const struct mauth_keyring *keyring)
{
	return &keyring->keys[keyring->count - 1];
}

static const struct key *find_key(const struct mauth_keyring *keyring, const unsigned char *id)
{
	for (size_t i = 0; i < keyring->count; i++) {
		if (memcmp(keyring->keys[i].id, id, ID_OCTETS) == 0)
			return &keyring->keys[i];
	}
	return NULL;
}

static void add_fresh_key(struct mauth_keyring *keyring)
{
	struct key *key = &keyring->keys[keyring->count++];

	mauth_random(key->octets, KEY_SIZE);
	name_key(key);
}

struct mauth_keyring *mauth_keyring_new(void)
{
	struct mauth_keyring *keyring = mauth_new(sizeof(*keyring));

	add_fresh_key(keyring);
	return keyring;
}

struct mauth_keyring *mauth_keyring_dup(const struct mauth_keyring *keyring)
{
	struct mauth_keyring *copy = mauth_new(sizeof(*copy));

	*copy = *keyring;
	return copy;
}

void mauth_keyring_free(struct mauth_keyring **keyring)
{
	if (*keyring == NULL)
		return;
	mauth_wipe(*keyring, sizeof(**keyring));
	free(*keyring);
	*keyring = NULL;
}

enum mauth_status mauth_keyring_add(struct mauth_keyring *keyring, struct mauth_error *error_r)
{
	if (keyring->count == MAUTH_SEAL_KEYS_MAX)
		return advise(error_r,
			      mauth_fail(error_r, MAUTH_CONFIG, 0, "there are %u keys already, which is the most",
					 MAUTH_SEAL_KEYS_MAX),
			      "seal everything under the newest key and retire the others first");
	add_fresh_key(keyring);
	return MAUTH_OK;
}

void mauth_keyring_retire(struct mauth_keyring *keyring)
{
	keyring->keys[0] = *sealing_key(keyring);
	keyring->count = 1;
	mauth_wipe(&keyring->keys[1], sizeof(keyring->keys) - sizeof(keyring->keys[0]));
}

const char *mauth_keyring_id(const struct mauth_keyring *keyring)
{
	return sealing_key(keyring)->id_hex;
}

size_t mauth_keyring_count(const struct mauth_keyring *keyring)
{
	return keyring->count;
}

/* -- its text -- */

static const char key_word[] = "modernauth-key";

struct mauth_secret *mauth_keyring_format(const struct mauth_keyring *keyring)
{
	struct mauth_buf buf = { 0 };
	struct mauth_secret *text;

	mauth_buf_puts(&buf,
		       "# The keys of dovecot-modernauth, which seal what modernauth.db holds. The last one seals, the ones before\n"
		       "# it open what was sealed earlier. Without this file the database is worthless; with both, everything in\n"
		       "# it can be read. Keep a copy, and keep it apart from the copies of the database.\n");
	for (size_t i = 0; i < keyring->count; i++) {
		mauth_buf_printf(&buf, "%s %s ", key_word, keyring->keys[i].id_hex);
		mauth_base64url_encode(&buf, keyring->keys[i].octets, KEY_SIZE);
		mauth_buf_putc(&buf, '\n');
	}
	text = mauth_secret_new(buf.data, buf.size);
	mauth_buf_free(&buf);
	return text;
}

struct words {
	const char *pos, *end;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word, of size 0 at the end. */
static struct words next_word(struct words *line)
{
	struct words word;

	while (line->pos < line->end && is_blank(*line->pos))
		line->pos++;
	word.pos = line->pos;
	while (line->pos < line->end && !is_blank(*line->pos))
		line->pos++;
	word.end = line->pos;
	return word;
}

static bool word_is(struct words word, const char *str)
{
	size_t size = (size_t)(word.end - word.pos);

	return size == strlen(str) && memcmp(word.pos, str, size) == 0;
}

static bool decode_key(struct words word, struct key *key_r)
{
	struct mauth_buf octets = { 0 };
	bool ok = word.end - word.pos == (ptrdiff_t)BASE64_SIZE(KEY_SIZE) &&
		  mauth_base64url_decode(&octets, word.pos, (size_t)(word.end - word.pos));

	if (ok) {
		memcpy(key_r->octets, octets.data, KEY_SIZE);
		name_key(key_r);
	}
	mauth_buf_free(&octets);
	return ok;
}

/* What is wrong with the line, NULL if nothing is. Says nothing of what stands there: words that have changed places
 * would be a key in the log. */
static const char *parse_line(struct mauth_keyring *keyring, struct words line)
{
	struct key *key = &keyring->keys[keyring->count];
	struct words word = next_word(&line), id, octets;

	if (word.pos == word.end || *word.pos == '#')
		return NULL;
	if (!word_is(word, key_word))
		return "neither a comment nor a key";
	id = next_word(&line);
	octets = next_word(&line);
	word = next_word(&line);
	if (octets.pos == octets.end || word.pos != word.end)
		return "a key has an id and 43 characters";
	if (keyring->count == MAUTH_SEAL_KEYS_MAX)
		return "more than 8 keys";
	if (!decode_key(octets, key))
		return "not a key: 43 characters of base64url are";
	if (!word_is(id, key->id_hex))
		return "the key is not the one that its id names; one of them was changed";
	if (find_key(keyring, key->id) != NULL)
		return "this key was there before";
	keyring->count++;
	return NULL;
}

static const char *parse_lines(struct mauth_keyring *keyring, struct words text, unsigned int *line_r)
{
	const char *wrong = NULL;

	for (*line_r = 1; text.pos < text.end; ++*line_r) {
		const char *newline = memchr(text.pos, '\n', (size_t)(text.end - text.pos));
		struct words line = { text.pos, newline == NULL ? text.end : newline };

		wrong = parse_line(keyring, line);
		if (wrong != NULL)
			break;
		text.pos = newline == NULL ? text.end : newline + 1;
	}
	if (wrong == NULL && keyring->count == 0)
		wrong = "the file ends without a key";
	return wrong;
}

enum mauth_status mauth_keyring_parse(const char *name, const struct mauth_secret *text, struct mauth_keyring **keyring_r,
				      struct mauth_error *error_r)
{
	static const char restore[] = "restore the file from its copy; it is not meant to be edited";
	struct words words = { mauth_secret_expose(text), mauth_secret_expose(text) + mauth_secret_size(text) };
	struct mauth_keyring *keyring;
	const char *wrong;
	unsigned int line;

	if (mauth_secret_size(text) > KEY_FILE_MAX)
		return advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "%.300s:1: larger than %u octets", name,
						  KEY_FILE_MAX), restore);
	keyring = mauth_new(sizeof(*keyring));
	wrong = parse_lines(keyring, words, &line);
	if (wrong != NULL) {
		mauth_keyring_free(&keyring);
		return advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "%.300s:%u: %s", name, line, wrong),
			      restore);
	}
	*keyring_r = keyring;
	return MAUTH_OK;
}

/* -- sealing -- */

/* OpenSSL fails here for want of memory only, or because it has been built without AES. */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

/* Each part stands behind its size: the same octets divided otherwise are another context. */
static void associate_part(EVP_CIPHER_CTX *ctx, const char *part)
{
	size_t size = strlen(part);
	unsigned char prefix[4] = { (unsigned char)(size >> 24), (unsigned char)(size >> 16),
				    (unsigned char)(size >> 8), (unsigned char)size };
	int used;

	must(EVP_CipherUpdate(ctx, NULL, &used, prefix, sizeof(prefix)));
	if (size > 0)
		must(EVP_CipherUpdate(ctx, NULL, &used, (const unsigned char *)part, (int)size));
}

/* A cipher that has read head (version, key id, nonce) and context. */
static EVP_CIPHER_CTX *cipher_new(const struct key *key, const unsigned char *head,
				  const struct mauth_seal_context *context, bool encrypt)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int used;

	must(ctx != NULL);
	must(EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->octets, head + NAME_SIZE, encrypt));
	must(EVP_CipherUpdate(ctx, NULL, &used, head, NAME_SIZE));
	associate_part(ctx, context->kind);
	associate_part(ctx, context->tenant);
	associate_part(ctx, context->user);
	return ctx;
}

void mauth_seal(const struct mauth_keyring *keyring, const struct mauth_seal_context *context,
		const struct mauth_secret *plain, struct mauth_buf *to)
{
	const struct key *key = sealing_key(keyring);
	size_t size = mauth_secret_size(plain);
	unsigned char *envelope;
	EVP_CIPHER_CTX *ctx;
	int used;

	/* To drop it silently would lose what the caller believes to be safe. */
	if (size > MAUTH_SEAL_PLAIN_MAX)
		abort();
	envelope = mauth_new(ENVELOPE_MIN + size);
	envelope[0] = VERSION;
	memcpy(envelope + 1, key->id, ID_OCTETS);
	/* Random ones may collide: SP 800-38D allows 2^32 values per key, and a key sees some thousand a day. */
	mauth_random(envelope + NAME_SIZE, NONCE_SIZE);
	ctx = cipher_new(key, envelope, context, true);
	if (size > 0)
		must(EVP_CipherUpdate(ctx, envelope + HEAD_SIZE, &used,
				      (const unsigned char *)mauth_secret_expose(plain), (int)size));
	must(EVP_CipherFinal_ex(ctx, envelope + HEAD_SIZE + size, &used));
	must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, envelope + HEAD_SIZE + size));
	EVP_CIPHER_CTX_free(ctx);
	mauth_base64url_encode(to, envelope, ENVELOPE_MIN + size);
	free(envelope);
}

static enum mauth_status no_envelope(struct mauth_error *error_r, const char *what)
{
	return advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "not a sealed value: %s", what),
		      "the value was damaged: restore the database from a backup, or set up this entry anew");
}

static enum mauth_status no_key(struct mauth_error *error_r, const unsigned char *id)
{
	char hex[MAUTH_SEAL_KEY_ID_SIZE];

	to_hex(id, ID_OCTETS, hex);
	return advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0, "sealed under key %s, which is not in the key file",
					  hex),
		      "put the key file that has this key back; without it the value is lost and must be set up anew");
}

/* Decrypts in place. false: the tag is not the one of these octets in this context. */
static bool open_envelope(const struct key *key, const struct mauth_seal_context *context, unsigned char *envelope,
			  size_t size)
{
	size_t plain_size = size - ENVELOPE_MIN;
	unsigned char *plain = envelope + HEAD_SIZE;
	EVP_CIPHER_CTX *ctx = cipher_new(key, envelope, context, false);
	bool ok;
	int used;

	must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, plain + plain_size));
	ok = plain_size == 0 || EVP_CipherUpdate(ctx, plain, &used, plain, (int)plain_size) == 1;
	ok = ok && EVP_CipherFinal_ex(ctx, plain + plain_size, &used) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static enum mauth_status unseal_octets(const struct mauth_keyring *keyring, const struct mauth_seal_context *context,
				       const struct mauth_buf *envelope, struct mauth_secret **plain_r,
				       struct mauth_error *error_r)
{
	unsigned char *octets = (unsigned char *)envelope->data;
	const struct key *key;

	if (octets[0] != VERSION)
		return no_envelope(error_r, "it has another version");
	key = find_key(keyring, octets + 1);
	if (key == NULL)
		return no_key(error_r, octets + 1);
	if (!open_envelope(key, context, octets, envelope->size))
		return advise(error_r, mauth_fail(error_r, MAUTH_CONFIG, 0,
						  "the sealed value was changed, or it belongs to somebody else"),
			      "find out who wrote to the database; restore it from a backup, or set up this entry anew");
	*plain_r = mauth_secret_new(octets + HEAD_SIZE, envelope->size - ENVELOPE_MIN);
	return MAUTH_OK;
}

enum mauth_status mauth_unseal(const struct mauth_keyring *keyring, const struct mauth_seal_context *context,
			       const char *text, size_t size, struct mauth_secret **plain_r, struct mauth_error *error_r)
{
	struct mauth_buf envelope = { 0 };
	enum mauth_status status;

	if (size < TEXT_MIN)
		return no_envelope(error_r, "it is too short");
	if (size > TEXT_MAX)
		return no_envelope(error_r, "it is too long");
	if (!mauth_base64url_decode(&envelope, text, size))
		return no_envelope(error_r, "it is not base64url");
	status = unseal_octets(keyring, context, &envelope, plain_r, error_r);
	mauth_buf_free(&envelope);
	return status;
}

bool mauth_seal_is_current(const struct mauth_keyring *keyring, const char *text, size_t size)
{
	struct mauth_buf name = { 0 };
	bool current;

	if (size < TEXT_MIN || size > TEXT_MAX || !mauth_base64url_decode(&name, text, NAME_TEXT_SIZE))
		return false;
	current = name.data[0] == VERSION && memcmp(name.data + 1, sealing_key(keyring)->id, ID_OCTETS) == 0;
	mauth_buf_free(&name);
	return current;
}
