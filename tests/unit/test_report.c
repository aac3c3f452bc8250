/* SPDX-License-Identifier: MIT */
/* The rows of the inventory, sorted and put together. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "doveadm/report.h"

/* user tenant protocol client network first last ok refused failed other error */
struct given {
	const char *user, *tenant, *protocol, *client, *network, *first, *last, *ok, *refused, *error;
};
static const struct given some[] = {
	{ "anna@a", "a", "imap", "K-9", "10.0.0.0/24", "100", "500", "5", "1", "locked" },
	{ "anna@a", "a", "imap", "K-9", "10.0.1.0/24", "200", "300", "2", "0", NULL },
	{ "anna@a", "a", "pop3", "K-9", "10.0.0.0/24", "50", "400", "1", "9", "bad_credentials AADSTS50126" },
	{ "anna@a", "b", "imap", NULL, "10.0.0.0/24", "400", "900", "1", "0", NULL },
	{ "bert@a", "a", "submission", "scanner", NULL, "10", "20", "100", "0", NULL },
};

static void add(struct mauth_report *report, const struct given *given)
{
	const struct mauth_admin_field fields[] = {
		{ "user", given->user }, { "tenant", given->tenant }, { "protocol", given->protocol }, { "client", given->client },
		{ "network", given->network }, { "first_seen", given->first }, { "last_seen", given->last }, { "ok", given->ok },
		{ "refused", given->refused }, { "failed", "0" }, { "other", "0" }, { "last_error", given->error }, { "tls", "yes" },
	};
	struct mauth_admin_reply reply = { .kind = MAUTH_ADMIN_ROW };
	struct mauth_error error;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (fields[i].value != NULL)
			reply.fields[reply.count++] = fields[i];
	}
	assert_int_equal(mauth_report_add(report, &reply, &error), MAUTH_OK);
}

struct output {
	const struct mauth_report_column *columns;
	char text[4096];
	size_t used;
};

static void print(const struct mauth_report_cell *cells, void *context)
{
	struct output *out = context;

	for (size_t i = 0; out->columns[i].key != NULL; i++) {
		if (out->columns[i].kind == MAUTH_REPORT_TEXT)
			out->used += (size_t)snprintf(out->text + out->used, sizeof(out->text) - out->used, "%s|", cells[i].text);
		else
			out->used += (size_t)snprintf(out->text + out->used, sizeof(out->text) - out->used, "%lld|",
						      (long long)cells[i].num);
	}
	out->used += (size_t)snprintf(out->text + out->used, sizeof(out->text) - out->used, "\n");
}

static void groups_count_what_is_different(void **state)
{
	static const struct {
		const char *group, *expected;
	} cases[] = {
		{ "none", "anna@a|b|imap||10.0.0.0/24|yes|400|900|1|0|0|0|||||0|\n"
			  "anna@a|a|imap|K-9|10.0.0.0/24|yes|100|500|5|1|0|0||locked|||0|\n"
			  "anna@a|a|pop3|K-9|10.0.0.0/24|yes|50|400|1|9|0|0||bad_credentials AADSTS50126|||0|\n"
			  "anna@a|a|imap|K-9|10.0.1.0/24|yes|200|300|2|0|0|0|||||0|\n"
			  "bert@a|a|submission|scanner||yes|10|20|100|0|0|0|||||0|\n" },
		{ "user", "bert@a|a|submission|1|1|10|20|100|0|0|0||\n"
			  "anna@a|a|imap,pop3|2|2|50|500|8|10|0|0|locked|\n"
			  "anna@a|b|imap|1|1|400|900|1|0|0|0||\n" },
		{ "protocol", "submission|1|1|1|10|20|100|0|0|0|\n"
			      "imap|2|3|2|100|900|8|1|0|0|\n"
			      "pop3|1|1|1|50|400|1|9|0|0|\n" },
		{ "client", "scanner|submission|1|1|10|20|100|0|0|0|\n"
			    "K-9|imap,pop3|1|2|50|500|8|10|0|0|\n"
			    "|imap|1|1|400|900|1|0|0|0|\n" },
		{ "network", "|submission|1|1|10|20|100|0|0|0|\n"
			     "10.0.0.0/24|imap,pop3|2|2|50|900|7|10|0|0|\n"
			     "10.0.1.0/24|imap|1|1|200|300|2|0|0|0|\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_report *report = mauth_report_new();
		struct output out = { .used = 0 };
		enum mauth_report_group group;
		struct mauth_error error;

		for (size_t n = 0; n < sizeof(some) / sizeof(some[0]); n++)
			add(report, &some[n]);
		assert_true(mauth_report_group_parse(cases[i].group, &group));
		out.columns = mauth_report_columns(group);
		assert_int_equal(mauth_report_run(report, group, print, &out, &error), MAUTH_OK);
		assert_string_equal(out.text, cases[i].expected);
		mauth_report_free(&report);
	}
}

static void nothing_is_a_report_too(void **state)
{
	for (unsigned int group = 0; group < MAUTH_REPORT_GROUPS; group++) {
		struct mauth_report *report = mauth_report_new();
		struct output out = { .columns = mauth_report_columns((enum mauth_report_group)group) };
		struct mauth_error error;

		assert_int_equal(mauth_report_run(report, (enum mauth_report_group)group, print, &out, &error), MAUTH_OK);
		assert_int_equal(out.used, 0);
		mauth_report_free(&report);
	}
}

static void many_groups(void **state)
{
	struct mauth_report *report = mauth_report_new();
	struct output out = { .used = 0 };
	struct mauth_error error;
	unsigned int lines = 0;
	char user[32];

	for (unsigned int i = 0; i < 3000; i++) {
		struct given given = some[i % 3];

		snprintf(user, sizeof(user), "user%u@a", i % 1000);
		given.user = user;
		add(report, &given);
	}
	out.columns = mauth_report_columns(MAUTH_REPORT_PROTOCOL);
	assert_int_equal(mauth_report_run(report, MAUTH_REPORT_PROTOCOL, print, &out, &error), MAUTH_OK);
	for (const char *at = out.text; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_int_equal(lines, 2);
	assert_memory_equal(out.text, "imap|1000|", 10);
	mauth_report_free(&report);
}

static void a_row_without_its_counts_is_none(void **state)
{
	const struct mauth_admin_reply reply = { .count = 1, .fields = { { "user", "anna@a" } } };
	struct mauth_report *report = mauth_report_new();
	struct mauth_error error;

	assert_int_equal(mauth_report_add(report, &reply, &error), MAUTH_PROTOCOL);
	assert_non_null(strstr(error.text, "no number of ok"));
	mauth_report_free(&report);
}

/* Files may not become longer than this: as on a full disk. */
static void with_room_for(rlim_t octets)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = octets < limit.rlim_max ? octets : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void without_room_on_disk_it_says_so(void **state)
{
	const struct mauth_admin_reply reply = { .kind = MAUTH_ADMIN_ROW, .count = 5, .fields = {
		{ "user", "somebody.with.a.long.name@contoso.example" }, { "ok", "1" }, { "refused", "0" }, { "failed", "0" }, { "other", "0" },
	} };
	struct mauth_report *report = mauth_report_new();
	struct output out = { .columns = mauth_report_columns(MAUTH_REPORT_USER) };
	enum mauth_status status = MAUTH_OK;
	struct mauth_error error = { .status = MAUTH_OK };

	(void)signal(SIGXFSZ, SIG_IGN);
	with_room_for(65536);
	for (unsigned int i = 0; status == MAUTH_OK && i < 500000; i++)
		status = mauth_report_add(report, &reply, &error);
	with_room_for(RLIM_INFINITY);
	assert_int_equal(status, MAUTH_TEMPORARY);
	assert_non_null(strstr(error.advice, "/var/tmp"));
	assert_int_equal(mauth_report_run(report, MAUTH_REPORT_USER, print, &out, &error), MAUTH_TEMPORARY);
	assert_int_equal(out.used, 0);
	mauth_report_free(&report);
}

static void groups_have_names(void **state)
{
	enum mauth_report_group group;

	assert_true(mauth_report_group_parse("day", &group));
	assert_int_equal(group, MAUTH_REPORT_DAY);
	assert_false(mauth_report_group_parse("", &group));
	assert_false(mauth_report_group_parse("users", &group));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_count_what_is_different),
		cmocka_unit_test(nothing_is_a_report_too),
		cmocka_unit_test(many_groups),
		cmocka_unit_test(a_row_without_its_counts_is_none),
		cmocka_unit_test(without_room_on_disk_it_says_so),
		cmocka_unit_test(groups_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
