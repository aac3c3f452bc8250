/* SPDX-License-Identifier: MIT */
#include "core/entra.h"
#include "core/json.h"
#include "core/jwt.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXPIRES_MIN 1
#define EXPIRES_MAX 86400
/* The shortest life that a tenant's policy can give a token: what we believe if Entra does not say. */
#define EXPIRES_UNKNOWN 600
#define CODES_MAX 16u
#define DEVICE_CODE_MAX 4096u

void mauth_guid(char guid_r[static MAUTH_GUID_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char random[16];
	char *out = guid_r;

	mauth_random(random, sizeof(random));
	random[6] = (unsigned char)((random[6] & 0x0f) | 0x40);   /* version 4 */
	random[8] = (unsigned char)((random[8] & 0x3f) | 0x80);   /* RFC 9562's variant */
	for (size_t i = 0; i < sizeof(random); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[random[i] >> 4];
		*out++ = hex[random[i] & 15];
	}
	*out = '\0';
}

/* -- token replies ------------------------------------------------------------------------------------------ */

static void set_advice(struct mauth_error *error_r, const char *advice)
{
	if (error_r != NULL)
		mauth_clean_copy(error_r->advice, sizeof(error_r->advice), advice, strlen(advice));
}

/* A reply that nobody can use and that names no error of its own. */
static enum mauth_status unusable(struct mauth_entra_reply *reply_r, unsigned int http_status, const char *why,
				  struct mauth_error *error_r)
{
	reply_r->verdict = (struct mauth_aadsts_verdict){
		.class_ = MAUTH_CLASS_TRANSIENT, .status = MAUTH_PROTOCOL, .meaning = why,
		.advice = "Check authority and proxy in modernauth.conf: perhaps it was not Entra that answered",
	};
	mauth_fail(error_r, MAUTH_PROTOCOL, (int)http_status, "HTTP %u: %s", http_status, why);
	set_advice(error_r, reply_r->verdict.advice);
	return MAUTH_PROTOCOL;
}

static bool is_printable(const char *str, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (str[i] <= ' ' || str[i] > '~')
			return false;
	}
	return true;
}

bool mauth_token_is_printable(const struct mauth_secret *token)
{
	return is_printable(mauth_secret_expose(token), mauth_secret_size(token));
}

static int64_t clamp(int64_t num, int64_t min, int64_t max)
{
	return num < min ? min : num > max ? max : num;
}

/* Seconds called key, clamped; fallback if they are absent or no number. */
static int64_t read_secs(const json_t *root, const char *key, int64_t fallback)
{
	int64_t secs;

	if (!mauth_json_num(json_object_get(root, key), &secs))
		return fallback;
	return clamp(secs, EXPIRES_MIN, EXPIRES_MAX);
}

/* Whose token it is, where it says so. What is known already stays where this one is silent. */
static void read_owner(const char *token, size_t size, struct mauth_entra_reply *reply_r)
{
	struct mauth_jwt jwt;

	if (size == 0 || !mauth_jwt_read(token, size, &jwt))
		return;
	if (jwt.upn[0] != '\0')
		mauth_clean_copy(reply_r->upn, sizeof(reply_r->upn), jwt.upn, strlen(jwt.upn));
	if (jwt.oid[0] != '\0')
		mauth_clean_copy(reply_r->oid, sizeof(reply_r->oid), jwt.oid, strlen(jwt.oid));
	if (jwt.tid[0] != '\0')
		mauth_clean_copy(reply_r->tid, sizeof(reply_r->tid), jwt.tid, strlen(jwt.tid));
}

/* A refresh token that we cannot keep is as good as none: it will be missed where it is needed. */
static void read_refresh_token(const json_t *root, struct mauth_entra_reply *reply_r)
{
	const char *token = mauth_json_str(root, "refresh_token");
	size_t size = strlen(token);

	if (size > 0 && size <= MAUTH_REFRESH_TOKEN_MAX && is_printable(token, size))
		reply_r->refresh_token = mauth_secret_new(token, size);
}

static enum mauth_status read_token(const json_t *root, unsigned int http_status,
				    struct mauth_entra_reply *reply_r, struct mauth_error *error_r)
{
	const char *token = mauth_json_str(root, "access_token"), *id_token = mauth_json_str(root, "id_token");
	size_t size = strlen(token);

	if (root == NULL)
		return unusable(reply_r, http_status, "no readable JSON object", error_r);
	if (strcasecmp(mauth_json_str(root, "token_type"), "Bearer") != 0)
		return unusable(reply_r, http_status, "no token of type Bearer", error_r);
	if (size == 0)
		return unusable(reply_r, http_status, "no access_token", error_r);
	if (size > MAUTH_TOKEN_MAX)
		return unusable(reply_r, http_status, "an access_token larger than 12 KiB", error_r);
	if (!is_printable(token, size))
		return unusable(reply_r, http_status, "an access_token that is not printable ASCII", error_r);
	reply_r->token = mauth_secret_new(token, size);
	read_refresh_token(root, reply_r);
	reply_r->expires_in = read_secs(root, "expires_in", EXPIRES_UNKNOWN);
	reply_r->refresh_in = read_secs(root, "refresh_in", 0);
	reply_r->verdict.meaning = reply_r->verdict.advice = "";
	read_owner(token, size, reply_r);
	/* The ID token is made for us to read; the access token is Exchange's. */
	read_owner(id_token, strlen(id_token), reply_r);
	return MAUTH_OK;
}

/* -- error replies ------------------------------------------------------------------------------------------ */

/* Copies an id or a name of the protocol; nothing at all if it is too long or has characters that none of them
 * has: half a GUID finds nothing, and whoever answered is not to write prose into our log. */
static void copy_word(char *dest, size_t dest_size, const char *word)
{
	size_t size = strlen(word);

	dest[0] = '\0';
	if (size >= dest_size ||
	    strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-") != size)
		return;
	memcpy(dest, word, size + 1);
}

/* Appends the number to codes unless it cannot be one; a fraction would have to be rounded into one. */
static void add_code(const json_t *value, int codes[static CODES_MAX], size_t *count)
{
	int64_t num;

	if (*count < CODES_MAX && !json_is_real(value) && mauth_json_num(value, &num) && num > 0 && num <= INT_MAX)
		codes[(*count)++] = (int)num;
}

static size_t read_codes(const json_t *root, int codes_r[static CODES_MAX])
{
	static const char prefix[] = "AADSTS";
	const json_t *list = json_object_get(root, "error_codes");
	const char *text = mauth_json_str(root, "error_description");
	size_t count = 0, digits;

	for (size_t i = 0; i < json_array_size(list); i++)
		add_code(json_array_get(list, i), codes_r, &count);
	if (!json_is_array(list))
		add_code(list, codes_r, &count);
	if (count > 0 || strncmp(text, prefix, sizeof(prefix) - 1) != 0)
		return count;
	/* No list, but the description begins with the code as well, by Microsoft's own rule. */
	text += sizeof(prefix) - 1;
	digits = strspn(text, "0123456789");
	if (digits > 0 && digits <= 9 && text[digits] == ':')
		codes_r[count++] = (int)strtol(text, NULL, 10);
	return count;
}

/* The description without what the ids' own members say better. They follow the text after CRLF or, from newer
 * builds of the service, after a space. */
static void copy_description(char *dest, size_t dest_size, const char *text)
{
	static const char *const tails[] = { "Trace ID: ", "Correlation ID: ", "Timestamp: " };
	char flat[2 * MAUTH_TEXT_MAX];
	size_t size = strlen(text), used = 0;

	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		const char *tail = strstr(text, tails[i]);

		if (tail == NULL || tail == text || strchr(" \r\n", tail[-1]) == NULL)
			continue;
		if ((size_t)(tail - text) < size)
			size = (size_t)(tail - text);
	}
	/* Runs of white space become one space, at the end none. */
	for (size_t i = 0; i < size && used < sizeof(flat); i++) {
		if (strchr(" \t\r\n", text[i]) == NULL)
			flat[used++] = text[i];
		else if (used > 0 && flat[used - 1] != ' ')
			flat[used++] = ' ';
	}
	while (used > 0 && flat[used - 1] == ' ')
		used--;
	mauth_clean_copy(dest, dest_size, flat, used);
}

/* claims is a string that holds JSON: {"access_token":{"capolids":{"essential":true,"values":["GUID"]}}} */
static void copy_policy_id(char *dest, size_t dest_size, const char *claims)
{
	json_t *root = mauth_json_object(claims, strlen(claims));
	const json_t *policies = json_object_get(json_object_get(root, "access_token"), "capolids");
	const char *id = json_string_value(json_array_get(json_object_get(policies, "values"), 0));

	copy_word(dest, dest_size, id != NULL ? id : "");
	json_decref(root);
}

/* "AADSTS50076: multi-factor authentication is required (interaction_required/basic_action)" */
static void describe(const struct mauth_entra_reply *reply, int code, unsigned int http_status,
		     struct mauth_error *error_r)
{
	const struct mauth_aadsts_verdict *verdict = &reply->verdict;
	const char *open = reply->error[0] != '\0' ? " (" : "", *close = reply->error[0] != '\0' ? ")" : "";
	const char *slash = reply->error[0] != '\0' && reply->suberror[0] != '\0' ? "/" : "";
	const char *suberror = *slash != '\0' ? reply->suberror : "";

	if (code > 0) {
		mauth_fail(error_r, verdict->status, code, "AADSTS%d: %s%s%s%s%s%s", code, verdict->meaning, open,
			   reply->error, slash, suberror, close);
	} else {
		mauth_fail(error_r, verdict->status, (int)http_status, "HTTP %u: %s%s%s%s%s%s", http_status,
			   verdict->meaning, open, reply->error, slash, suberror, close);
	}
	set_advice(error_r, verdict->advice);
}

static enum mauth_status read_error(const struct mauth_aadsts_table *table, const json_t *root,
				    unsigned int http_status, struct mauth_entra_reply *reply_r,
				    struct mauth_error *error_r)
{
	int codes[CODES_MAX];
	size_t count = read_codes(root, codes);

	copy_word(reply_r->error, sizeof(reply_r->error), mauth_json_str(root, "error"));
	copy_word(reply_r->suberror, sizeof(reply_r->suberror), mauth_json_str(root, "suberror"));
	copy_word(reply_r->trace_id, sizeof(reply_r->trace_id), mauth_json_str(root, "trace_id"));
	copy_word(reply_r->correlation_id, sizeof(reply_r->correlation_id),
		  mauth_json_str(root, "correlation_id"));
	copy_description(reply_r->description, sizeof(reply_r->description),
			 mauth_json_str(root, "error_description"));
	copy_policy_id(reply_r->policy_id, sizeof(reply_r->policy_id), mauth_json_str(root, "claims"));
	mauth_aadsts_judge(table, codes, count, reply_r->error, reply_r->suberror, http_status, &reply_r->verdict);
	describe(reply_r, reply_r->verdict.code == 0 && count > 0 ? codes[0] : reply_r->verdict.code, http_status,
		 error_r);
	return reply_r->verdict.status;
}

enum mauth_status mauth_entra_parse(const struct mauth_aadsts_table *table, unsigned int http_status,
				    const char *body, size_t size, struct mauth_entra_reply *reply_r,
				    struct mauth_error *error_r)
{
	enum mauth_status status;
	json_t *root;

	memset(reply_r, 0, sizeof(*reply_r));
	if (size > MAUTH_REPLY_MAX)
		return unusable(reply_r, http_status, "a reply larger than 64 KiB", error_r);
	root = mauth_json_object(body, size);
	if (http_status == 200 && json_object_get(root, "error") == NULL)
		status = read_token(root, http_status, reply_r, error_r);
	else
		status = read_error(table, root, http_status, reply_r, error_r);
	json_decref(root);
	return status;
}

/* -- the device code flow (RFC 8628, section 3.2) ----------------------------------------------------------- */

static enum mauth_status read_device_code(const json_t *root, unsigned int http_status,
					  struct mauth_device_code *code_r, struct mauth_entra_reply *reply_r,
					  struct mauth_error *error_r)
{
	static const char code_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";
	const char *code = mauth_json_str(root, "device_code"), *user_code = mauth_json_str(root, "user_code");
	const char *uri = mauth_json_str(root, "verification_uri");
	size_t size = strlen(code);
	int64_t num;

	if (size == 0 || size > DEVICE_CODE_MAX || !is_printable(code, size))
		return unusable(reply_r, http_status, "no usable device_code", error_r);
	/* People are told to type these. */
	if (*user_code == '\0' || strlen(user_code) >= sizeof(code_r->user_code) ||
	    strspn(user_code, code_chars) != strlen(user_code))
		return unusable(reply_r, http_status, "no usable user_code", error_r);
	if (strncmp(uri, "https://", 8) != 0 || strlen(uri) >= sizeof(code_r->uri) || !is_printable(uri, strlen(uri)))
		return unusable(reply_r, http_status, "no usable verification_uri", error_r);
	snprintf(code_r->user_code, sizeof(code_r->user_code), "%s", user_code);
	snprintf(code_r->uri, sizeof(code_r->uri), "%s", uri);
	code_r->expires_in = mauth_json_num(json_object_get(root, "expires_in"), &num) ? clamp(num, 1, 3600) : 900;
	code_r->interval = mauth_json_num(json_object_get(root, "interval"), &num) ? clamp(num, 1, 60) : 5;
	code_r->device_code = mauth_secret_new(code, size);
	return MAUTH_OK;
}

enum mauth_status mauth_entra_parse_device_code(const struct mauth_aadsts_table *table, unsigned int http_status,
						const char *body, size_t size, struct mauth_device_code *code_r,
						struct mauth_entra_reply *reply_r, struct mauth_error *error_r)
{
	enum mauth_status status;
	json_t *root;

	memset(reply_r, 0, sizeof(*reply_r));
	memset(code_r, 0, sizeof(*code_r));
	if (size > MAUTH_REPLY_MAX)
		return unusable(reply_r, http_status, "a reply larger than 64 KiB", error_r);
	root = mauth_json_object(body, size);
	if (http_status == 200 && json_object_get(root, "error") == NULL)
		status = read_device_code(root, http_status, code_r, reply_r, error_r);
	else
		status = read_error(table, root, http_status, reply_r, error_r);
	json_decref(root);
	return status;
}

void mauth_device_code_clear(struct mauth_device_code *code)
{
	mauth_secret_free(&code->device_code);
	memset(code, 0, sizeof(*code));
}

void mauth_entra_reply_clear(struct mauth_entra_reply *reply)
{
	mauth_secret_free(&reply->token);
	mauth_secret_free(&reply->refresh_token);
	memset(reply, 0, sizeof(*reply));
}

enum mauth_realm mauth_entra_parse_realm(unsigned int http_status, const char *body, size_t size)
{
	json_t *root = http_status == 200 ? mauth_json_object(body, size) : NULL;
	const char *type = mauth_json_str(root, "account_type");
	enum mauth_realm realm = MAUTH_REALM_UNKNOWN;

	if (strcasecmp(type, "Managed") == 0)
		realm = MAUTH_REALM_MANAGED;
	else if (strcasecmp(type, "Federated") == 0)
		realm = MAUTH_REALM_FEDERATED;
	json_decref(root);
	return realm;
}
