/* SPDX-License-Identifier: MIT */
#include "core/chain.h"

#include "core/chain-private.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char member_open[] = ",\"chain\":{\"w\":\"";
static const char number_open[] = "\",\"n\":";
static const char mac_open[] = ",\"mac\":\"";
static const char head_open[] = "\",\"head\":\"";
static const char signature_open[] = "\",\"sig\":\"";
static const char member_close[] = "\"}}";

/* -- hashes: looking an algorithm up costs as much as using it -- */

static void digest(const struct mauth_chain_key *key, const void *data, size_t size, unsigned char hash_r[MAUTH_CHAIN_HASH])
{
	/* Fails for want of memory only. */
	if (EVP_DigestInit_ex2(key->hash, key->sha256, NULL) != 1 || EVP_DigestUpdate(key->hash, data, size) != 1 ||
	    EVP_DigestFinal_ex(key->hash, hash_r, NULL) != 1)
		abort();
}

static void compute_mac(const struct mauth_chain_key *key, const void *data, size_t size, unsigned char mac_r[MAUTH_CHAIN_HASH])
{
	size_t mac_size;

	if (EVP_MAC_init(key->mac, NULL, 0, NULL) != 1 || EVP_MAC_update(key->mac, data, size) != 1 ||
	    EVP_MAC_final(key->mac, mac_r, &mac_size, MAUTH_CHAIN_HASH) != 1)
		abort();
}

void mauth_chain_first(const char *writer, struct mauth_chain_state *state_r)
{
	static const char label[] = "modernauth audit chain 1 ";
	char text[sizeof(label) + MAUTH_CHAIN_WRITER_SIZE];

	memcpy(text, label, sizeof(label) - 1);
	memcpy(text + sizeof(label) - 1, writer, MAUTH_CHAIN_WRITER_SIZE - 1);
	state_r->number = 0;
	if (EVP_Digest(text, sizeof(label) + MAUTH_CHAIN_WRITER_SIZE - 2, state_r->head, NULL, EVP_sha256(), NULL) != 1)
		abort();
	memcpy(state_r->mac, state_r->head, MAUTH_CHAIN_HASH);
}

/* hash: d(number). mac NULL: it is computed, with a secret key. */
static void advance(const struct mauth_chain_key *key, struct mauth_chain_state *state, uint64_t number,
		    const unsigned char hash[MAUTH_CHAIN_HASH], const unsigned char *mac)
{
	unsigned char input[3 * MAUTH_CHAIN_HASH + 8], *number_at = input + 2 * MAUTH_CHAIN_HASH, *mac_at = number_at + 8;

	memcpy(input + MAUTH_CHAIN_HASH, hash, MAUTH_CHAIN_HASH);
	for (unsigned int i = 0; i < 8; i++)
		number_at[i] = (unsigned char)(number >> (56 - 8 * i));
	if (mac == NULL) {
		memcpy(input, state->mac, MAUTH_CHAIN_HASH);
		compute_mac(key, input, 2 * MAUTH_CHAIN_HASH + 8, state->mac);
	} else {
		memcpy(state->mac, mac, MAUTH_CHAIN_HASH);
	}
	memcpy(input, state->head, MAUTH_CHAIN_HASH);
	memcpy(mac_at, state->mac, MAUTH_CHAIN_HASH);
	digest(key, input, sizeof(input), state->head);
	state->number = number;
}

/* -- writing ------------------------------------------------------------------------------------------------ */

static void put_hex(char **at, const unsigned char *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		*(*at)++ = digits[data[i] >> 4];
		*(*at)++ = digits[data[i] & 15];
	}
}

void mauth_chain_begin(struct mauth_chain_writer *writer, const struct mauth_chain_key *key)
{
	unsigned char name[(MAUTH_CHAIN_WRITER_SIZE - 1) / 2];
	char *at = writer->name;

	mauth_random(name, sizeof(name));
	put_hex(&at, name, sizeof(name));
	*at = '\0';
	writer->key = key;
	mauth_chain_first(writer->name, &writer->state);
}

static void put_text(char **at, const char *text, size_t size)
{
	memcpy(*at, text, size);
	*at += size;
}

/* line: without its brace and newline. */
static void seal_line(struct mauth_chain_writer *writer, const char *body, size_t size, bool checkpoint, struct mauth_buf *out)
{
	unsigned char signature[MAUTH_CHAIN_SIGNATURE];
	unsigned char hash[MAUTH_CHAIN_HASH];
	char member[MAUTH_CHAIN_MEMBER_MAX], *at = member;

	digest(writer->key, body, size, hash);
	advance(writer->key, &writer->state, writer->state.number + 1, hash, NULL);
	put_text(&at, member_open, sizeof(member_open) - 1);
	put_text(&at, writer->name, MAUTH_CHAIN_WRITER_SIZE - 1);
	put_text(&at, number_open, sizeof(number_open) - 1);
	at += snprintf(at, 21, "%" PRIu64, writer->state.number);
	put_text(&at, mac_open, sizeof(mac_open) - 1);
	put_hex(&at, writer->state.mac, MAUTH_CHAIN_HASH);
	if (checkpoint) {
		mauth_chain_sign(writer->key, writer->name, &writer->state, signature);
		put_text(&at, head_open, sizeof(head_open) - 1);
		put_hex(&at, writer->state.head, MAUTH_CHAIN_HASH);
		put_text(&at, signature_open, sizeof(signature_open) - 1);
		put_hex(&at, signature, sizeof(signature));
	}
	put_text(&at, member_close, sizeof(member_close) - 1);
	*at++ = '\n';
	mauth_buf_append(out, body, size);
	mauth_buf_append(out, member, (size_t)(at - member));
}

static void seal(struct mauth_chain_writer *writer, const char *lines, size_t size, bool checkpoint, struct mauth_buf *out)
{
	const char *end = lines + size;

	while (lines < end) {
		const char *newline = memchr(lines, '\n', (size_t)(end - lines));

		/* Whoever writes records ends each in "}\n". */
		if (newline == NULL || newline == lines || newline[-1] != '}')
			abort();
		seal_line(writer, lines, (size_t)(newline - 1 - lines), checkpoint, out);
		lines = newline + 1;
	}
}

void mauth_chain_seal(struct mauth_chain_writer *writer, const char *lines, size_t size, struct mauth_buf *out)
{
	seal(writer, lines, size, false, out);
}

void mauth_chain_checkpoint(struct mauth_chain_writer *writer, const char *line, size_t size, struct mauth_buf *out)
{
	seal(writer, line, size, true, out);
}

/* -- reading ------------------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lower case only: one spelling for each line. */
bool mauth_chain_take_hex(const char **at, const char *end, unsigned char *data_r, size_t size)
{
	if ((size_t)(end - *at) < 2 * size)
		return false;
	for (size_t i = 0; i < size; i++, *at += 2) {
		int high = hex_digit((*at)[0]), low = hex_digit((*at)[1]);

		if (high < 0 || low < 0)
			return false;
		data_r[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static bool take(const char **at, const char *end, const char *text, size_t size)
{
	if ((size_t)(end - *at) < size || memcmp(*at, text, size) != 0)
		return false;
	*at += size;
	return true;
}

static bool take_number(const char **at, const char *end, uint64_t *number_r)
{
	const char *begin = *at;
	uint64_t number = 0;

	while (*at < end && **at >= '0' && **at <= '9' && *at - begin < 19)
		number = number * 10 + (uint64_t)(*(*at)++ - '0');
	*number_r = number;
	return *at > begin && *begin != '0';
}

/* The member stands at the end; no text of a record can look like it, since quotes are escaped there. */
static const char *find_member(const char *line, size_t size)
{
	const char *from = size > MAUTH_CHAIN_MEMBER_MAX ? line + size - MAUTH_CHAIN_MEMBER_MAX : line, *found = NULL;

	for (const char *at = from; (at = memchr(at, ',', (size_t)(line + size - at))) != NULL; at++) {
		if ((size_t)(line + size - at) > sizeof(member_open) - 1 && memcmp(at, member_open, sizeof(member_open) - 1) == 0)
			found = at;
	}
	return found;
}

bool mauth_chain_parse(const char *line, size_t size, struct mauth_chain_line *line_r)
{
	const char *end = line + size, *at = find_member(line, size);
	struct mauth_chain_line parsed = { 0 };
	unsigned char name[(MAUTH_CHAIN_WRITER_SIZE - 1) / 2];
	const char *writer;

	if (at == NULL)
		return false;
	parsed.body = (size_t)(at - line);
	at += sizeof(member_open) - 1;
	writer = at;
	if (!mauth_chain_take_hex(&at, end, name, sizeof(name)) || !take(&at, end, number_open, sizeof(number_open) - 1) ||
	    !take_number(&at, end, &parsed.number) || !take(&at, end, mac_open, sizeof(mac_open) - 1) ||
	    !mauth_chain_take_hex(&at, end, parsed.mac, sizeof(parsed.mac)))
		return false;
	memcpy(parsed.writer, writer, MAUTH_CHAIN_WRITER_SIZE - 1);
	if (take(&at, end, head_open, sizeof(head_open) - 1)) {
		parsed.checkpoint = true;
		if (!mauth_chain_take_hex(&at, end, parsed.head, sizeof(parsed.head)) ||
		    !take(&at, end, signature_open, sizeof(signature_open) - 1) ||
		    !mauth_chain_take_hex(&at, end, parsed.signature, sizeof(parsed.signature)))
			return false;
	}
	if (!take(&at, end, member_close, sizeof(member_close) - 1) || at != end)
		return false;
	*line_r = parsed;
	return true;
}

void mauth_chain_body_hash(const struct mauth_chain_key *key, const char *line, const struct mauth_chain_line *parsed,
			   unsigned char hash_r[MAUTH_CHAIN_HASH])
{
	digest(key, line, parsed->body, hash_r);
}

void mauth_chain_follow(const struct mauth_chain_key *key, struct mauth_chain_state *state, const unsigned char hash[MAUTH_CHAIN_HASH],
			uint64_t number, const unsigned char mac[MAUTH_CHAIN_HASH])
{
	advance(key, state, number, hash, mauth_chain_key_is_secret(key) ? NULL : mac);
}

bool mauth_chain_signature_is_right(const struct mauth_chain_key *key, const struct mauth_chain_line *line)
{
	struct mauth_chain_state state = { .number = line->number };

	memcpy(state.head, line->head, MAUTH_CHAIN_HASH);
	return mauth_chain_check(key, line->writer, &state, line->signature);
}
