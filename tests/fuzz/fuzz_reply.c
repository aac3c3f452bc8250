/* SPDX-License-Identifier: MIT */
/* Whatever answers in Entra's place: replies of the token endpoint and of the user realm, headers, tokens. */

#include "core/entra.h"
#include "core/jwt.h"
#include "core/mem.h"

#include "fuzz.h"

#include <string.h>

static void check_text(const char *text, size_t field_size)
{
	const size_t size = strnlen(text, field_size);

	MUST(size < field_size);
	MUST(mauth_is_utf8(text, size));
	for (size_t i = 0; i < size; i++)
		MUST((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void check_token(const struct mauth_entra_reply *reply)
{
	const char *token = mauth_secret_expose(reply->token);
	const size_t size = mauth_secret_size(reply->token);

	MUST(size > 0 && size <= MAUTH_TOKEN_MAX);
	for (size_t i = 0; i < size; i++)
		MUST(token[i] > ' ' && token[i] <= '~');
	MUST(reply->expires_in >= 1 && reply->expires_in <= 86400);
	MUST(reply->refresh_in == 0 || (reply->refresh_in >= 1 && reply->refresh_in <= 86400));
}

static void parse(const struct mauth_aadsts_table *table, unsigned int http_status, const char *body, size_t size)
{
	struct mauth_entra_reply reply;
	struct mauth_error error = { .status = MAUTH_OK };
	const enum mauth_status status = mauth_entra_parse(table, http_status, body, size, &reply, &error);

	MUST((status == MAUTH_OK) == (reply.token != NULL));
	MUST(status == error.status && status == reply.verdict.status);
	MUST(reply.verdict.meaning != NULL && reply.verdict.advice != NULL);
	if (status == MAUTH_OK)
		check_token(&reply);
	/* Nobody is locked out but by a code that we know. */
	if (status == MAUTH_BAD_CREDENTIALS || reply.verdict.counts)
		MUST(mauth_aadsts_find(table, reply.verdict.code)->status == MAUTH_BAD_CREDENTIALS);
	check_text(error.text, sizeof(error.text));
	check_text(error.advice, sizeof(error.advice));
	check_text(reply.description, sizeof(reply.description));
	check_text(reply.upn, sizeof(reply.upn));
	check_text(reply.oid, sizeof(reply.oid));
	check_text(reply.tid, sizeof(reply.tid));
	check_text(reply.error, sizeof(reply.error));
	check_text(reply.suberror, sizeof(reply.suberror));
	check_text(reply.trace_id, sizeof(reply.trace_id));
	check_text(reply.correlation_id, sizeof(reply.correlation_id));
	check_text(reply.policy_id, sizeof(reply.policy_id));
	mauth_entra_reply_clear(&reply);
}

/* The first line is a Retry-After, the second a Date. */
static void read_headers(const char *data, size_t size)
{
	const char *lf = memchr(data, '\n', size);
	const size_t first = lf != NULL ? (size_t)(lf - data) : size;
	char *retry_after = mauth_strndup(data, first);
	char *date = mauth_strndup(data + first + (lf != NULL), size - first - (lf != NULL));

	MUST(mauth_entra_retry_after(retry_after, date, 1800000000) <= 3600);
	MUST(mauth_entra_retry_after(retry_after, "", 0) <= 3600);
	free(retry_after);
	free(date);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned int statuses[] = { 200, 400, 503 };
	static struct mauth_aadsts_table *table;
	const char *text = (const char *)data;
	struct mauth_jwt jwt;

	if (table == NULL)
		table = mauth_aadsts_new();
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		parse(table, statuses[i], text, size);
	mauth_entra_parse_realm(200, text, size);
	if (mauth_jwt_read(text, size, &jwt)) {
		check_text(jwt.upn, sizeof(jwt.upn));
		check_text(jwt.oid, sizeof(jwt.oid));
		check_text(jwt.tid, sizeof(jwt.tid));
		MUST(jwt.exp >= 0);
	}
	if (size > 0)
		read_headers(text, size);
	return 0;
}
