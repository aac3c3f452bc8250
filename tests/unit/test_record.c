/* SPDX-License-Identifier: MIT */
#include "core/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#define STARTED INT64_C(1795326540000042)       /* 2026-11-22T05:49:00.000042Z */

static json_t *parse(const struct mauth_buf *buf)
{
	json_error_t error;
	json_t *json;

	assert_true(buf->size > 2);
	assert_int_equal(buf->data[buf->size - 1], '\n');
	assert_null(memchr(buf->data, '\n', buf->size - 1));
	json = json_loadb(buf->data, buf->size, JSON_REJECT_DUPLICATES, &error);
	if (json == NULL)
		fail_msg("%s at %d: %s", error.text, error.position, buf->data);
	return json;
}

static json_t *record_attempt(const struct mauth_attempt_record *record)
{
	struct mauth_buf buf = { 0 };
	json_t *json;

	mauth_record_attempt(&buf, record);
	json = parse(&buf);
	mauth_buf_free(&buf);
	return json;
}

static json_t *record_upstream(const struct mauth_upstream_record *record)
{
	struct mauth_buf buf = { 0 };
	json_t *json;

	mauth_record_upstream(&buf, record);
	json = parse(&buf);
	mauth_buf_free(&buf);
	return json;
}

/* The value at "event.outcome", or NULL. */
static const json_t *at(const json_t *json, const char *path)
{
	char name[64];

	for (;;) {
		size_t size = strcspn(path, ".");

		snprintf(name, sizeof(name), "%.*s", (int)size, path);
		json = json_object_get(json, name);
		if (path[size] == '\0')
			return json;
		path += size + 1;
	}
}

struct expected {
	const char *path, *text;        /* NULL: absent */
};

static void expect(const json_t *json, const struct expected *expected)
{
	for (; expected->path != NULL; expected++) {
		const json_t *value = at(json, expected->path);
		char dumped[1024] = "";
		const char *text = dumped;

		if (json_is_string(value))
			text = json_string_value(value);
		else if (value != NULL)
			json_dumpb(value, dumped, sizeof(dumped) - 1, JSON_ENCODE_ANY | JSON_COMPACT);
		if (expected->text == NULL ? value != NULL : strcmp(text, expected->text) != 0)
			fail_msg("%s is %s, not %s", expected->path, text, expected->text);
	}
}

static const struct mauth_attempt_record full = {
	.started_usecs = STARTED, .duration_usecs = 123456, .session = "abc/def", .user = "Anna@Contoso.com",
	.upn = "anna@contoso.com", .domain = "contoso.com", .tenant_name = "contoso",
	.tenant_id = "11111111-2222-3333-4444-555555555555", .cloud = "worldwide",
	.service = MAUTH_SERVICE_SUBMISSION, .mechanism = "PLAIN", .client_ip = "2001:db8::1", .local_ip = "192.0.2.1",
	.client_port = 40000, .local_port = 587, .tls = true,
	.client_id = "\"name\" \"Thunder\\\"bird\" \"vendor\" \"M\" \"VERSION\" \"115.1\"", .decision = "upgrade",
	.rule = "tenant contoso", .verified_by = MAUTH_VERIFIED_ENTRA, .grant = "password", .token_source = "fetched",
	.token_id = "0123456789abcdef0123456789abcdef", .token_expires_at = 1795330140, .status = MAUTH_OK,
	.correlation_id = "corr", .trace_id = "trace", .http_status = 200, .policy_id = "policy",
	.upstream_host = "smtp.office365.com", .upstream_port = 587,
	.mailbox_side = "cloud", .mailbox_source = "map",
};

static void an_attempt_has_every_field_in_its_place(void **state)
{
	static const struct expected expected[] = {
		{ "@timestamp", "2026-11-22T05:49:00.000042Z" },
		{ "ecs.version", "9.0.0" },
		{ "event.kind", "event" },
		{ "event.category", "[\"authentication\"]" },
		{ "event.type", "[\"start\"]" },
		{ "event.action", "basic-auth-intercepted" },
		{ "event.outcome", "success" },
		{ "modernauth.mailbox_side", "cloud" },
		{ "modernauth.mailbox_source", "map" },
		{ "event.provider", "dovecot-modernauth" },
		{ "event.dataset", "dovecot.modernauth" },
		{ "event.duration", "123456000" },
		{ "event.code", NULL },
		{ "event.reason", NULL },
		{ "user.name", "Anna@Contoso.com" },
		{ "user.email", "anna@contoso.com" },
		{ "user.domain", "contoso.com" },
		{ "source.ip", "2001:db8::1" },
		{ "source.port", "40000" },
		{ "destination.ip", "192.0.2.1" },
		{ "destination.port", "587" },
		{ "network.protocol", "smtp" },
		{ "network.transport", "tcp" },
		{ "service.name", "submission" },
		{ "service.type", "dovecot" },
		{ "tls.established", "true" },
		{ "user_agent.name", "Thunder\"bird" },
		{ "user_agent.version", "115.1" },
		{ "cloud.account.id", "11111111-2222-3333-4444-555555555555" },
		{ "trace.id", "trace" },
		{ "http.response.status_code", "200" },
		{ "error", NULL },
		{ "modernauth.session", "abc/def" },
		{ "modernauth.protocol", "Authenticated SMTP" },
		{ "modernauth.mechanism", "PLAIN" },
		{ "modernauth.client_id", "\"name\" \"Thunder\\\"bird\" \"vendor\" \"M\" \"VERSION\" \"115.1\"" },
		{ "modernauth.tenant", "contoso" },
		{ "modernauth.cloud", "worldwide" },
		{ "modernauth.decision", "upgrade" },
		{ "modernauth.rule", "tenant contoso" },
		{ "modernauth.verified_by", "entra" },
		{ "modernauth.grant", "password" },
		{ "modernauth.token_source", "fetched" },
		{ "modernauth.token_id", "0123456789abcdef0123456789abcdef" },
		{ "modernauth.token_expires_at", "2026-11-22T06:49:00Z" },
		{ "modernauth.correlation_id", "corr" },
		{ "modernauth.status", "ok" },
		{ "modernauth.suberror", NULL },
		{ "modernauth.policy_id", "policy" },
		{ "modernauth.upstream.host", "smtp.office365.com" },
		{ "modernauth.upstream.port", "587" },
		{ 0 }
	};
	json_t *json = record_attempt(&full);

	expect(json, expected);
	json_decref(json);
}

static void a_refused_attempt_says_why(void **state)
{
	static const struct expected expected[] = {
		{ "event.outcome", "failure" },
		{ "event.code", "50126" },
		{ "event.reason", "wrong password" },
		{ "error.code", "50126" },
		{ "error.message", "wrong password" },
		{ "http.response.status_code", "400" },
		{ "modernauth.status", "bad_credentials" },
		{ "modernauth.suberror", "bad" },
		{ "modernauth.token_expires_at", NULL },
		{ "modernauth.protocol", "IMAP4" },
		{ "network.protocol", "imap" },
		{ 0 }
	};
	const struct mauth_attempt_record record = { .started_usecs = STARTED, .status = MAUTH_BAD_CREDENTIALS,
						     .code = 50126, .suberror = "bad", .reason = "wrong password",
						     .http_status = 400 };
	json_t *json = record_attempt(&record);

	expect(json, expected);
	json_decref(json);
}

static void every_status_has_an_outcome(void **state)
{
	for (enum mauth_status status = 0; status < MAUTH_STATUS_COUNT; status++) {
		const struct mauth_attempt_record record = { .status = status };
		json_t *json = record_attempt(&record);
		const struct expected expected[] = {
			{ "event.outcome", status == MAUTH_OK ? "success" : status == MAUTH_NOT_OURS ||
			  status == MAUTH_CANCELLED ? "unknown" : "failure" },
			{ "modernauth.status", mauth_status_name(status) },
			{ 0 }
		};

		expect(json, expected);
		json_decref(json);
	}
}

static void what_is_unknown_is_left_out(void **state)
{
	static const struct mauth_attempt_record empty = { .user = "" };
	static const char *const absent[] = { "user", "source", "destination", "cloud", "trace", "http", "user_agent",
					      "modernauth.upstream", "modernauth.session", "modernauth.token_id",
					      "modernauth.mailbox_side", "modernauth.mailbox_source" };
	json_t *json = record_attempt(&empty);

	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		if (at(json, absent[i]) != NULL)
			fail_msg("%s is there", absent[i]);
	}
	assert_string_equal(json_string_value(at(json, "@timestamp")), "1970-01-01T00:00:00.000000Z");
	json_decref(json);
}

static void upstream_answers_have_their_fields(void **state)
{
	static const struct mauth_upstream_report report = {
		.user = "anna@contoso.com", .mailbox = "shared@contoso.com", .service = MAUTH_SERVICE_POP3,
		.result = MAUTH_UPSTREAM_REFUSED, .reply = "-ERR Authentication failure: \"x\"\r", .token_id = "tid",
		.session = "s", .client_ip = "192.0.2.7", .local_ip = "192.0.2.1", .client_port = 1, .local_port = 995,
		.host = "outlook.office365.com", .host_ip = "203.0.113.1", .port = 995, .tls_protocol = "TLSv1.3",
		.tls_cipher = "TLS_AES_256_GCM_SHA384",
	};
	static const struct mauth_upstream_record record = {
		.wall_usecs = STARTED, .report = &report, .upn = "anna@contoso.com", .domain = "contoso.com",
		.tenant_name = "contoso", .tenant_id = "guid", .cloud = "gcc", .advice = "POP is switched off",
	};
	static const struct expected expected[] = {
		{ "@timestamp", "2026-11-22T05:49:00.000042Z" },
		{ "event.action", "upstream-session-refused" },
		{ "event.outcome", "failure" },
		{ "event.reason", "POP is switched off" },
		{ "event.duration", NULL },
		{ "user.name", "anna@contoso.com" },
		{ "source.ip", "192.0.2.7" },
		{ "destination.port", "995" },
		{ "network.protocol", "pop3" },
		{ "tls.established", "true" },
		{ "tls.version", "1.3" },
		{ "tls.version_protocol", "tls" },
		{ "tls.cipher", "TLS_AES_256_GCM_SHA384" },
		{ "cloud.account.id", "guid" },
		{ "error.message", "-ERR Authentication failure: \"x\"\r" },
		{ "modernauth.reply", "-ERR Authentication failure: \"x\"\r" },
		{ "modernauth.mailbox", "shared@contoso.com" },
		{ "modernauth.protocol", "POP3" },
		{ "modernauth.tenant", "contoso" },
		{ "modernauth.token_id", "tid" },
		{ "modernauth.status", "refused" },
		{ "modernauth.upstream.host", "outlook.office365.com" },
		{ "modernauth.upstream.ip", "203.0.113.1" },
		{ "modernauth.upstream.port", "995" },
		{ 0 }
	};
	json_t *json = record_upstream(&record);

	expect(json, expected);
	json_decref(json);
}

static void upstream_results_have_actions(void **state)
{
	static const char *const expected[MAUTH_UPSTREAM_COUNT][2] = {
		[MAUTH_UPSTREAM_ACCEPTED] = { "upstream-session-opened", "success" },
		[MAUTH_UPSTREAM_REFUSED] = { "upstream-session-refused", "failure" },
		[MAUTH_UPSTREAM_FAILED] = { "upstream-session-failed", "failure" },
	};

	for (enum mauth_upstream_result result = 0; result < MAUTH_UPSTREAM_COUNT; result++) {
		const struct mauth_upstream_report report = { .result = result };
		const struct mauth_upstream_record record = { .report = &report };
		json_t *json = record_upstream(&record);

		assert_string_equal(json_string_value(at(json, "event.action")), expected[result][0]);
		assert_string_equal(json_string_value(at(json, "event.outcome")), expected[result][1]);
		assert_true(json_is_false(at(json, "tls.established")));
		json_decref(json);
	}
}

static void hostile_names_stay_inside_their_string(void **state)
{
	static const struct {
		const char *user, *as_read;
	} names[] = {
		{ "a\",\"event\":{\"outcome\":\"success", "a\",\"event\":{\"outcome\":\"success" },
		{ "a\\", "a\\" },
		{ "a\\\"}", "a\\\"}" },
		{ "a\n{\"b\":1}\r\n", "a\n{\"b\":1}\r\n" },
		{ "\001\037\177\t\b", "\001\037\177\t\b" },
		{ "\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },    /* a surrogate */
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },                    /* half a character */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xc2\x9b" "31m", "\xc2\x9b" "31m" },                        /* CSI for some terminals */
		{ "\xe2\x80\xa8", "\xe2\x80\xa8" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct mauth_attempt_record record = full;
		json_t *json;

		record.user = names[i].user;
		record.client_id = names[i].user;
		record.mechanism = names[i].user;
		json = record_attempt(&record);
		assert_string_equal(json_string_value(at(json, "user.name")), names[i].as_read);
		assert_string_equal(json_string_value(at(json, "modernauth.client_id")), names[i].as_read);
		assert_string_equal(json_string_value(at(json, "event.outcome")), "success");
		json_decref(json);
	}
}

static void a_line_has_no_control_characters(void **state)
{
	struct mauth_attempt_record record = full;
	struct mauth_buf buf = { 0 };

	record.user = "\001\033[2J\177\xc2\x9b\n";
	mauth_record_attempt(&buf, &record);
	for (size_t i = 0; i + 1 < buf.size; i++) {
		assert_true((unsigned char)buf.data[i] >= 0x20 && buf.data[i] != 0x7f);
		assert_false(buf.data[i] == '\xc2' && (unsigned char)buf.data[i + 1] < 0xa0);
	}
	mauth_buf_free(&buf);
}

static size_t length_at(const json_t *json, const char *path)
{
	return json_string_length(at(json, path));
}

static void user_text_is_cut_between_characters(void **state)
{
	char *ascii = malloc(100001), *euro = malloc(30001);
	struct mauth_attempt_record record = full;
	json_t *json;

	memset(ascii, 'a', 100000);
	ascii[100000] = '\0';
	for (size_t i = 0; i < 10000; i++)
		memcpy(euro + 3 * i, "\xe2\x82\xac", 4);
	record.user = record.client_id = record.session = ascii;
	json = record_attempt(&record);
	assert_int_equal(length_at(json, "user.name"), 320);
	assert_int_equal(length_at(json, "modernauth.client_id"), 512);
	assert_int_equal(length_at(json, "modernauth.session"), 256);
	json_decref(json);
	record.user = record.client_id = record.session = euro;
	json = record_attempt(&record);
	assert_int_equal(length_at(json, "user.name"), 318);
	assert_int_equal(length_at(json, "modernauth.client_id"), 510);
	assert_int_equal(length_at(json, "modernauth.session"), 255);
	assert_memory_equal(json_string_value(at(json, "user.name")) + 315, "\xe2\x82\xac", 4);
	json_decref(json);
	free(ascii);
	free(euro);
}

static void client_ids_that_are_no_list_give_no_user_agent(void **state)
{
	static const struct {
		const char *client_id, *name;
	} ids[] = {
		{ "", NULL }, { "NIL", NULL }, { "\"", NULL }, { "\"name\"", NULL }, { "\"name\" \"unfinished", NULL },
		{ "\"name\" \"\\", NULL }, { "\"os\" \"x\"", NULL }, { "\"name\" NIL \"os\" \"x\"", "os" },
		{ "\"NAME\" \"K-9\"", "K-9" },
	};

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct mauth_attempt_record record = full;
		const struct expected expected[] = { { "user_agent.name", ids[i].name }, { 0 } };
		json_t *json;

		record.client_id = ids[i].client_id;
		json = record_attempt(&record);
		expect(json, expected);
		json_decref(json);
	}
}

static void records_have_different_ids(void **state)
{
	json_t *a = record_attempt(&full), *b = record_attempt(&full);

	assert_int_equal(length_at(a, "event.id"), 40);
	assert_string_not_equal(json_string_value(at(a, "event.id")), json_string_value(at(b, "event.id")));
	json_decref(a);
	json_decref(b);
}

static void impossible_times_do_no_harm(void **state)
{
	static const int64_t times[] = { -1, INT64_MIN, INT64_MAX };

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct mauth_attempt_record record = full;
		json_t *json;

		record.started_usecs = record.token_expires_at = times[i];
		record.duration_usecs = -1;
		json = record_attempt(&record);
		assert_int_equal(json_integer_value(at(json, "event.duration")), 0);
		json_decref(json);
	}
}

static void a_record_is_appended_to_what_the_buffer_has(void **state)
{
	struct mauth_buf buf = { 0 };

	mauth_record_attempt(&buf, &full);
	mauth_record_attempt(&buf, &full);
	assert_non_null(strstr(buf.data, "}\n{\"@timestamp\":"));
	mauth_buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_attempt_has_every_field_in_its_place),
		cmocka_unit_test(a_refused_attempt_says_why),
		cmocka_unit_test(every_status_has_an_outcome),
		cmocka_unit_test(what_is_unknown_is_left_out),
		cmocka_unit_test(upstream_answers_have_their_fields),
		cmocka_unit_test(upstream_results_have_actions),
		cmocka_unit_test(hostile_names_stay_inside_their_string),
		cmocka_unit_test(a_line_has_no_control_characters),
		cmocka_unit_test(user_text_is_cut_between_characters),
		cmocka_unit_test(client_ids_that_are_no_list_give_no_user_agent),
		cmocka_unit_test(records_have_different_ids),
		cmocka_unit_test(impossible_times_do_no_harm),
		cmocka_unit_test(a_record_is_appended_to_what_the_buffer_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
