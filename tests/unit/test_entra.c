/* SPDX-License-Identifier: MIT */
#include "core/entra.h"
#include "core/jwt.h"
#include "core/mem.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define TRACE "6e3f2b1a-0000-4000-8000-00000000aaaa"
#define CORRELATION "6e3f2b1a-0000-4000-8000-00000000bbbb"
#define IDS \
	",\"timestamp\":\"2026-11-21 10:00:00Z\",\"trace_id\":\"" TRACE "\",\"correlation_id\":\"" CORRELATION "\""
/* The tails of descriptions as older and as newer builds of the service write them. */
#define TAIL_CRLF \
	"\\r\\nTrace ID: " TRACE "\\r\\nCorrelation ID: " CORRELATION "\\r\\nTimestamp: 2026-11-21 10:00:00Z"
#define TAIL_SPACE " Trace ID: " TRACE " Correlation ID: " CORRELATION " Timestamp: 2026-11-21 10:00:00Z"

static struct mauth_aadsts_table *table;

static int table_new(void **state)
{
	table = mauth_aadsts_new();
	return 0;
}

static int table_free(void **state)
{
	mauth_aadsts_free(&table);
	return 0;
}

/* A reply and its error, cleared by the next call of parse(). */
static struct mauth_entra_reply reply;
static struct mauth_error error;

static enum mauth_status parse(unsigned int http_status, const char *body)
{
	mauth_entra_reply_clear(&reply);
	memset(&error, 0, sizeof(error));
	memset(&reply, 0xa5, sizeof(reply));
	return mauth_entra_parse(table, http_status, body, strlen(body), &reply, &error);
}

static int forget_reply(void **state)
{
	mauth_entra_reply_clear(&reply);
	return 0;
}

/* -- forms -------------------------------------------------------------------------------------------------- */

static char client_id[] = "11112222-3333-4444-5555-666677778888",
	    authority[] = "https://login.microsoftonline.com",
	    scope[] = "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send";

#define FORM_BEGIN "grant_type=password&client_id=11112222-3333-4444-5555-666677778888" \
	"&scope=https%3A%2F%2Foutlook.office.com%2FIMAP.AccessAsUser.All" \
	"%20https%3A%2F%2Foutlook.office.com%2FSMTP.Send" \
	"&username=user%2Btag%40contoso.com&password="

#define ENROLLED "https%3A%2F%2Foutlook.example%2FIMAP.AccessAsUser.All%20openid%20profile%20offline_access"

static void check_form(const char *client_secret, const char *assertion, const char *password, size_t size,
		       const char *expected)
{
	struct mauth_tenant tenant = { .client_id = client_id, .scope = scope };
	struct mauth_secret *pass = mauth_secret_new(password, size), *secret = NULL, *jwt = NULL, *form;

	if (client_secret != NULL)
		secret = mauth_secret_new(client_secret, strlen(client_secret));
	if (assertion != NULL)
		jwt = mauth_secret_new(assertion, strlen(assertion));
	form = mauth_entra_password_form(&tenant, "user+tag@contoso.com", pass,
					 &(struct mauth_entra_proof){ .secret = secret, .assertion = jwt });
	assert_string_equal(mauth_secret_expose(form), expected);
	assert_int_equal(mauth_secret_size(form), strlen(expected));
	mauth_secret_free(&secret);
	mauth_secret_free(&pass);
	mauth_secret_free(&jwt);
	mauth_secret_free(&form);
}

static void the_form_has_what_each_kind_of_app_must_send(void **state)
{
	check_form(NULL, NULL, "secret", 6, FORM_BEGIN "secret");
	check_form("~8Q/x+=", NULL, "secret", 6, FORM_BEGIN "secret&client_secret=~8Q%2Fx%2B%3D");
	check_form("unused", "e30.e30.c2ln", "secret", 6,
		   FORM_BEGIN "secret&client_assertion_type="
			      "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-"
			      "bearer&client_assertion=e30.e30.c2ln");
}

static void the_other_grants_have_forms_of_their_own(void **state)
{
#define ID "client_id=11112222-3333-4444-5555-666677778888"
	char app_scope[] = "https://outlook.example/.default", one[] = "https://outlook.example/IMAP.AccessAsUser.All";
	struct mauth_tenant tenant = { .client_id = client_id, .scope = one };
	struct mauth_secret *token = mauth_secret_new("0.A+/=", 6);
	const struct mauth_entra_proof proof = { .secret = token }, none = { 0 };
	struct {
		struct mauth_secret *form;
		const char *expected;
	} rows[] = {
		{ mauth_entra_refresh_form(&tenant, token, &none), "grant_type=refresh_token&" ID "&scope=" ENROLLED
		  "&refresh_token=0.A%2B%2F%3D" },
		{ mauth_entra_app_form(&tenant, app_scope, &proof), "grant_type=client_credentials&" ID
		  "&scope=https%3A%2F%2Foutlook.example%2F.default&client_secret=0.A%2B%2F%3D" },
		{ mauth_entra_device_code_form(&tenant), ID "&scope=" ENROLLED },
		{ mauth_entra_device_poll_form(&tenant, token, &none),
		  "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&" ID "&device_code=0.A%2B%2F%3D" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_string_equal(mauth_secret_expose(rows[i].form), rows[i].expected);
		mauth_secret_free(&rows[i].form);
	}
	mauth_secret_free(&token);
}

static void every_octet_of_a_password_survives_the_form(void **state)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char all[256], expected[sizeof(FORM_BEGIN) + 3 * sizeof(all)];
	size_t used = strlen(FORM_BEGIN);

	strcpy(expected, FORM_BEGIN);
	for (size_t i = 0; i < sizeof(all); i++) {
		all[i] = (char)i;
		if (i > 0 && strchr(unreserved, (int)i) != NULL)
			used += (size_t)snprintf(expected + used, 4, "%c", (int)i);
		else
			used += (size_t)snprintf(expected + used, 4, "%%%02X", (unsigned int)i);
	}
	check_form(NULL, NULL, all, sizeof(all), expected);
	check_form(NULL, NULL, "", 0, FORM_BEGIN);
}

static void the_realm_url_cannot_be_led_astray_by_a_user_name(void **state)
{
	const struct mauth_tenant tenant = { .authority = authority };
	static const struct {
		const char *upn, *url;
	} cases[] = {
		{ "user@contoso.com",
		  "https://login.microsoftonline.com/common/userrealm/user%40contoso.com?api-version=1.0" },
		{ "../x?y=#@c",
		  "https://login.microsoftonline.com/common/userrealm/..%2Fx%3Fy%3D%23%40c?api-version=1.0" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char *url = mauth_entra_realm_url(&tenant, cases[i].upn);

		assert_string_equal(url, cases[i].url);
		free(url);
	}
}

static void guids_are_random_and_of_version_4(void **state)
{
	char first[MAUTH_GUID_SIZE], second[MAUTH_GUID_SIZE];

	for (unsigned int i = 0; i < 100; i++) {
		mauth_guid(first);
		mauth_guid(second);
		assert_string_not_equal(first, second);
		assert_int_equal(strlen(first), 36);
		assert_int_equal(strspn(first, "0123456789abcdef-"), 36);
		assert_true(first[8] == '-' && first[13] == '-' && first[18] == '-' && first[23] == '-');
		assert_int_equal(first[14], '4');
		assert_non_null(strchr("89ab", first[19]));
	}
}

/* -- tokens ------------------------------------------------------------------------------------------------- */

static void a_token_is_read_with_its_times_and_its_user(void **state)
{
	static const char claims[] = "{\"upn\":\"u@contoso.com\",\"oid\":\"o-1\",\"tid\":\"t-1\"}";
	struct mauth_buf body = { 0 };

	mauth_buf_puts(&body, "{\"token_type\":\"Bearer\","
			      "\"scope\":\"https://outlook.office.com/IMAP.AccessAsUser.All\","
			      "\"expires_in\":3599,\"ext_expires_in\":3599,\"refresh_in\":1800,"
			      "\"access_token\":\"e30.");
	mauth_base64url_encode(&body, claims, sizeof(claims) - 1);
	mauth_buf_puts(&body, ".c2ln\",\"refresh_token\":\"0.AXoA\",\"id_token\":\"eyJ0\"}");
	assert_int_equal(parse(200, body.data), MAUTH_OK);
	assert_int_equal(strncmp(mauth_secret_expose(reply.token), "e30.", 4), 0);
	assert_int_equal(reply.expires_in, 3599);
	assert_int_equal(reply.refresh_in, 1800);
	assert_string_equal(reply.upn, "u@contoso.com");
	assert_string_equal(reply.oid, "o-1");
	assert_string_equal(reply.tid, "t-1");
	assert_string_equal(reply.error, "");
	assert_int_equal(reply.verdict.status, MAUTH_OK);
	mauth_buf_free(&body);
	mauth_entra_reply_clear(&reply);
	assert_null(reply.token);
}

static void an_opaque_token_is_as_good(void **state)
{
	assert_int_equal(parse(200, "{\"token_type\":\"bearer\",\"expires_in\":\"86399\",\"access_token\":"
	  "\"EwB!~\"}"),
			 MAUTH_OK);
	assert_string_equal(mauth_secret_expose(reply.token), "EwB!~");
	assert_string_equal(reply.upn, "");
}

static void times_are_clamped_however_they_are_written(void **state)
{
	static const struct {
		const char *members;
		int64_t expires_in, refresh_in;
	} cases[] = {
		{ "\"expires_in\":3599", 3599, 0 },
		{ "\"expires_in\":\"3599\",\"refresh_in\":\"1800\"", 3599, 1800 },
		{ "\"expires_in\":3599.7", 3599, 0 },
		{ "\"expires_in\":0,\"refresh_in\":0", 1, 1 },
		{ "\"expires_in\":-5,\"refresh_in\":-5", 1, 1 },
		{ "\"expires_in\":9999999999,\"refresh_in\":1e200", 86400, 86400 },
		{ "\"expires_in\":\"999999999999999999999999\"", 86400, 0 },
		{ "\"expires_in\":\"soon\",\"refresh_in\":[]", 600, 0 },
		{ "\"expires_in\":null", 600, 0 },
		{ "\"unknown\":1", 600, 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char body[256];

		snprintf(body, sizeof(body), "{\"token_type\":\"Bearer\",\"access_token\":\"x\",%s}",
			 cases[i].members);
		assert_int_equal(parse(200, body), MAUTH_OK);
		assert_int_equal(reply.expires_in, cases[i].expires_in);
		assert_int_equal(reply.refresh_in, cases[i].refresh_in);
	}
}

static void a_reply_of_200_without_a_usable_token_is_a_protocol_error(void **state)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{ "", "no readable JSON" },
		{ "<html>Sign in to the hotel</html>", "no readable JSON" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"x", "no readable JSON" },
		{ "[]", "no readable JSON" },
		{ "null", "no readable JSON" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"x\",\"access_token\":\"y\"}", "no readable "
		  "JSON" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"x\\u0000y\"}", "no readable JSON" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"x\",\"a\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}",
		  "no readable JSON" },
		{ "{}", "no token of type Bearer" },
		{ "{\"access_token\":\"x\"}", "no token of type Bearer" },
		{ "{\"token_type\":\"pop\",\"access_token\":\"x\"}", "no token of type Bearer" },
		{ "{\"token_type\":\"Bearer\"}", "no access_token" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"\"}", "no access_token" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":{}}", "no access_token" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"a b\"}", "not printable ASCII" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"a\\r\\nb\"}", "not printable ASCII" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"a\\u0001\"}", "not printable ASCII" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"\xc3\xa9\"}", "not printable ASCII" },
		{ "{\"token_type\":\"Bearer\",\"access_token\":\"a\\u007f\"}", "not printable ASCII" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(parse(200, cases[i].body), MAUTH_PROTOCOL);
		assert_int_equal(error.status, MAUTH_PROTOCOL);
		if (strstr(error.text, cases[i].says) == NULL)
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].body, error.text, cases[i].says);
		assert_string_not_equal(error.advice, "");
		assert_null(reply.token);
		assert_int_equal(reply.verdict.status, MAUTH_PROTOCOL);
		assert_false(reply.verdict.counts);
	}
}

static void tokens_and_replies_are_bounded(void **state)
{
	static char body[MAUTH_REPLY_MAX + 2];
	const char begin[] = "{\"token_type\":\"Bearer\",\"access_token\":\"";
	const size_t at = sizeof(begin) - 1;

	memset(body, 0, sizeof(body));
	memset(body, 'x', at + MAUTH_TOKEN_MAX);
	memcpy(body, begin, at);
	strcpy(body + at + MAUTH_TOKEN_MAX, "\"}");
	assert_int_equal(parse(200, body), MAUTH_OK);
	assert_int_equal(mauth_secret_size(reply.token), MAUTH_TOKEN_MAX);
	memset(body + at, 'x', MAUTH_TOKEN_MAX + 1);
	strcpy(body + at + MAUTH_TOKEN_MAX + 1, "\"}");
	assert_int_equal(parse(200, body), MAUTH_PROTOCOL);
	assert_non_null(strstr(error.text, "larger than 12 KiB"));

	memset(body, ' ', MAUTH_REPLY_MAX);
	memcpy(body, "{\"error\":\"invalid_grant\",\"error_codes\":[50126]}", 47);
	assert_int_equal(parse(400, body), MAUTH_BAD_CREDENTIALS);
	body[MAUTH_REPLY_MAX] = ' ';
	assert_int_equal(parse(400, body), MAUTH_PROTOCOL);
	assert_non_null(strstr(error.text, "larger than 64 KiB"));
}

/* -- errors ------------------------------------------------------------------------------------------------- */

static const struct error_case {
	const char *name;
	unsigned int http_status;
	const char *body;
	enum mauth_status status;
	int code;
	bool counts;
	const char *text, *description;
} error_cases[] = {
#include "entra_errors.def"
};

static void errors_are_what_entra_means_by_them(void **state)
{
	for (size_t i = 0; i < COUNT(error_cases); i++) {
		const struct error_case *c = &error_cases[i];
		const enum mauth_status status = parse(c->http_status, c->body);

		if (status != c->status)
			fail_msg("%s: %s", c->name, mauth_status_name(status));
		assert_int_equal(error.status, c->status);
		assert_int_equal(reply.verdict.status, c->status);
		assert_int_equal(reply.verdict.counts, c->counts);
		assert_int_equal(error.code, c->code > 0 ? c->code : (int)c->http_status);
		if (c->text != NULL)
			assert_string_equal(error.text, c->text);
		assert_string_equal(error.advice, reply.verdict.advice);
		assert_string_not_equal(error.advice, "");
		assert_string_equal(reply.description, c->description);
		assert_null(reply.token);
	}
}

static void ids_and_words_are_kept_for_the_audit(void **state)
{
	parse(400, "{\"error\":\"invalid_grant\",\"suberror\":\"basic_action\",\"error_codes\":[50076]" IDS "}");
	assert_string_equal(reply.error, "invalid_grant");
	assert_string_equal(reply.suberror, "basic_action");
	assert_string_equal(reply.trace_id, TRACE);
	assert_string_equal(reply.correlation_id, CORRELATION);
	assert_string_equal(reply.policy_id, "");
	assert_int_equal(reply.verdict.code, 50076);
}

static void ids_that_are_none_are_left_out(void **state)
{
	parse(400, "{\"error\":\"invalid_grant\",\"trace_id\":\"a b\",\"correlation_id\":"
		   "\"0123456789012345678901234567890123456789012345678901234567890123\"}");
	assert_string_equal(reply.trace_id, "");
	assert_string_equal(reply.correlation_id, "");
}

static void the_policy_that_blocked_is_named(void **state)
{
	static const struct {
		const char *claims, *policy_id;
	} cases[] = {
		{ "\"{\\\"access_token\\\":{\\\"capolids\\\":{\\\"essential\\\":true,\\\"values\\\":"
		  "[\\\"01234567-89ab-cdef-0123-456789abcdef\\\",\\\"other\\\"]}}}\"",
		  "01234567-89ab-cdef-0123-456789abcdef" },
		{ "\"{\\\"access_token\\\":{\\\"capolids\\\":{\\\"values\\\":[]}}}\"", "" },
		{ "\"{\\\"access_token\\\":{\\\"capolids\\\":{\\\"values\\\":[7]}}}\"", "" },
		{ "\"{\\\"access_token\\\":{\\\"xms_cc\\\":{\\\"values\\\":[\\\"cp1\\\"]}}}\"", "" },
		{ "\"not JSON\"", "" },
		{ "\"[[[[[[[[[[[[[[[[[[[[[[[[[[\"", "" },
		{ "{\"access_token\":{}}", "" },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char body[512];

		snprintf(body, sizeof(body), "{\"error\":\"invalid_grant\",\"error_codes\":[53003],\"suberror\":"
			 "\"message_only\",\"claims\":%s}", cases[i].claims);
		assert_int_equal(parse(400, body), MAUTH_INTERACTION);
		assert_string_equal(reply.policy_id, cases[i].policy_id);
	}
}

static void descriptions_are_cleaned_and_cut(void **state)
{
	static const struct {
		const char *sent, *kept;
	} cases[] = {
		{ "AADSTS1: a" TAIL_CRLF, "AADSTS1: a" },
		{ "AADSTS1: a" TAIL_SPACE, "AADSTS1: a" },
		{ "  a \\r\\n\\t b  ", "a b" },
		{ "a Correlation ID: x Trace ID: y", "a" },
		{ "a Timestamp: 2026", "a" },
		{ "noTrace ID: x", "noTrace ID: x" },
		{ "Trace ID: x", "Trace ID: x" },
		{ "bell\\u0007 and\\u001b[31mcolour", "bell? and?[31mcolour" },
		{ "c1 \\u0085", "c1 ?" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "", "" },
	};
	static char body[4 * MAUTH_TEXT_MAX];

	for (size_t i = 0; i < COUNT(cases); i++) {
		snprintf(body, sizeof(body), "{\"error_description\":\"%s\"}", cases[i].sent);
		parse(400, body);
		assert_string_equal(reply.description, cases[i].kept);
	}
	snprintf(body, sizeof(body), "{\"error_description\":\"%01500d\"}", 0);
	parse(400, body);
	assert_int_equal(strlen(reply.description), MAUTH_TEXT_MAX - 1);
}

static void the_error_text_repeats_no_free_text_of_entras(void **state)
{
	parse(400, "{\"error\":\"invalid_grant\",\"error_codes\":[50034],\"error_description\":\"AADSTS50034: "
	  "The user "
		   "account victim@contoso.com does not exist\"}");
	assert_null(strstr(error.text, "victim"));
	assert_null(strstr(error.advice, "victim"));
	assert_non_null(strstr(reply.description, "victim"));
}

static void callers_without_an_error_are_served_too(void **state)
{
	mauth_entra_reply_clear(&reply);
	assert_int_equal(mauth_entra_parse(table, 503, NULL, 0, &reply, NULL), MAUTH_TEMPORARY);
	assert_int_equal(mauth_entra_parse(table, 200, "", 0, &reply, NULL), MAUTH_PROTOCOL);
}

/* -- Retry-After -------------------------------------------------------------------------------------------- */

#define NOW 784111777               /* Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example */

static void retry_after_is_read_in_both_forms(void **state)
{
	static const struct {
		const char *retry_after, *date;
		unsigned int secs;
	} cases[] = {
		{ "", "", 0 },
		{ "60", "", 60 },
		{ "0", "", 1 },
		{ "1", "", 1 },
		{ "3600", "", 3600 },
		{ "3601", "", 3600 },
		{ "99999999999999999999999999", "", 3600 },
		{ "-1", "", 0 },
		{ " 5", "", 0 },
		{ "5s", "", 0 },
		{ "1.5", "", 0 },
		{ "soon", "", 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", "", 1 },
		{ "Sun, 06 Nov 1994 08:51:37 GMT", "", 120 },
		{ "Sun, 06 Nov 1994 08:00:00 GMT", "", 1 },
		{ "Mon, 07 Nov 1994 08:49:37 GMT", "", 3600 },
		/* against the sender's clock, which need not be ours */
		{ "Sat, 21 Nov 2026 10:01:00 GMT", "Sat, 21 Nov 2026 10:00:00 GMT", 60 },
		{ "Sun, 06 Nov 1994 08:51:37 GMT", "yesterday", 120 },
		{ "Fri, 01 Jan 2027 00:00:30 GMT", "Thu, 31 Dec 2026 23:59:30 GMT", 60 },
		{ "Wed, 01 Mar 2028 00:00:00 GMT", "Tue, 29 Feb 2028 23:59:00 GMT", 60 },
		{ "Mon, 01 Mar 2027 00:00:00 GMT", "Sun, 28 Feb 2027 23:59:00 GMT", 60 },
		{ "Mon, 01 Mar 2100 00:00:00 GMT", "Sun, 28 Feb 2100 23:59:00 GMT", 60 },
		/* neither */
		{ "Sun, 06 Nov 1994 08:51:37 UTC", "", 0 },
		{ "Sunday, 06-Nov-94 08:51:37 GMT", "", 0 },
		{ "Sun Nov  6 08:51:37 1994", "", 0 },
		{ "Sun, 06 Foo 1994 08:51:37 GMT", "", 0 },
		{ "Sun, 06 nov 1994 08:51:37 GMT", "", 0 },
		{ "Sun, 00 Nov 1994 08:51:37 GMT", "", 0 },
		{ "Sun, 32 Nov 1994 08:51:37 GMT", "", 0 },
		{ "Sun, 06 Nov 1994 24:51:37 GMT", "", 0 },
		{ "Sun, 06 Nov 1994 08:60:37 GMT", "", 0 },
		{ "Sun, 06 Nov 1994 08:51:61 GMT", "", 0 },
		{ "Sun, 06 Nov 1994 08:51:-7 GMT", "", 0 },
		{ "Sun, 06 Nov 1994 08:51:37 GMT ", "", 0 },
		{ "Sun, 06 Nov 1969 08:51:37 GMT", "", 0 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const unsigned int secs = mauth_entra_retry_after(cases[i].retry_after, cases[i].date, NOW);

		if (secs != cases[i].secs)
			fail_msg("\"%s\" at \"%s\": %u", cases[i].retry_after, cases[i].date, secs);
	}
}

static void dates_are_english_in_every_locale(void **state)
{
	/* Whichever of these is installed; without one the test still is true. */
	if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL)
		setlocale(LC_ALL, "fr_FR.UTF-8");
	assert_int_equal(mauth_entra_retry_after("Sun, 06 Nov 1994 08:51:37 GMT", "", NOW), 120);
	assert_int_equal(mauth_entra_retry_after("Thu, 01 Dec 1994 00:00:30 GMT", "Wed, 30 Nov 1994 23:59:59 "
	  "GMT", 0),
			 31);
	setlocale(LC_ALL, "C");
}

/* -- user realm --------------------------------------------------------------------------------------------- */

static void the_realm_is_managed_federated_or_unknown(void **state)
{
	static const struct {
		unsigned int http_status;
		const char *body;
		enum mauth_realm realm;
	} cases[] = {
		{ 200, "{\"ver\":\"1.0\",\"account_type\":\"Managed\",\"domain_name\":\"company.com\","
		  "\"cloud_instance_name\":"
		       "\"microsoftonline.com\",\"cloud_audience_urn\":\"urn:federation:MicrosoftOnline\"}",
		  MAUTH_REALM_MANAGED },
		{ 200, "{\"account_type\":\"Federated\",\"federation_protocol\":\"WSTrust\"}",
		  MAUTH_REALM_FEDERATED },
		{ 200, "{\"account_type\":\"federated\"}", MAUTH_REALM_FEDERATED },
		{ 200, "{\"account_type\":\"Unknown\"}", MAUTH_REALM_UNKNOWN },
		{ 200, "{\"account_type\":1}", MAUTH_REALM_UNKNOWN },
		{ 200, "{}", MAUTH_REALM_UNKNOWN },
		{ 200, "", MAUTH_REALM_UNKNOWN },
		{ 200, "<html>", MAUTH_REALM_UNKNOWN },
		{ 404, "{\"account_type\":\"Managed\"}", MAUTH_REALM_UNKNOWN },
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(cases[i].realm, mauth_entra_parse_realm(cases[i].http_status, cases[i].body,
									 strlen(cases[i].body)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "the other grants have forms of their own", the_other_grants_have_forms_of_their_own },
		{ "the form has what each kind of app must send", the_form_has_what_each_kind_of_app_must_send },
		{ "every octet of a password survives the form", every_octet_of_a_password_survives_the_form },
		{ "the realm URL cannot be led astray by a user name",
		  the_realm_url_cannot_be_led_astray_by_a_user_name },
		{ "GUIDs are random and of version 4", guids_are_random_and_of_version_4 },
		{ "a token is read with its times and its user", a_token_is_read_with_its_times_and_its_user,
		  NULL, forget_reply },
		{ "an opaque token is as good", an_opaque_token_is_as_good, NULL, forget_reply },
		{ "times are clamped however they are written", times_are_clamped_however_they_are_written,
		  NULL, forget_reply },
		{ "a reply of 200 without a usable token is a protocol error",
		  a_reply_of_200_without_a_usable_token_is_a_protocol_error, NULL, forget_reply },
		{ "tokens and replies are bounded", tokens_and_replies_are_bounded, NULL, forget_reply },
		{ "errors are what Entra means by them", errors_are_what_entra_means_by_them, NULL, forget_reply },
		{ "ids and words are kept for the audit", ids_and_words_are_kept_for_the_audit,
		  NULL, forget_reply },
		{ "ids that are none are left out", ids_that_are_none_are_left_out, NULL, forget_reply },
		{ "the policy that blocked is named", the_policy_that_blocked_is_named, NULL, forget_reply },
		{ "descriptions are cleaned and cut", descriptions_are_cleaned_and_cut, NULL, forget_reply },
		{ "the error text repeats no free text of Entra's", the_error_text_repeats_no_free_text_of_entras,
		  NULL, forget_reply },
		{ "callers without an error are served, too", callers_without_an_error_are_served_too,
		  NULL, forget_reply },
		{ "Retry-After is read in both forms", retry_after_is_read_in_both_forms },
		{ "dates are English in every locale", dates_are_english_in_every_locale },
		{ "the realm is managed, federated or unknown", the_realm_is_managed_federated_or_unknown },
	};

	return cmocka_run_group_tests(tests, table_new, table_free);
}
