/* SPDX-License-Identifier: MIT */
#include "core/privacy-private.h"

#include "core/chain.h"
#include "core/mailbox.h"
#include "core/network.h"
#include "core/pseudonyms.h"
#include "core/upn.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LINE "modernauth-privacy-key: "
#define KEY_SIZE 32u
#define PREFIX "anon-"
#define LETTERS 16u                          /* five bits each: 80 bits, no two of a million people are alike */

/* -- the key ------------------------------------------------------------------------------------------------ */

struct mauth_secret *mauth_privacy_key_text(void)
{
	unsigned char key[KEY_SIZE];
	struct mauth_buf text = { 0 };
	struct mauth_secret *secret;

	mauth_random(key, sizeof(key));
	mauth_buf_puts(&text, KEY_LINE);
	for (size_t i = 0; i < sizeof(key); i++)
		mauth_buf_printf(&text, "%02x", key[i]);
	mauth_buf_putc(&text, '\n');
	secret = mauth_secret_new(text.data, text.size);
	mauth_buf_free(&text);
	mauth_wipe(key, sizeof(key));
	return secret;
}

enum mauth_status mauth_privacy_key_read(const struct mauth_secret *text, struct mauth_secret **key_r, struct mauth_error *error_r)
{
	const char *at = mauth_secret_expose(text), *end = at + mauth_secret_size(text);
	unsigned char key[KEY_SIZE];

	if ((size_t)(end - at) < sizeof(KEY_LINE) - 1 || memcmp(at, KEY_LINE, sizeof(KEY_LINE) - 1) != 0)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "it does not begin with \"" KEY_LINE "\"");
	at += sizeof(KEY_LINE) - 1;
	if (!mauth_chain_take_hex(&at, end, key, sizeof(key)) || at == end || *at != '\n' || at + 1 != end) {
		mauth_wipe(key, sizeof(key));
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%u hexadecimal digits and the end of the line were expected", 2 * KEY_SIZE);
	}
	*key_r = mauth_secret_new((const char *)key, sizeof(key));
	mauth_wipe(key, sizeof(key));
	return MAUTH_OK;
}

/* -- names -------------------------------------------------------------------------------------------------- */

void mauth_privacy_person(const struct mauth_config *config, const char *name, char person_r[static MAUTH_USER_MAX + 1])
{
	struct mauth_mailbox where;

	if (mauth_mailbox_resolve(config, name, &where, NULL) == MAUTH_OK) {
		memcpy(person_r, where.login, sizeof(where.login));
		return;
	}
	snprintf(person_r, MAUTH_USER_MAX + 1, "%s", name);
	mauth_lowercase(person_r);
}

static void make_pseudonym(const struct mauth_secret *key, const char *person, char pseudonym_r[static MAUTH_PSEUDONYM_SIZE])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
	static const char label[] = "modernauth pseudonym 1";
	unsigned char hash[EVP_MAX_MD_SIZE];
	char text[sizeof(label) + MAUTH_USER_MAX + 1], *at = pseudonym_r + sizeof(PREFIX) - 1;
	size_t size = strnlen(person, MAUTH_USER_MAX);
	unsigned int bits = 0, pending = 0, next = 0;

	memcpy(text, label, sizeof(label));
	memcpy(text + sizeof(label), person, size);
	/* Fails for want of memory only. */
	if (HMAC(EVP_sha256(), mauth_secret_expose(key), (int)mauth_secret_size(key), (const unsigned char *)text,
		 sizeof(label) + size, hash, NULL) == NULL)
		abort();
	memcpy(pseudonym_r, PREFIX, sizeof(PREFIX) - 1);
	for (unsigned int i = 0; i < LETTERS; i++) {
		if (bits < 5) {
			pending = pending << 8 | hash[next++];
			bits += 8;
		}
		bits -= 5;
		*at++ = letters[(pending >> bits) & 31];
	}
	*at = '\0';
}

void mauth_privacy_pseudonym(const struct mauth_privacy *privacy, const char *name, char pseudonym_r[static MAUTH_PSEUDONYM_SIZE])
{
	char person[MAUTH_USER_MAX + 1];

	mauth_privacy_person(privacy->config, name, person);
	make_pseudonym(privacy->config->privacy_key, person, pseudonym_r);
}

void privacy_name(const struct mauth_privacy *privacy, const char *name, bool works, char pseudonym_r[static MAUTH_PSEUDONYM_SIZE])
{
	char person[MAUTH_USER_MAX + 1];

	mauth_privacy_person(privacy->config, name, person);
	make_pseudonym(privacy->config->privacy_key, person, pseudonym_r);
	if (privacy->pseudonyms != NULL)
		mauth_pseudonyms_note(privacy->pseudonyms, pseudonym_r, person, works);
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7');
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool mauth_is_pseudonym(const char *text, size_t size)
{
	if (size < MAUTH_PSEUDONYM_SIZE - 1 || memcmp(text, PREFIX, sizeof(PREFIX) - 1) != 0)
		return false;
	for (size_t i = sizeof(PREFIX) - 1; i < MAUTH_PSEUDONYM_SIZE - 1; i++) {
		if (!is_letter(text[i]))
			return false;
	}
	return size == MAUTH_PSEUDONYM_SIZE - 1 || !is_word(text[MAUTH_PSEUDONYM_SIZE - 1]);
}

bool mauth_privacy_prefix(const char *ip, char *prefix_r, size_t size)
{
	struct mauth_network network = { 0 };
	char text[MAUTH_NETWORK_TEXT_SIZE];
	struct mauth_address address;
	size_t keep;

	if (!mauth_address_parse(ip, &address))
		return false;
	keep = address.mapped ? 15 : 6;
	memcpy(network.address, address.octets, keep);
	network.bits = 128;
	mauth_network_format(&network, text);
	return (size_t)snprintf(prefix_r, size, "%s", text) < size;
}

/* -- the whole ---------------------------------------------------------------------------------------------- */

bool mauth_privacy_is_wanted(const struct mauth_config *config)
{
	return config->privacy_users != MAUTH_USERS_CLEAR || config->privacy_ips;
}

struct mauth_privacy *mauth_privacy_new(struct mauth_config *config, struct mauth_pseudonyms *pseudonyms)
{
	struct mauth_privacy *privacy = mauth_new(sizeof(*privacy));

	privacy->config = mauth_config_ref(config);
	privacy->pseudonyms = config->privacy_users == MAUTH_USERS_PSEUDONYM ? pseudonyms : NULL;
	return privacy;
}

void mauth_privacy_free(struct mauth_privacy **privacy)
{
	if (*privacy == NULL)
		return;
	mauth_config_unref(&(*privacy)->config);
	mauth_buf_free(&(*privacy)->records);
	free(*privacy);
	*privacy = NULL;
}

enum mauth_privacy_users mauth_privacy_users(const struct mauth_privacy *privacy)
{
	return privacy->config->privacy_users;
}

/* -- what it stands before ---------------------------------------------------------------------------------- */

static enum mauth_status append(void *context, const char *lines, size_t size, struct mauth_error *error_r)
{
	struct mauth_privacy *privacy = context;
	enum mauth_status status;

	/* Never untold what was asked to be hidden: a record that cannot be read here is not written. */
	if (!mauth_privacy_records(privacy, lines, size, &privacy->records))
		return mauth_fail(error_r, MAUTH_AUDIT, 0, "a record that is no JSON cannot be made private");
	status = privacy->inner->append(privacy->inner->context, privacy->records.data, privacy->records.size, error_r);
	mauth_buf_clear(&privacy->records);
	return status;
}

/* How safe a record is is the inner sink's promise. */
static void commit(void *context, mauth_audit_commit_fn *done, void *done_context)
{
	const struct mauth_privacy *privacy = context;

	privacy->inner->commit(privacy->inner->context, done, done_context);
}

const struct mauth_audit_sink *mauth_privacy_sink(struct mauth_privacy *privacy, const struct mauth_audit_sink *inner)
{
	privacy->inner = inner;
	privacy->sink = (struct mauth_audit_sink){ .append = append, .context = privacy, .commit = inner->commit != NULL ? commit : NULL };
	return &privacy->sink;
}

static void log_line(void *context, enum mauth_level level, const char *text)
{
	const struct mauth_privacy *privacy = context;
	struct mauth_buf buf = { 0 };

	mauth_privacy_text(privacy, text, &buf);
	privacy->inner_log->line(privacy->inner_log->context, level, buf.data == NULL ? "" : buf.data);
	mauth_buf_free(&buf);
}

#define FIELDS_MAX 32u

/* What a field says instead; NULL: what it is. */
static const char *tell_field(const struct mauth_privacy *privacy, const struct mauth_field *field, struct mauth_buf *buf)
{
	char pseudonym[MAUTH_PSEUDONYM_SIZE], prefix[PRIVACY_ADDRESS_SIZE];

	if (field->str == NULL)
		return NULL;
	if (strcmp(field->name, "user") == 0 && privacy->config->privacy_users != MAUTH_USERS_CLEAR) {
		privacy_name(privacy, field->str, false, pseudonym);
		mauth_buf_puts(buf, pseudonym);
	} else if (privacy->config->privacy_ips && mauth_privacy_prefix(field->str, prefix, sizeof(prefix))) {
		mauth_buf_puts(buf, prefix);
	} else {
		mauth_privacy_text(privacy, field->str, buf);
	}
	return buf->data == NULL ? "" : buf->data;
}

static void log_event(void *context, const char *name, int64_t started_usecs, const struct mauth_field *fields, size_t count)
{
	const struct mauth_privacy *privacy = context;
	struct mauth_field told[FIELDS_MAX] = { { 0 } };
	struct mauth_buf bufs[FIELDS_MAX] = { { 0 } };

	/* Nobody's event has as many. */
	if (count > FIELDS_MAX)
		count = FIELDS_MAX;
	for (size_t i = 0; i < count; i++) {
		const char *text = tell_field(privacy, &fields[i], &bufs[i]);

		told[i] = fields[i];
		if (text != NULL)
			told[i].str = text;
	}
	privacy->inner_log->event(privacy->inner_log->context, name, started_usecs, told, count);
	for (size_t i = 0; i < count; i++)
		mauth_buf_free(&bufs[i]);
}

const struct mauth_log *mauth_privacy_log(struct mauth_privacy *privacy, const struct mauth_log *inner)
{
	privacy->inner_log = inner;
	privacy->log = (struct mauth_log){ .line = log_line, .event = inner->event == NULL ? NULL : log_event,
					   .context = privacy, .debug = inner->debug };
	return &privacy->log;
}
