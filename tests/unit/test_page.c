/* SPDX-License-Identifier: MIT */
/* The report as a page, of sites that a browser test has no need of: empty, full, odd, and without room on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "doveadm/page.h"

#define NOW INT64_C(1795000000)          /* 2026-11-18 */
#define DAY INT64_C(86400)

typedef enum mauth_status add_fn(struct mauth_report *report, const struct mauth_admin_reply *reply, struct mauth_error *error_r);

/* "user=anna@a|protocol=imap|..." */
static void add(struct mauth_report *report, add_fn *fn, const char *fields)
{
	struct mauth_admin_reply reply = { .kind = MAUTH_ADMIN_ROW };
	char *copy = mauth_strdup(fields), *rest = copy, *field;
	struct mauth_error error;

	while ((field = strsep(&rest, "|")) != NULL) {
		char *value = strchr(field, '=');

		*value++ = '\0';
		reply.fields[reply.count++] = (struct mauth_admin_field){ field, value };
	}
	assert_int_equal(fn(report, &reply, &error), MAUTH_OK);
	free(copy);
}

static struct mauth_report *begin(void)
{
	struct mauth_report *report = mauth_report_new();

	mauth_page_begin(report);
	return report;
}

/* The caller frees it. */
static char *page(struct mauth_report **report, int64_t since_days)
{
	const struct mauth_page_facts facts = { .now = NOW, .since = since_days * DAY, .host = "mx1", .by = "anna", .version = "1" };
	struct mauth_error error;
	char *out = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&out, &size);

	assert_int_equal(mauth_page_write(*report, &facts, file, &error), MAUTH_OK);
	assert_int_equal(fclose(file), 0);
	mauth_report_free(report);
	return out;
}

static void assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" is not in the page", part);
}

#define COUNTS "|ok=5|refused=0|failed=0|other=0|first_seen=1794000000|last_seen=1794990000"

static void a_page_of_nothing(void **state)
{
	struct mauth_report *report = begin();
	char *text = page(&report, 30);

	assert_has(text, "<strong>Nobody</strong>");
	assert_has(text, "default-src 'none'; style-src 'sha256-");
	assert_has(text, "</html>");
	free(text);
}

static void what_a_row_lacks_is_not_known(void **state)
{
	struct mauth_report *report = begin();
	char *text;

	add(report, mauth_report_add, "user=anna@a|ok=1|refused=0|failed=0|other=0");
	add(report, mauth_page_add, "item=credential|tenant=a|name=/secret");
	add(report, mauth_page_add, "item=of tomorrow|name=x");
	add(report, mauth_page_add, "kind=rule|name=r");
	add(report, mauth_page_add, "user=anna@a|state=active");
	text = page(&report, 30);
	assert_has(text, "1 account</strong> signed in");
	assert_has(text, "not known");
	free(text);
}

static void how_far_away_an_end_is(void **state)
{
	static const struct {
		int64_t in;
		const char *text;
	} cases[] = {
		{ -1, "class=\"now\">ended<" }, { 3600, "class=\"now\">today<" }, { DAY, "class=\"now\">1 day<" },
		{ 20 * DAY, "class=\"soon\">20 days<" }, { 400 * DAY, "class=\"plan\">400 days<" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mauth_report *report = begin();
		char *row = mauth_printf("item=credential|tenant=a|name=/secret|state=in use|ends_at=%lld", (long long)(NOW + cases[i].in));
		char *text;

		add(report, mauth_page_add, row);
		text = page(&report, 30);
		assert_has(text, cases[i].text);
		free(text);
		free(row);
	}
}

/* Of a login each on so many days before today. */
static char *page_of_days(unsigned int days, int64_t since_days)
{
	struct mauth_report *report = begin();

	for (unsigned int i = 0; i <= days; i++) {
		char *row = mauth_printf("day=%lld|protocol=imap|ok=%u|refused=1|failed=0|other=0", (long long)((NOW / DAY - i) * DAY), 10 + i);

		add(report, mauth_report_add, row);
		free(row);
	}
	add(report, mauth_report_add, "user=anna@a|tenant=a|protocol=imap" COUNTS);
	return page(&report, since_days);
}

static unsigned int columns(const char *text)
{
	unsigned int count = 0;

	while ((text = strstr(text, "<rect class=\"imap\" x=")) != NULL) {
		count++;
		text++;
	}
	return count;
}

static void days_become_weeks_where_there_are_many(void **state)
{
	static const struct {
		unsigned int days;
		int64_t since;
		unsigned int columns;
	} cases[] = { { 0, 30, 1 }, { 20, 30, 21 }, { 80, 30, 31 }, { 80, 61, 62 }, { 80, 62, 9 }, { 400, 400, 58 }, { 400, 3650, 58 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = page_of_days(cases[i].days, cases[i].since);

		assert_int_equal(columns(text), cases[i].columns);
		free(text);
	}
}

static void the_trend_needs_two_weeks(void **state)
{
	char *text = page_of_days(13, 30);

	assert_null(strstr(text, "than in the seven days before"));
	free(text);
	text = page_of_days(14, 30);
	/* 98 after 147. */
	assert_has(text, "33 % fewer than in the seven days before");
	free(text);
}

static void an_inventory_that_is_full_is_said(void **state)
{
	struct mauth_report *report = begin();
	char *text;

	add(report, mauth_page_add, "item=inventory|version=1|rows=100000|max=100000|store=open");
	assert_true(mauth_page_has_store(report));
	text = page(&report, 30);
	assert_has(text, "The inventory is full: 100,000 rows");
	free(text);
}

static void a_protocol_that_nobody_uses_may_go(void **state)
{
	char *text = page_of_days(20, 30);

	assert_has(text, "Nobody has used POP3 in this time");
	assert_has(text, "No rule has an end date");
	free(text);
	text = page_of_days(10, 30);
	assert_null(strstr(text, "Nobody has used POP3"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_of_nothing),
		cmocka_unit_test(what_a_row_lacks_is_not_known),
		cmocka_unit_test(how_far_away_an_end_is),
		cmocka_unit_test(days_become_weeks_where_there_are_many),
		cmocka_unit_test(the_trend_needs_two_weeks),
		cmocka_unit_test(an_inventory_that_is_full_is_said),
		cmocka_unit_test(a_protocol_that_nobody_uses_may_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
