/* SPDX-License-Identifier: MIT */
#include "core/aadsts.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct mauth_aadsts_row def_rows[] = {
#define ROW(code_, class__, status_, counts_, meaning_, advice_) \
	{ code_, MAUTH_CLASS_##class__, MAUTH_##status_, counts_, meaning_, advice_ },
#include "core/aadsts.def"
#undef ROW
};

/* What a client is answered for each code, from Microsoft's descriptions and without a look at aadsts.def: a row
 * that changes sides changes what mail clients do with their passwords. */
static const int refused[] = {      /* a failed login */
	50005, 50020, 50034, 50053, 50055, 50056, 50057, 50064, 50072, 50074, 50076, 50078, 50079, 50089, 50097,
	50105, 50125, 50126, 50129, 50131, 50132, 50133, 50135, 50144, 50155, 50158, 50173, 51004, 53000, 53001,
	53002, 53003, 53004, 53011, 70000, 70008, 70043, 80012, 500021, 500022, 500208, 530003, 530032, 530035,
	700082,
};
static const int kept[] = {         /* a temporary failure: the client keeps its password */
	20012, 28002, 40008, 40010, 50008, 50012, 50013, 50027, 50033, 50048, 50059, 50087, 50107, 50128, 50194,
	50196, 65001, 65002, 70001, 70002, 70011, 80001, 80002, 80005, 80007, 80010, 80013, 80014, 90002, 90006,
	90012, 90014, 90019, 90020, 90023, 90024, 90025, 90033, 90038, 90043, 90055, 90090, 90094, 90095, 90124,
	90130, 500011, 500014, 500133, 650052, 650056, 650057, 700011, 700016, 700022, 700023, 700024, 700025,
	700027, 700030, 700084, 900144, 900382, 7000112, 7000215, 7000218, 7000222, 9001023, 9002313,
};
static const int flow[] = { 54005, 65004, 70016, 70018, 70019, 90119, 90120, 501481 };

static bool is_refusal(enum mauth_status status)
{
	return status == MAUTH_BAD_CREDENTIALS || status == MAUTH_USER_UNKNOWN || status == MAUTH_LOCKED ||
	       status == MAUTH_DISABLED || status == MAUTH_EXPIRED || status == MAUTH_INTERACTION;
}

static struct mauth_aadsts_verdict judge(const struct mauth_aadsts_table *table, const int *codes, size_t count,
					 const char *error, const char *suberror, unsigned int http_status)
{
	struct mauth_aadsts_verdict verdict;

	memset(&verdict, 0xa5, sizeof(verdict));
	mauth_aadsts_judge(table, codes, count, error, suberror, http_status, &verdict);
	assert_non_null(verdict.meaning);
	assert_non_null(verdict.advice);
	return verdict;
}

static void every_row_is_found_and_decides(void **state)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	assert_true(COUNT(def_rows) >= 122);
	assert_int_equal(mauth_aadsts_count(table), COUNT(def_rows));
	for (size_t i = 0; i < COUNT(def_rows); i++) {
		const struct mauth_aadsts_row *row = mauth_aadsts_find(table, def_rows[i].code);
		/* Neither error nor suberror nor HTTP status may matter once the code is known. */
		const struct mauth_aadsts_verdict verdict =
			judge(table, &def_rows[i].code, 1, "temporarily_unavailable", "consent_required", 503);

		assert_non_null(row);
		assert_int_equal(row->code, def_rows[i].code);
		assert_int_equal(verdict.code, def_rows[i].code);
		assert_int_equal(verdict.class_, def_rows[i].class_);
		assert_int_equal(verdict.status, def_rows[i].status);
		assert_int_equal(verdict.counts, def_rows[i].counts);
		assert_string_equal(verdict.meaning, def_rows[i].meaning);
		assert_string_equal(verdict.advice, def_rows[i].advice);
	}
	mauth_aadsts_free(&table);
	assert_null(table);
}

static void rows_are_in_order_without_duplicates(void **state)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	for (size_t i = 1; i < mauth_aadsts_count(table); i++)
		assert_true(mauth_aadsts_at(table, i - 1)->code < mauth_aadsts_at(table, i)->code);
	assert_null(mauth_aadsts_find(table, 1));
	assert_null(mauth_aadsts_find(table, 50127));
	assert_null(mauth_aadsts_find(table, 2147483647));
	mauth_aadsts_free(&table);
}

static void only_wrong_credentials_count(void **state)
{
	for (size_t i = 0; i < COUNT(def_rows); i++) {
		if (!def_rows[i].counts)
			continue;
		assert_int_equal(def_rows[i].class_, MAUTH_CLASS_CREDENTIAL);
		assert_int_equal(def_rows[i].status, MAUTH_BAD_CREDENTIALS);
	}
}

static void no_row_ends_in_a_status_of_ours(void **state)
{
	for (size_t i = 0; i < COUNT(def_rows); i++) {
		const enum mauth_status status = def_rows[i].status;

		assert_true(is_refusal(status) || status == MAUTH_CONFIG || status == MAUTH_TEMPORARY);
	}
}

static void every_row_says_what_happened_and_what_to_do(void **state)
{
	for (size_t i = 0; i < COUNT(def_rows); i++) {
		const struct mauth_aadsts_row *row = &def_rows[i];

		assert_true(strlen(row->meaning) > 10 && strlen(row->meaning) < 120);
		assert_true(strlen(row->advice) > 10 && strlen(row->advice) < MAUTH_TEXT_MAX);
		assert_null(strchr(row->meaning, '\n'));
		assert_null(strchr(row->advice, '\n'));
		/* Joined literals that have lost the space between them, or doubled it. */
		assert_null(strstr(row->advice, "  "));
	}
}

static void check_side(const struct mauth_aadsts_table *table, const int *codes, size_t count, bool refusal)
{
	for (size_t i = 0; i < count; i++) {
		const struct mauth_aadsts_row *row = mauth_aadsts_find(table, codes[i]);

		if (row == NULL || is_refusal(row->status) != refusal)
			fail_msg("AADSTS%d is on the wrong side", codes[i]);
	}
}

static void clients_are_refused_or_put_off_as_microsoft_describes(void **state)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	check_side(table, refused, COUNT(refused), true);
	check_side(table, kept, COUNT(kept), false);
	for (size_t i = 0; i < COUNT(flow); i++)
		assert_int_equal(mauth_aadsts_find(table, flow[i])->class_, MAUTH_CLASS_FLOW);
	/* None is missing here: a new row must choose its side in this file, too. */
	assert_int_equal(COUNT(refused) + COUNT(kept) + COUNT(flow), mauth_aadsts_count(table));
	mauth_aadsts_free(&table);
}

static void the_codes_that_matter_most_are_right(void **state)
{
	static const struct {
		int code;
		enum mauth_aadsts_class class_;
		enum mauth_status status;
		bool counts;
	} spots[] = {
		{ 50126, MAUTH_CLASS_CREDENTIAL, MAUTH_BAD_CREDENTIALS, true },
		{ 50064, MAUTH_CLASS_CREDENTIAL, MAUTH_BAD_CREDENTIALS, true },
		{ 50034, MAUTH_CLASS_CREDENTIAL, MAUTH_USER_UNKNOWN, false },
		{ 51004, MAUTH_CLASS_CREDENTIAL, MAUTH_USER_UNKNOWN, false },
		{ 50053, MAUTH_CLASS_STATE, MAUTH_LOCKED, false },
		{ 50055, MAUTH_CLASS_STATE, MAUTH_EXPIRED, false },
		{ 50144, MAUTH_CLASS_STATE, MAUTH_EXPIRED, false },
		{ 50057, MAUTH_CLASS_STATE, MAUTH_DISABLED, false },
		{ 50056, MAUTH_CLASS_STATE, MAUTH_DISABLED, false },
		{ 50076, MAUTH_CLASS_POLICY, MAUTH_INTERACTION, false },
		{ 50079, MAUTH_CLASS_POLICY, MAUTH_INTERACTION, false },
		{ 53003, MAUTH_CLASS_POLICY, MAUTH_INTERACTION, false },
		{ 530035, MAUTH_CLASS_POLICY, MAUTH_INTERACTION, false },
		{ 65001, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, false },
		{ 7000215, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, false },
		{ 7000222, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, false },
		{ 700027, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, false },
		{ 90002, MAUTH_CLASS_CONFIG, MAUTH_CONFIG, false },
		{ 50196, MAUTH_CLASS_TRANSIENT, MAUTH_TEMPORARY, false },
		{ 90033, MAUTH_CLASS_TRANSIENT, MAUTH_TEMPORARY, false },
		{ 80002, MAUTH_CLASS_TRANSIENT, MAUTH_TEMPORARY, false },
		{ 50173, MAUTH_CLASS_GRANT, MAUTH_INTERACTION, false },
		{ 700082, MAUTH_CLASS_GRANT, MAUTH_INTERACTION, false },
		{ 70016, MAUTH_CLASS_FLOW, MAUTH_TEMPORARY, false },
	};
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	for (size_t i = 0; i < COUNT(spots); i++) {
		const struct mauth_aadsts_row *row = mauth_aadsts_find(table, spots[i].code);

		if (row == NULL || row->class_ != spots[i].class_ || row->status != spots[i].status ||
		    row->counts != spots[i].counts)
			fail_msg("AADSTS%d is wrong", spots[i].code);
	}
	mauth_aadsts_free(&table);
}

static void of_several_codes_the_most_specific_decides(void **state)
{
	static const struct {
		int codes[4];
		size_t count;
		int decides;
		enum mauth_status status;
	} cases[] = {
		{ { 70002, 50126 }, 2, 50126, MAUTH_BAD_CREDENTIALS },
		{ { 50126, 70002 }, 2, 50126, MAUTH_BAD_CREDENTIALS },
		{ { 70002 }, 1, 70002, MAUTH_CONFIG },
		{ { 70002, 7000215 }, 2, 7000215, MAUTH_CONFIG },
		{ { 50076, 50126 }, 2, 50126, MAUTH_BAD_CREDENTIALS },
		{ { 50126, 50034 }, 2, 50126, MAUTH_BAD_CREDENTIALS },
		{ { 50053, 50076 }, 2, 50053, MAUTH_LOCKED },
		{ { 999999, 53003 }, 2, 53003, MAUTH_INTERACTION },
		{ { 53003, 999999 }, 2, 53003, MAUTH_INTERACTION },
		/* The wrapper says nothing about what it wraps. */
		{ { 70002, 999999 }, 2, 0, MAUTH_INTERACTION },
		{ { 999999 }, 1, 0, MAUTH_INTERACTION },
		{ { 0 }, 0, 0, MAUTH_INTERACTION },
	};
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct mauth_aadsts_verdict verdict =
			judge(table, cases[i].codes, cases[i].count, "invalid_grant", "", 400);

		if (verdict.code != cases[i].decides || verdict.status != cases[i].status)
			fail_msg("case %zu: AADSTS%d, %s", i, verdict.code, mauth_status_name(verdict.status));
	}
	mauth_aadsts_free(&table);
}

struct fallback {
	const char *error, *suberror;
	unsigned int http_status;
	enum mauth_status status;
	enum mauth_aadsts_class class_;
};

static const struct fallback fallbacks[] = {
	/* suberror first */
	{ "invalid_grant", "user_password_expired", 400, MAUTH_EXPIRED, MAUTH_CLASS_STATE },
	{ "invalid_grant", "consent_required", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "invalid_grant", "basic_action", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "invalid_client", "additional_action", 401, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "temporarily_unavailable", "message_only", 503, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "invalid_grant", "protection_policy_required", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "invalid_grant", "device_authentication_failed", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "invalid_grant", "bad_token", 400, MAUTH_INTERACTION, MAUTH_CLASS_GRANT },
	{ "invalid_grant", "token_expired", 400, MAUTH_INTERACTION, MAUTH_CLASS_GRANT },
	{ "invalid_grant", "client_mismatch", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	/* then error */
	{ "invalid_grant", "", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "invalid_grant", "something_new", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "interaction_required", "", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "login_required", "", 400, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "access_denied", "", 403, MAUTH_INTERACTION, MAUTH_CLASS_POLICY },
	{ "user_password_expired", "", 400, MAUTH_EXPIRED, MAUTH_CLASS_STATE },
	{ "consent_required", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "invalid_client", "", 401, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "unauthorized_client", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "invalid_scope", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "invalid_resource", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "invalid_request", "", 503, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "unsupported_grant_type", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "unsupported_response_type", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "temporarily_unavailable", "", 400, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "server_error", "", 400, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "authorization_pending", "", 400, MAUTH_TEMPORARY, MAUTH_CLASS_FLOW },
	{ "slow_down", "", 400, MAUTH_TEMPORARY, MAUTH_CLASS_FLOW },
	{ "authorization_declined", "", 400, MAUTH_INTERACTION, MAUTH_CLASS_FLOW },
	{ "bad_verification_code", "", 400, MAUTH_INTERACTION, MAUTH_CLASS_FLOW },
	{ "expired_token", "", 400, MAUTH_INTERACTION, MAUTH_CLASS_FLOW },
	/* then HTTP */
	{ "", "", 429, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "", "", 408, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "", "", 500, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "", "", 503, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "something_new", "", 504, MAUTH_TEMPORARY, MAUTH_CLASS_TRANSIENT },
	{ "", "", 400, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "", "", 404, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "", "", 407, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
	{ "", "", 302, MAUTH_CONFIG, MAUTH_CLASS_CONFIG },
};

static void an_unknown_code_is_decided_by_suberror_then_error_then_http(void **state)
{
	static const int unknown = 999999;
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	for (size_t i = 0; i < COUNT(fallbacks); i++) {
		const struct fallback *f = &fallbacks[i];
		const struct mauth_aadsts_verdict verdict =
			judge(table, &unknown, 1, f->error, f->suberror, f->http_status);

		if (verdict.status != f->status || verdict.class_ != f->class_)
			fail_msg("%s/%s/%u: %s, %s", f->error, f->suberror, f->http_status,
				 mauth_status_name(verdict.status), mauth_aadsts_class_name(verdict.class_));
		assert_int_equal(verdict.code, 0);
	}
	mauth_aadsts_free(&table);
}

static void an_unknown_code_never_is_a_bad_password(void **state)
{
	static const int unknown = 999999;
	struct mauth_aadsts_table *table = mauth_aadsts_new();

	for (size_t e = 0; e < COUNT(fallbacks); e++) {
		for (size_t s = 0; s < COUNT(fallbacks); s++) {
			const struct mauth_aadsts_verdict verdict =
				judge(table, &unknown, 1, fallbacks[e].error, fallbacks[s].suberror,
				      fallbacks[s].http_status);

			assert_int_not_equal(verdict.status, MAUTH_BAD_CREDENTIALS);
			assert_int_not_equal(verdict.status, MAUTH_OK);
			assert_false(verdict.counts);
		}
	}
	mauth_aadsts_free(&table);
}

/* -- the override file -------------------------------------------------------------------------------------- */

static enum mauth_status override(struct mauth_aadsts_table *table, const char *text, struct mauth_error *error_r)
{
	return mauth_aadsts_override(table, "rows", text, strlen(text), error_r);
}

static void an_override_changes_rows_and_adds_others(void **state)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();
	const size_t before = mauth_aadsts_count(table);
	const struct mauth_aadsts_row *row;
	struct mauth_error error;

	assert_int_equal(override(table, "# ours\n\n50056 credential bad_credentials counts Ask the user\n"
					 "\t999999 policy interaction -\tNew kind of policy; see KB 17\r\n"
					 "50076 policy interaction -\n"
					 "1 transient temporary -", &error), MAUTH_OK);
	assert_int_equal(mauth_aadsts_count(table), before + 2);
	row = mauth_aadsts_find(table, 50056);
	assert_int_equal(row->class_, MAUTH_CLASS_CREDENTIAL);
	assert_int_equal(row->status, MAUTH_BAD_CREDENTIALS);
	assert_true(row->counts);
	assert_string_equal(row->advice, "Ask the user");
	assert_string_equal(row->meaning, "the directory holds no password for this user");
	row = mauth_aadsts_find(table, 999999);
	assert_int_equal(row->status, MAUTH_INTERACTION);
	assert_false(row->counts);
	assert_string_equal(row->advice, "New kind of policy; see KB 17");
	/* Without advice the built-in one stays. */
	assert_true(strlen(mauth_aadsts_find(table, 50076)->advice) > 10);
	assert_string_equal(mauth_aadsts_at(table, 0)->advice, "");
	for (size_t i = 1; i < mauth_aadsts_count(table); i++)
		assert_true(mauth_aadsts_at(table, i - 1)->code < mauth_aadsts_at(table, i)->code);
	mauth_aadsts_free(&table);
}

static void an_override_can_be_overridden_while_verdicts_point_at_it(void **state)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();
	struct mauth_aadsts_verdict old;
	static const int code = 999999;

	assert_int_equal(override(table, "999999 state locked - first", NULL), MAUTH_OK);
	old = judge(table, &code, 1, "", "", 400);
	assert_int_equal(override(table, "999999 config config - second", NULL), MAUTH_OK);
	assert_string_equal(old.advice, "first");
	assert_string_equal(mauth_aadsts_find(table, code)->advice, "second");
	assert_int_equal(override(table, "", NULL), MAUTH_OK);
	assert_int_equal(override(table, "# nothing", NULL), MAUTH_OK);
	mauth_aadsts_free(&table);
}

static void a_bad_override_is_refused_with_its_line_and_changes_nothing(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "50126x credential locked -", "rows:1: no error code \"50126x\"" },
		{ "AADSTS50126 credential locked -", "rows:1: no error code" },
		{ "-1 credential locked -", "rows:1: no error code" },
		{ "0 credential locked -", "rows:1: no error code" },
		{ "1234567890 credential locked -", "rows:1: no error code" },
		{ "\n\n50126 nonsense locked -", "rows:3: no class \"nonsense\"" },
		{ "50126", "rows:1: no class; expected credential" },
		{ "50126 credential ok -", "rows:1: no status for an error \"ok\"" },
		{ "50126 credential not_ours -", "rows:1: no status for an error \"not_ours\"" },
		{ "50126 credential LOCKED -", "rows:1: no status for an error \"LOCKED\"" },
		{ "50126 credential locked", "rows:1: cannot tell whether it counts; expected counts or -" },
		{ "50126 credential locked yes", "rows:1: cannot tell whether it counts \"yes\"" },
		{ "50126 credential locked counts", "rows:1: this must not count as a bad password" },
		{ "50126 policy bad_credentials counts", "rows:1: this must not count as a bad password" },
		{ "1 policy interaction -\n#\n1 state locked -", "rows:3: the code has a row already" },
		{ "1 policy interaction - bell\a", "rows:1: the advice cannot be shown" },
		{ "1 policy interaction - \xff", "rows:1: the advice cannot be shown" },
		{ "1 policy interaction - fine\naverylongwordthatisnocodebyanymeans", "rows:2: no error code" },
	};
	struct mauth_aadsts_table *table = mauth_aadsts_new();
	const size_t before = mauth_aadsts_count(table);

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mauth_error error;

		assert_int_equal(override(table, cases[i].text, &error), MAUTH_CONFIG);
		assert_int_equal(error.status, MAUTH_CONFIG);
		if (strncmp(error.text, cases[i].says, strlen(cases[i].says)) != 0)
			fail_msg("\"%s\" instead of \"%s\"", error.text, cases[i].says);
		assert_int_equal(mauth_aadsts_count(table), before);
		assert_int_equal(mauth_aadsts_find(table, 50126)->status, MAUTH_BAD_CREDENTIALS);
		assert_null(mauth_aadsts_find(table, 1));
	}
	mauth_aadsts_free(&table);
}

static void too_much_of_an_override_is_refused(void **state)
{
	struct mauth_aadsts_table *table = mauth_aadsts_new();
	char *text = malloc(MAUTH_CONFIG_MAX + 1u);
	struct mauth_error error;

	assert_non_null(text);
	memset(text, '\n', MAUTH_CONFIG_MAX + 1u);
	assert_int_equal(mauth_aadsts_override(table, "rows", text, MAUTH_CONFIG_MAX, &error), MAUTH_OK);
	assert_int_equal(mauth_aadsts_override(table, "rows", text, MAUTH_CONFIG_MAX + 1u, &error), MAUTH_CONFIG);
	memset(text, 'x', 600);
	memcpy(text, "1 state locked - ", 17);
	assert_int_equal(mauth_aadsts_override(table, "rows", text, 600, &error), MAUTH_CONFIG);
	assert_non_null(strstr(error.text, "rows:1: the advice is too long"));
	assert_int_equal(mauth_aadsts_override(table, "rows", text, 17 + 511, &error), MAUTH_OK);
	free(text);
	mauth_aadsts_free(&table);
}

static void classes_have_the_names_that_the_file_uses(void **state)
{
	static const char *const names[] = {
		"credential", "state", "policy", "config", "transient", "grant", "flow",
	};

	assert_int_equal(COUNT(names), MAUTH_CLASS_COUNT);
	for (size_t i = 0; i < COUNT(names); i++)
		assert_string_equal(mauth_aadsts_class_name((enum mauth_aadsts_class)i), names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "every row of aadsts.def is found and decides", every_row_is_found_and_decides },
		{ "rows are in order, without duplicates", rows_are_in_order_without_duplicates },
		{ "only wrong credentials count against a user", only_wrong_credentials_count },
		{ "no row ends in a status of our own side", no_row_ends_in_a_status_of_ours },
		{ "every row says what happened and what to do", every_row_says_what_happened_and_what_to_do },
		{ "clients are refused or put off as Microsoft describes",
		  clients_are_refused_or_put_off_as_microsoft_describes },
		{ "the codes that matter most are right", the_codes_that_matter_most_are_right },
		{ "of several codes the most specific decides", of_several_codes_the_most_specific_decides },
		{ "an unknown code is decided by suberror, then error, then HTTP status",
		  an_unknown_code_is_decided_by_suberror_then_error_then_http },
		{ "an unknown code never is a bad password", an_unknown_code_never_is_a_bad_password },
		{ "an override changes rows and adds others", an_override_changes_rows_and_adds_others },
		{ "an override can be overridden while verdicts point at it",
		  an_override_can_be_overridden_while_verdicts_point_at_it },
		{ "a bad override is refused with its line and changes nothing",
		  a_bad_override_is_refused_with_its_line_and_changes_nothing },
		{ "too much of an override is refused", too_much_of_an_override_is_refused },
		{ "classes have the names that the file uses", classes_have_the_names_that_the_file_uses },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
