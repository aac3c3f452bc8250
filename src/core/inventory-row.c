/* SPDX-License-Identifier: MIT */
#include "core/inventory-private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Words with one blank between them, the client's own words last: a hundred thousand rows are read at each start, which
 * JSON would make a second of.
 *
 * 1 SERVICE MECHANISM TLS VERSION NETWORK/BITS ADDRESS FIRST LAST OUTCOME,.. ACTION,.. REFUSED ACTION STATUS CODE
 * ERROR CODE CLIENT
 *
 * What is not known is "-"; network and address are in hexadecimal. Counts that are missing are 0, more are left out: a
 * later release may have more of them. */
#define FORMAT "1"
#define DAY_SECS 86400
#define TIME_MAX 253402300799            /* the last second of the year 9999 */

/* -- names -------------------------------------------------------------------------------------------------- */

char *inventory_row_name(const struct inventory_entry *entry)
{
	return mauth_printf("%s/%016" PRIx64, entry->user->name, entry->id);
}

bool inventory_row_name_parse(const char *name, char **tenant_r, char **user_r, uint64_t *id_r)
{
	const char *first = strchr(name, '/'), *last = strrchr(name, '/');

	if (first == NULL || first == name || last <= first + 1 || (size_t)(last - first) - 1 > MAUTH_USER_MAX ||
	    strlen(last + 1) != INVENTORY_ID_SIZE - 1 || strspn(last + 1, "0123456789abcdef") != INVENTORY_ID_SIZE - 1)
		return false;
	*id_r = strtoull(last + 1, NULL, 16);
	*tenant_r = mauth_strndup(name, (size_t)(first - name));
	*user_r = mauth_strndup(first + 1, (size_t)(last - first) - 1);
	return true;
}

/* -- writing ------------------------------------------------------------------------------------------------ */

static void put_word(struct mauth_buf *to, const char *word)
{
	mauth_buf_putc(to, ' ');
	mauth_buf_puts(to, *word == '\0' ? "-" : word);
}

static void put_hex(struct mauth_buf *to, const unsigned char *octets, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	char text[33];

	for (size_t i = 0; i < size; i++) {
		text[2 * i] = hex[octets[i] >> 4];
		text[2 * i + 1] = hex[octets[i] & 15];
	}
	mauth_buf_putc(to, ' ');
	mauth_buf_append(to, text, 2 * size);
}

static void put_num(struct mauth_buf *to, char before, int64_t num)
{
	char text[24];

	mauth_buf_putc(to, before);
	mauth_buf_append(to, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, num));
}

static void put_counts(struct mauth_buf *to, const uint32_t *counts, size_t size)
{
	for (size_t i = 0; i < size; i++)
		put_num(to, i == 0 ? ' ' : ',', counts[i]);
}

void inventory_row_encode(const struct mauth_inventory_row *row, struct mauth_buf *to)
{
	mauth_buf_puts(to, FORMAT);
	put_word(to, mauth_service_name((enum mauth_service)row->service));
	put_word(to, row->mechanism);
	put_word(to, row->tls ? "tls" : "plain");
	put_word(to, row->tls_version);
	put_hex(to, row->network.address, sizeof(row->network.address));
	put_num(to, '/', row->network.bits);
	put_hex(to, row->address, sizeof(row->address));
	put_num(to, ' ', row->first_seen);
	put_num(to, ' ', row->last_seen);
	put_counts(to, row->outcomes, MAUTH_INVENTORY_OUTCOMES);
	put_counts(to, row->actions, MAUTH_INVENTORY_ACTIONS);
	put_num(to, ' ', row->exchange_refused);
	put_word(to, mauth_inventory_action_name((enum mauth_inventory_action)row->last_action));
	put_word(to, mauth_status_name((enum mauth_status)row->last_status));
	put_num(to, ' ', row->last_code);
	put_word(to, mauth_status_name((enum mauth_status)row->error_status));
	put_num(to, ' ', row->error_code);
	put_word(to, row->client == NULL ? "" : row->client);
}

/* -- reading ------------------------------------------------------------------------------------------------ */

struct words {
	const char *at, *end;
	bool good;
};

static void bad(struct words *words)
{
	words->good = false;
	words->at = words->end;
}

/* The next word in word_r; "" for "-". */
static void take_word(struct words *words, char *word_r, size_t word_size)
{
	const char *blank = memchr(words->at, ' ', (size_t)(words->end - words->at));
	size_t size = (size_t)((blank == NULL ? words->end : blank) - words->at);

	word_r[0] = '\0';
	if (size == 0 || size >= word_size) {
		bad(words);
		return;
	}
	memcpy(word_r, words->at, size);
	word_r[size] = '\0';
	if (strcmp(word_r, "-") == 0)
		word_r[0] = '\0';
	words->at = blank == NULL ? words->end : blank + 1;
}

static int64_t digits(const char **at, int64_t max, bool *good)
{
	int64_t num = 0;
	const char *begin = *at;

	for (; **at >= '0' && **at <= '9'; (*at)++)
		num = num > max / 10 ? max : num * 10 + (**at - '0');
	*good = *good && *at > begin;
	return num > max ? max : num;
}

static int64_t take_num(struct words *words, int64_t max)
{
	char word[24];
	const char *at = word;
	int64_t num;

	take_word(words, word, sizeof(word));
	num = digits(&at, max, &words->good);
	words->good = words->good && *at == '\0';
	return num;
}

static void take_counts(struct words *words, uint32_t *counts, size_t size)
{
	char word[512];
	const char *at = word;
	size_t i = 0;

	take_word(words, word, sizeof(word));
	do {
		uint32_t num = (uint32_t)digits(&at, UINT32_MAX, &words->good);

		if (i < size)
			counts[i++] = num;
	} while (words->good && *at++ == ',');
	words->good = words->good && at[-1] == '\0';
}

static int nibble(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *unhex(struct words *words, const char *text, unsigned char *octets, size_t size)
{
	for (size_t i = 0; i < size; i++, text += 2) {
		int high = nibble(text[0]), low = high < 0 ? -1 : nibble(text[1]);

		if (low < 0) {
			bad(words);
			return "";
		}
		octets[i] = (unsigned char)(high << 4 | low);
	}
	return text;
}

static void take_addresses(struct words *words, struct mauth_inventory_row *row)
{
	char word[48];
	const char *at;

	take_word(words, word, sizeof(word));
	at = unhex(words, word, row->network.address, sizeof(row->network.address));
	words->good = words->good && *at == '/';
	if (words->good) {
		at++;
		row->network.bits = (unsigned char)digits(&at, 128, &words->good);
	}
	take_word(words, word, sizeof(word));
	(void)unhex(words, word, row->address, sizeof(row->address));
}

static unsigned char take_status(struct words *words)
{
	enum mauth_status status = MAUTH_OK;
	char word[32];

	take_word(words, word, sizeof(word));
	words->good = words->good && mauth_status_parse(word, &status);
	return (unsigned char)status;
}

static unsigned char take_action(struct words *words)
{
	char word[32];

	take_word(words, word, sizeof(word));
	for (unsigned int i = 0; i < MAUTH_INVENTORY_ACTIONS; i++) {
		if (strcmp(mauth_inventory_action_name((enum mauth_inventory_action)i), word) == 0)
			return (unsigned char)i;
	}
	return MAUTH_INVENTORY_ACTION_OTHER;
}

static void take_client(struct words *words, struct mauth_inventory_row *row)
{
	size_t size = (size_t)(words->end - words->at);
	char client[MAUTH_INVENTORY_CLIENT_SIZE];

	mauth_clean_copy(client, sizeof(client), words->at, size);
	if (size == 0 || client[0] == '\0')
		words->good = false;
	else if (words->good && strcmp(client, "-") != 0)
		row->client = mauth_strdup(client);
}

bool inventory_row_decode(const char *value, size_t size, struct mauth_inventory_row *row_r)
{
	struct words words = { .at = value, .end = value + size, .good = true };
	struct mauth_inventory_row row = { .next = NULL };
	enum mauth_service service = MAUTH_SERVICE_IMAP;
	char word[32];

	take_word(&words, word, sizeof(word));
	if (strcmp(word, FORMAT) != 0)
		return false;
	take_word(&words, word, sizeof(word));
	words.good = words.good && mauth_service_parse(word, &service);
	row.service = (unsigned char)service;
	take_word(&words, row.mechanism, sizeof(row.mechanism));
	take_word(&words, word, sizeof(word));
	row.tls = strcmp(word, "tls") == 0;
	take_word(&words, row.tls_version, sizeof(row.tls_version));
	take_addresses(&words, &row);
	row.first_seen = take_num(&words, TIME_MAX);
	row.last_seen = take_num(&words, TIME_MAX);
	take_counts(&words, row.outcomes, MAUTH_INVENTORY_OUTCOMES);
	take_counts(&words, row.actions, MAUTH_INVENTORY_ACTIONS);
	row.exchange_refused = (uint32_t)take_num(&words, UINT32_MAX);
	row.last_action = take_action(&words);
	row.last_status = take_status(&words);
	row.last_code = (int32_t)take_num(&words, INT32_MAX);
	row.error_status = take_status(&words);
	row.error_code = (int32_t)take_num(&words, INT32_MAX);
	take_client(&words, &row);
	if (words.good)
		*row_r = row;
	return words.good;
}

/* -- days --------------------------------------------------------------------------------------------------- */

void inventory_day_name(int64_t day, char name_r[static INVENTORY_DAY_SIZE])
{
	time_t secs = (time_t)(day * DAY_SECS);
	struct tm tm = { 0 };

	(void)gmtime_r(&secs, &tm);
	(void)strftime(name_r, INVENTORY_DAY_SIZE, "%Y-%m-%d", &tm);
}

void inventory_day_encode(const struct mauth_inventory_day *day, struct mauth_buf *to)
{
	mauth_buf_puts(to, FORMAT);
	for (unsigned int s = 0; s < MAUTH_SERVICE_COUNT; s++) {
		put_word(to, mauth_service_name((enum mauth_service)s));
		put_counts(to, day->counts[s], MAUTH_INVENTORY_OUTCOMES);
	}
}

static bool day_of(const char *name, int64_t *day_r)
{
	char again[INVENTORY_DAY_SIZE];
	struct tm tm = { 0 };
	const char *end = strptime(name, "%Y-%m-%d", &tm);

	if (end == NULL || *end != '\0' || tm.tm_year < 70 || tm.tm_year > 8099)
		return false;
	*day_r = timegm(&tm) / DAY_SECS;
	inventory_day_name(*day_r, again);
	return strcmp(again, name) == 0;
}

bool inventory_day_decode(const char *name, const char *value, size_t size, struct mauth_inventory_day *day_r)
{
	struct words words = { .at = value, .end = value + size, .good = true };
	struct mauth_inventory_day day = { .day = 0 };
	char word[32];

	take_word(&words, word, sizeof(word));
	if (strcmp(word, FORMAT) != 0 || !day_of(name, &day.day))
		return false;
	while (words.good && words.at < words.end) {
		uint32_t scratch[MAUTH_INVENTORY_OUTCOMES] = { 0 };
		enum mauth_service service;

		take_word(&words, word, sizeof(word));
		/* A protocol of a later release counts for nothing here. */
		take_counts(&words, mauth_service_parse(word, &service) ? day.counts[service] : scratch,
			    MAUTH_INVENTORY_OUTCOMES);
	}
	if (words.good)
		*day_r = day;
	return words.good;
}
