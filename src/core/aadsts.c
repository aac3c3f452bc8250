/* SPDX-License-Identifier: MIT */
#include "core/aadsts.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

struct mauth_aadsts_table {
	struct mauth_aadsts_row *rows;   /* in order of code */
	size_t count;
	char **texts;                    /* strings of overrides; verdicts may point at them until the end */
	size_t texts_count;
};

static const struct mauth_aadsts_row builtin_rows[] = {
#define ROW(code_, class__, status_, counts_, meaning_, advice_) \
	{ .code = (code_), .class_ = MAUTH_CLASS_##class__, .status = MAUTH_##status_, .counts = (counts_), \
	  .meaning = (meaning_), .advice = (advice_) },
#include "core/aadsts.def"
#undef ROW
};
#define BUILTIN_COUNT (sizeof(builtin_rows) / sizeof(builtin_rows[0]))

static const char *const class_names[MAUTH_CLASS_COUNT] = {
	[MAUTH_CLASS_CREDENTIAL] = "credential",
	[MAUTH_CLASS_STATE] = "state",
	[MAUTH_CLASS_POLICY] = "policy",
	[MAUTH_CLASS_CONFIG] = "config",
	[MAUTH_CLASS_TRANSIENT] = "transient",
	[MAUTH_CLASS_GRANT] = "grant",
	[MAUTH_CLASS_FLOW] = "flow",
};

const char *mauth_aadsts_class_name(enum mauth_aadsts_class class_)
{
	return (unsigned int)class_ < MAUTH_CLASS_COUNT ? class_names[class_] : "unknown";
}

static int compare_rows(const void *a, const void *b)
{
	const struct mauth_aadsts_row *row_a = a, *row_b = b;

	return (row_a->code > row_b->code) - (row_a->code < row_b->code);
}

static struct mauth_aadsts_row *find_row(const struct mauth_aadsts_table *table, int code)
{
	const struct mauth_aadsts_row key = { .code = code };

	return bsearch(&key, table->rows, table->count, sizeof(key), compare_rows);
}

struct mauth_aadsts_table *mauth_aadsts_new(void)
{
	struct mauth_aadsts_table *table = mauth_new(sizeof(*table));

	/* The .def is in the order in which people think of the codes. */
	table->rows = mauth_new_array(BUILTIN_COUNT, sizeof(*table->rows));
	memcpy(table->rows, builtin_rows, sizeof(builtin_rows));
	table->count = BUILTIN_COUNT;
	qsort(table->rows, table->count, sizeof(*table->rows), compare_rows);
	return table;
}

void mauth_aadsts_free(struct mauth_aadsts_table **table)
{
	if (*table == NULL)
		return;
	for (size_t i = 0; i < (*table)->texts_count; i++)
		free((*table)->texts[i]);
	free((*table)->texts);
	free((*table)->rows);
	free(*table);
	*table = NULL;
}

const struct mauth_aadsts_row *mauth_aadsts_find(const struct mauth_aadsts_table *table, int code)
{
	return find_row(table, code);
}

size_t mauth_aadsts_count(const struct mauth_aadsts_table *table)
{
	return table->count;
}

const struct mauth_aadsts_row *mauth_aadsts_at(const struct mauth_aadsts_table *table, size_t index)
{
	return &table->rows[index];
}

/* -- the override file -------------------------------------------------------------------------------------- */

struct override_row {
	int code;
	size_t line;
	enum mauth_aadsts_class class_;
	enum mauth_status status;
	bool counts;
	char *advice;                    /* NULL: as before */
};

struct override {
	const char *name;
	size_t line;
	struct override_row *rows;
	size_t count, alloc;
	struct mauth_error *error_r;
};

#define WORD_SIZE 32u

/* Takes the next word of a line; "" if there is none or it is longer than any word that we know. */
static void take_word(const char **pos, const char *end, char word_r[static WORD_SIZE])
{
	const char *begin;

	while (*pos < end && (**pos == ' ' || **pos == '\t'))
		(*pos)++;
	begin = *pos;
	while (*pos < end && **pos != ' ' && **pos != '\t')
		(*pos)++;
	word_r[0] = '\0';
	if ((size_t)(*pos - begin) < WORD_SIZE)
		mauth_clean_copy(word_r, WORD_SIZE, begin, (size_t)(*pos - begin));
}

static bool parse_code(const char *word, int *code_r)
{
	size_t size = strlen(word);

	/* Nine digits fit into an int; Microsoft's longest code has seven. */
	if (size == 0 || size > 9 || strspn(word, "0123456789") != size)
		return false;
	*code_r = (int)strtol(word, NULL, 10);
	return *code_r > 0;
}

static bool parse_class(const char *word, enum mauth_aadsts_class *class_r)
{
	for (size_t i = 0; i < MAUTH_CLASS_COUNT; i++) {
		if (strcmp(class_names[i], word) == 0) {
			*class_r = (enum mauth_aadsts_class)i;
			return true;
		}
	}
	return false;
}

/* Whether an error of Entra's may end in status; the others are for events on our own side. */
static bool may_be_verdict(enum mauth_status status)
{
	switch (status) {
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
	case MAUTH_LOCKED:
	case MAUTH_DISABLED:
	case MAUTH_EXPIRED:
	case MAUTH_INTERACTION:
	case MAUTH_CONFIG:
	case MAUTH_TEMPORARY:
		return true;
	case MAUTH_OK:
	case MAUTH_POLICY:
	case MAUTH_NOT_OURS:
	case MAUTH_TIMEOUT:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_CANCELLED:
	case MAUTH_STATUS_COUNT:
		break;
	}
	return false;
}

#define WRONG(override, ...) wrong(override, (override)->line, __VA_ARGS__)
static bool wrong(const struct override *override, size_t line, const char *what, const char *word,
		  const char *expected)
{
	mauth_fail(override->error_r, MAUTH_CONFIG, 0, "%s:%zu: %s%s%s%s; expected %s", override->name, line, what,
		   *word != '\0' ? " \"" : "", word, *word != '\0' ? "\"" : "", expected);
	return false;
}

static bool parse_advice(struct override *override, const char *pos, const char *end, char **advice_r)
{
	char clean[MAUTH_TEXT_MAX];
	size_t size;

	while (pos < end && (*pos == ' ' || *pos == '\t'))
		pos++;
	size = (size_t)(end - pos);
	if (size == 0)
		return true;
	if (size >= sizeof(clean))
		return WRONG(override, "the advice is too long", "", "at most 511 octets");
	mauth_clean_copy(clean, sizeof(clean), pos, size);
	if (strlen(clean) != size || memcmp(clean, pos, size) != 0)
		return WRONG(override, "the advice cannot be shown", "", "UTF-8 without control characters");
	*advice_r = mauth_strndup(pos, size);
	return true;
}

static bool parse_row(struct override *override, const char *pos, const char *end, struct override_row *row_r)
{
	char word[WORD_SIZE];

	take_word(&pos, end, word);
	if (!parse_code(word, &row_r->code))
		return WRONG(override, "no error code", word, "a number such as 50126");
	take_word(&pos, end, word);
	if (!parse_class(word, &row_r->class_))
		return WRONG(override, "no class", word,
			     "credential, state, policy, config, transient, grant or flow");
	take_word(&pos, end, word);
	if (!mauth_status_parse(word, &row_r->status) || !may_be_verdict(row_r->status))
		return WRONG(override, "no status for an error", word,
			     "bad_credentials, user_unknown, locked, disabled, expired, interaction, config or "
			     "temporary");
	take_word(&pos, end, word);
	row_r->counts = strcmp(word, "counts") == 0;
	if (!row_r->counts && strcmp(word, "-") != 0)
		return WRONG(override, "cannot tell whether it counts", word, "counts or -");
	/* Whoever counts locks users out: only for what says that the password was wrong. */
	if (row_r->counts && (row_r->class_ != MAUTH_CLASS_CREDENTIAL || row_r->status != MAUTH_BAD_CREDENTIALS))
		return WRONG(override, "this must not count as a bad password", "",
			     "- unless it is credential bad_credentials");
	return parse_advice(override, pos, end, &row_r->advice);
}

static bool parse_line(struct override *override, const char *line, size_t size)
{
	struct override_row row = { .line = override->line };
	const char *pos = line, *end = line + size;

	if (size > 0 && end[-1] == '\r')
		end--;
	while (pos < end && (*pos == ' ' || *pos == '\t'))
		pos++;
	if (pos == end || *pos == '#')
		return true;
	if (!parse_row(override, pos, end, &row))
		return false;
	if (override->count == override->alloc) {
		override->alloc = override->alloc > 0 ? override->alloc * 2 : 16;
		override->rows = mauth_grow(override->rows, override->alloc, sizeof(*override->rows));
	}
	override->rows[override->count++] = row;
	return true;
}

static bool parse_lines(struct override *override, const char *text, size_t size)
{
	while (size > 0) {
		const char *lf = memchr(text, '\n', size);
		size_t line = lf != NULL ? (size_t)(lf - text) : size;

		override->line++;
		if (!parse_line(override, text, line))
			return false;
		line += lf != NULL;
		text += line;
		size -= line;
	}
	return true;
}

static int compare_override(const void *a, const void *b)
{
	const struct override_row *row_a = a, *row_b = b;

	if (row_a->code != row_b->code)
		return row_a->code < row_b->code ? -1 : 1;
	return row_a->line < row_b->line ? -1 : row_a->line > row_b->line;
}

static bool sort_and_check(struct override *override)
{
	if (override->count == 0)
		return true;
	qsort(override->rows, override->count, sizeof(*override->rows), compare_override);
	for (size_t i = 1; i < override->count; i++) {
		if (override->rows[i].code == override->rows[i - 1].code)
			return wrong(override, override->rows[i].line, "the code has a row already", "",
				     "one row for a code");
	}
	return true;
}

/* Cannot fail: the table changes as a whole or not at all. */
static void apply(struct mauth_aadsts_table *table, struct override *override)
{
	const size_t before = table->count;
	struct mauth_aadsts_table old = { .rows = table->rows, .count = before };

	table->rows = mauth_new_array(before + override->count, sizeof(*table->rows));
	memcpy(table->rows, old.rows, before * sizeof(*table->rows));
	table->texts = mauth_grow(table->texts, table->texts_count + override->count, sizeof(*table->texts));
	for (size_t i = 0; i < override->count; i++) {
		struct override_row *from = &override->rows[i];
		const struct mauth_aadsts_row *known = find_row(&old, from->code);
		struct mauth_aadsts_row *row = known != NULL ? &table->rows[known - old.rows] :
							       &table->rows[table->count++];

		row->code = from->code;
		row->class_ = from->class_;
		row->status = from->status;
		row->counts = from->counts;
		if (row->meaning == NULL)
			row->meaning = "an error that aadsts_file names";
		if (from->advice != NULL)
			row->advice = table->texts[table->texts_count++] = from->advice;
		else if (row->advice == NULL)
			row->advice = "";
		from->advice = NULL;
	}
	free(old.rows);
	qsort(table->rows, table->count, sizeof(*table->rows), compare_rows);
}

enum mauth_status mauth_aadsts_override(struct mauth_aadsts_table *table, const char *name, const char *text,
					size_t size, struct mauth_error *error_r)
{
	struct override override = { .name = name, .error_r = error_r };
	bool ok;

	if (size > MAUTH_CONFIG_MAX)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "%s: %zu octets; expected at most %u", name, size,
				  MAUTH_CONFIG_MAX);
	ok = parse_lines(&override, text, size) && sort_and_check(&override);
	if (ok)
		apply(table, &override);
	for (size_t i = 0; i < override.count; i++)
		free(override.rows[i].advice);
	free(override.rows);
	return ok ? MAUTH_OK : MAUTH_CONFIG;
}

/* -- judging ------------------------------------------------------------------------------------------------ */

struct word_row {
	const char *word;
	enum mauth_aadsts_class class_;
	enum mauth_status status;
	const char *meaning, *advice;
};

#define LOOK_UP \
	"Look the code up at https://login.microsoftonline.com/error and give it a row in aadsts_file"
#define CHECK_APP \
	"Check tenant_id, client_id and secret or certificate in modernauth.conf against the app registration"
#define ENROL_AGAIN "Enrol the user again"

/* suberror: the values that Microsoft's own MSAL libraries decide by. */
static const struct word_row suberrors[] = {
	{ "user_password_expired", MAUTH_CLASS_STATE, MAUTH_EXPIRED, "the password has expired",
	  "The user changes the password in a browser, or: Entra admin center > Users > Reset password" },
	{ "consent_required", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "consent to the app is missing",
	  "Entra admin center > App registrations > the app > API permissions > Grant admin consent" },
	{ "basic_action", MAUTH_CLASS_POLICY, MAUTH_INTERACTION,
	  "the user must do something in a browser", LOOK_UP },
	{ "additional_action", MAUTH_CLASS_POLICY, MAUTH_INTERACTION, "a policy asks for a remedy", LOOK_UP },
	{ "message_only", MAUTH_CLASS_POLICY, MAUTH_INTERACTION, "refused by a policy", LOOK_UP },
	{ "protection_policy_required", MAUTH_CLASS_POLICY, MAUTH_INTERACTION,
	  "an app protection policy is required", LOOK_UP },
	{ "device_authentication_failed", MAUTH_CLASS_POLICY, MAUTH_INTERACTION, "device authentication failed",
	  "Conditional Access: exclude this app from policies that ask for a device" },
	{ "bad_token", MAUTH_CLASS_GRANT, MAUTH_INTERACTION, "the stored grant is not valid", ENROL_AGAIN },
	{ "token_expired", MAUTH_CLASS_GRANT, MAUTH_INTERACTION, "the stored grant has expired", ENROL_AGAIN },
	{ "client_mismatch", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the stored grant is another app's", CHECK_APP },
	{ NULL, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, NULL, NULL }
};

static const struct word_row errors[] = {
	/* Whatever is behind it, Entra has refused what the user presented and would refuse it again, so the
	 * client must not come back with it by itself: every repetition feeds smart lock-out. But RFC 6749 gives
	 * one invalid_grant to wrong passwords, policies and dead grants alike, so it proves nothing against
	 * the password: not BAD_CREDENTIALS, and it never counts. */
	{ "invalid_grant", MAUTH_CLASS_POLICY, MAUTH_INTERACTION, "refused for a reason unknown to us", LOOK_UP },
	{ "interaction_required", MAUTH_CLASS_POLICY, MAUTH_INTERACTION,
	  "the user must do something in a browser", LOOK_UP },
	{ "login_required", MAUTH_CLASS_POLICY, MAUTH_INTERACTION, "the user must sign in in a browser", LOOK_UP },
	{ "access_denied", MAUTH_CLASS_POLICY, MAUTH_INTERACTION, "access is denied", LOOK_UP },
	{ "user_password_expired", MAUTH_CLASS_STATE, MAUTH_EXPIRED, "the password has expired",
	  "The user changes the password in a browser, or: Entra admin center > Users > Reset password" },
	{ "consent_required", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "consent to the app is missing",
	  "Entra admin center > App registrations > the app > API permissions > Grant admin consent" },
	{ "invalid_client", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the app could not be authenticated", CHECK_APP },
	{ "unauthorized_client", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the app may not do this", CHECK_APP },
	{ "invalid_scope", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the scope is invalid",
	  "Check cloud and scopes in modernauth.conf" },
	{ "invalid_resource", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the resource is invalid",
	  "Check cloud and scopes in modernauth.conf, and that the tenant has Exchange Online" },
	{ "invalid_request", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "our request is not understood", CHECK_APP },
	{ "unsupported_grant_type", MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the kind of grant is not supported",
	  "Check authority and cloud in modernauth.conf: this is no v2.0 token endpoint of Entra, or it has lost "
	  "the password grant" },
	{ "unsupported_response_type", MAUTH_CLASS_CONFIG, MAUTH_CONFIG,
	  "our request is not understood", CHECK_APP },
	{ "temporarily_unavailable", MAUTH_CLASS_TRANSIENT, MAUTH_TEMPORARY,
	  "Entra is not available for the moment",
	  "Nothing to do unless it lasts: https://status.cloud.microsoft" },
	{ "server_error", MAUTH_CLASS_TRANSIENT, MAUTH_TEMPORARY, "Entra failed",
	  "Nothing to do unless it lasts: https://status.cloud.microsoft" },
	{ "authorization_pending", MAUTH_CLASS_FLOW, MAUTH_TEMPORARY, "the user has not entered the code yet",
	  "Wait until the user has entered the code" },
	{ "slow_down", MAUTH_CLASS_FLOW, MAUTH_TEMPORARY, "Entra is asked too often",
	  "Nothing to do unless it lasts" },
	{ "authorization_declined", MAUTH_CLASS_FLOW, MAUTH_INTERACTION, "the user declined", ENROL_AGAIN },
	{ "bad_verification_code", MAUTH_CLASS_FLOW, MAUTH_INTERACTION, "the code is wrong", ENROL_AGAIN },
	{ "expired_token", MAUTH_CLASS_FLOW, MAUTH_INTERACTION, "the code has expired", ENROL_AGAIN },
	{ NULL, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, NULL, NULL }
};

static const struct word_row busy = {
	NULL, MAUTH_CLASS_TRANSIENT, MAUTH_TEMPORARY, "Entra, or something before it, cannot serve us now",
	"Nothing to do unless it lasts: https://status.cloud.microsoft"
};
static const struct word_row refused = {
	NULL, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, "the request was refused without a readable reason",
	"Check authority, tenant_id and proxy in modernauth.conf: perhaps it was not Entra that answered"
};

/* The code of every failed client authentication; when it comes with others, they say what it was. */
#define WRAPPER 70002

static const struct mauth_aadsts_row *
decide(const struct mauth_aadsts_table *table, const int *codes, size_t count)
{
	const struct mauth_aadsts_row *best = NULL;

	for (size_t i = 0; i < count; i++) {
		const struct mauth_aadsts_row *row = find_row(table, codes[i]);

		if (row == NULL || (row->code == WRAPPER && count > 1))
			continue;
		if (best == NULL ||
		    (row->class_ == MAUTH_CLASS_CREDENTIAL && best->class_ != MAUTH_CLASS_CREDENTIAL))
			best = row;
	}
	return best;
}

static const struct word_row *find_word(const struct word_row *rows, const char *word)
{
	for (; rows->word != NULL; rows++) {
		if (strcmp(rows->word, word) == 0)
			return rows;
	}
	return NULL;
}

/* 408 and 429 ask for another try; any other 4xx will be the same the next time. */
static const struct word_row *by_http_status(unsigned int http_status)
{
	if (http_status == 408 || http_status == 429 || http_status >= 500)
		return &busy;
	return &refused;
}

void mauth_aadsts_judge(const struct mauth_aadsts_table *table, const int *codes, size_t count, const char *error,
			const char *suberror, unsigned int http_status, struct mauth_aadsts_verdict *verdict_r)
{
	const struct mauth_aadsts_row *row = decide(table, codes, count);
	const struct word_row *word;

	if (row != NULL) {
		*verdict_r = (struct mauth_aadsts_verdict){
			.code = row->code, .class_ = row->class_, .status = row->status, .counts = row->counts,
			.meaning = row->meaning, .advice = row->advice,
		};
		return;
	}
	word = find_word(suberrors, suberror);
	if (word == NULL)
		word = find_word(errors, error);
	if (word == NULL)
		word = by_http_status(http_status);
	*verdict_r = (struct mauth_aadsts_verdict){
		.class_ = word->class_, .status = word->status, .meaning = word->meaning, .advice = word->advice,
	};
}
