/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include "core/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct mauth_upstream_report about = {
	.user = ALICE, .mailbox = ALICE, .service = MAUTH_SERVICE_POP3, .token_id = "cafe", .session = "s1",
	.client_ip = "192.0.2.1", .client_port = 4711, .local_ip = "192.0.2.2", .local_port = 110,
	.host = "outlook.example", .host_ip = "192.0.2.3", .port = 995, .tls_protocol = "TLSv1.3",
};

/* The only line of the audit must have all of these. */
static void expect_record(struct world *w, const char *const *parts)
{
	struct mauth_error error;

	assert_int_equal(mauth_broker_record_reports(w->broker, &error), MAUTH_OK);
	assert_int_equal(world_count(w->sinks.records, "\n"), 1);
	for (; *parts != NULL; parts++) {
		if (strstr(w->sinks.records, *parts) == NULL)
			fail_msg("%s is not in %s", *parts, w->sinks.records);
	}
}

static void the_end_of_a_session_is_on_record(void **state)
{
	static const char *const parts[] = {
		"\"@timestamp\":\"2023-11-14T22:13:20.000000Z\"", "\"category\":[\"session\"],\"type\":[\"end\"]",
		"\"action\":\"session-ended\",\"outcome\":\"success\"", "\"duration\":61500000000",
		"\"start\":\"2023-11-14T22:12:08.500000Z\",\"end\":\"2023-11-14T22:13:10.000000Z\"",
		"\"user\":{\"name\":\"" ALICE "\",\"email\":\"" ALICE "\",\"domain\":\"contoso.com\"}",
		"\"source\":{\"ip\":\"192.0.2.1\",\"port\":4711,\"bytes\":5000000000}",
		"\"destination\":{\"ip\":\"192.0.2.2\",\"port\":110,\"bytes\":0}",
		"\"network\":{\"protocol\":\"pop3\",\"transport\":\"tcp\"}", "\"tls\":{\"established\":true,\"version\":\"1.3\"",
		"\"session\":\"s1\",\"protocol\":\"POP3\"", "\"tenant\":\"contoso\"", "\"token_id\":\"cafe\"",
		"\"upstream\":{\"host\":\"outlook.example\",\"ip\":\"192.0.2.3\",\"port\":995}", "\"status\":\"client\"", NULL
	};
	const struct mauth_session_end end = {
		.by = MAUTH_ENDED_BY_CLIENT, .at_usecs = (WORLD_WALL - 10) * 1000000LL, .duration_usecs = 61500000,
		.bytes_in = 5000000000,
	};
	struct mauth_broker_stats stats;
	struct world w;

	world_begin(&w);
	world_open(&w);
	mauth_broker_session_ended(w.broker, &about, &end);
	expect_record(&w, parts);
	mauth_broker_stats(w.broker, &stats);
	assert_int_equal(stats.sessions_ended, 1);
	world_end(&w);
}

static void whose_doing_it_was_is_told(void **state)
{
	static const struct {
		struct mauth_session_end end;
		const char *parts[4];
	} rows[] = {
		{ { .by = MAUTH_ENDED_BY_SERVER, .said = "* BYE Session invalidated - AccessTokenExpired" },
		  { "\"status\":\"token-expired\",\"reply\":\"* BYE Session", "\"outcome\":\"success\"" } },
		{ { .by = MAUTH_ENDED_BY_SERVER, .reason = "Connection reset" },
		  { "\"status\":\"server\"}", "\"outcome\":\"unknown\"", "\"reason\":\"Connection reset\"" } },
		{ { .by = MAUTH_ENDED_BY_FRONT_END, .reason = "Process shutting down" },
		  { "\"status\":\"front-end\"}", "\"reason\":\"Process shutting down\"" } },
		{ { .by = MAUTH_ENDED_BY_CLIENT, .reason = "Connection reset" },
		  { "\"status\":\"client\"}", "\"outcome\":\"success\"" } },
		/* The words count only of who ended it. */
		{ { .by = MAUTH_ENDED_BY_CLIENT, .said = "AccessTokenExpired" }, { "\"status\":\"client\"" } },
		{ { .by = MAUTH_ENDED_BY_CLIENT, .at_usecs = INT64_MAX, .duration_usecs = INT64_MAX / 1000, .bytes_in = INT64_MAX },
		  { "\"status\":\"client\"", "\"bytes\":9223372036854775807" } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w;

		world_begin(&w);
		world_open(&w);
		mauth_broker_session_ended(w.broker, &about, &rows[i].end);
		expect_record(&w, rows[i].parts);
		world_end(&w);
	}
}

static void an_end_is_counted_as_an_event(void **state)
{
	const struct mauth_session_end end = { .by = MAUTH_ENDED_BY_SERVER, .duration_usecs = 7000000, .bytes_in = 3, .bytes_out = 4 };
	struct world w;

	world_begin(&w);
	world_open(&w);
	mauth_broker_session_ended(w.broker, &about, &end);
	assert_non_null(strstr(w.sinks.events, "modernauth_session_finished"));
	assert_non_null(strstr(w.sinks.events, "side=server"));
	assert_non_null(strstr(w.sinks.events, "bytes_out=4"));
	world_end(&w);
}

static void a_mailbox_that_is_not_there_is_on_record_with_advice(void **state)
{
	static const char *const parts[] = {
		"\"action\":\"mailbox-not-connected\",\"outcome\":\"failure\"", "not in Exchange Online",
		"\"error\":{\"message\":\"a BAD User is authenticated but not connected.\"}", "\"status\":\"not-connected\"", NULL
	};
	struct mauth_upstream_report report = about;
	struct world w;

	report.reply = "a BAD User is authenticated but not connected.";
	world_begin(&w);
	world_open(&w);
	mauth_broker_unconnected(w.broker, &report);
	expect_record(&w, parts);
	assert_non_null(strstr(w.sinks.lines, "opens no mailbox: user=" ALICE));
	world_end(&w);
}

static void who_is_nobodys_any_more_is_on_record_too(void **state)
{
	static const char *const parts[] = { "\"user\":{\"name\":\"x@elsewhere.org\"}", "\"session-ended\"", NULL };
	const struct mauth_session_end end = { .by = MAUTH_ENDED_BY_CLIENT };
	struct mauth_upstream_report report = about;
	struct world w;

	report.user = "x@elsewhere.org";
	world_begin(&w);
	world_open(&w);
	mauth_broker_session_ended(w.broker, &report, &end);
	expect_record(&w, parts);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_of_a_session_is_on_record),
		cmocka_unit_test(whose_doing_it_was_is_told),
		cmocka_unit_test(an_end_is_counted_as_an_event),
		cmocka_unit_test(a_mailbox_that_is_not_there_is_on_record_with_advice),
		cmocka_unit_test(who_is_nobodys_any_more_is_on_record_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
