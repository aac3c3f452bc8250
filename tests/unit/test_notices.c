/* SPDX-License-Identifier: MIT */
/* What ends soon is announced once a day, to whoever wants to know, and with nothing that a user name could add. */
#include "vault_world.h"

#include "core/mem.h"
#include "core/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define DAY 86400
#define DAY_MSECS (DAY * 1000u)
#define UNTIL 1703462400                     /* 2023-12-25T00:00:00Z, a midnight like every "until" of a rule */

static const struct mauth_notice scanners = {
	.kind = "rule", .name = "scanners", .action = MAUTH_ACTION_UPGRADE, .then = MAUTH_ACTION_DENY, .until = UNTIL,
	.notice_days = 30,
};

/* -- pure --------------------------------------------------------------------------------------------------- */

static void expect_text(const struct mauth_notice *notice, int64_t now, const size_t *users, const char *wanted)
{
	char text[MAUTH_TEXT_MAX];

	mauth_notice_text(notice, now, users, text);
	assert_string_equal(text, wanted);
}

static void a_notice_says_what_ends_when_and_for_whom(void **state)
{
	static const size_t many = 14, one = 1;
	struct mauth_notice noon = scanners;

	expect_text(&scanners, UNTIL - 12 * DAY, &many, "rule \"scanners\" ends in 12 days (2023-12-24, 2023-12-25T00:00:00Z): then "
		    "\"deny\"; 14 users used it in the last 30 days");
	expect_text(&scanners, UNTIL - DAY - 1, &one, "rule \"scanners\" ends in 2 days (2023-12-24, 2023-12-25T00:00:00Z): then "
		    "\"deny\"; 1 user used it in the last 30 days");
	noon.until = UNTIL - 12 * 3600;
	expect_text(&noon, UNTIL - 25 * 3600, NULL, "rule \"scanners\" ends tomorrow (2023-12-24, 2023-12-24T12:00:00Z): then \"deny\"");
	expect_text(&scanners, UNTIL - 3600, NULL, "rule \"scanners\" ends today (2023-12-24, 2023-12-25T00:00:00Z): then \"deny\"");
	expect_text(&scanners, UNTIL, NULL, "rule \"scanners\" has ended (2023-12-24, 2023-12-25T00:00:00Z): now \"deny\"");
}

static void it_is_due_from_notice_days_before_to_the_day_of_the_end(void **state)
{
	struct mauth_notice notice = scanners;

	assert_false(mauth_notice_is_due(&notice, UNTIL - 30 * DAY - 1));
	assert_true(mauth_notice_is_due(&notice, UNTIL - 30 * DAY));
	assert_true(mauth_notice_is_due(&notice, UNTIL - 1));
	assert_true(mauth_notice_is_due(&notice, UNTIL));
	assert_true(mauth_notice_is_due(&notice, UNTIL + DAY - 1));
	assert_false(mauth_notice_is_due(&notice, UNTIL + DAY));
	notice.notice_days = 0;
	assert_false(mauth_notice_is_due(&notice, UNTIL - 1));
	notice = scanners;
	notice.until = 0;
	assert_false(mauth_notice_is_due(&notice, UNTIL - 1));
}

/* -- mail --------------------------------------------------------------------------------------------------- */

struct crowd {
	unsigned int users;
	bool unknown, hostile;
};

static bool affected(void *context, const struct mauth_notice *notice, mauth_notice_user_fn *fn, void *fn_context,
		     size_t *users_r)
{
	const struct crowd *crowd = context;
	char user[64];

	if (crowd->unknown)
		return false;
	assert_string_equal(notice->kind, "rule");
	for (unsigned int i = crowd->users; i > 0 && fn != NULL; i--) {
		snprintf(user, sizeof(user), "user%05u@contoso.com", i - 1);
		fn(user, "imap", i % 2 == 0 ? NULL : "Thunderbird 115", fn_context);
	}
	if (crowd->hostile && fn != NULL)
		fn("x@contoso.com\n\nBcc: all@contoso.com\r\n.\r\nQUIT", "smtp", "a\nSubject: b\xff\x1b[2J", fn_context);
	*users_r = crowd->users + crowd->hostile;
	return true;
}

static char *body_of(struct crowd crowd, size_t *users_r)
{
	const struct mauth_notice_usage usage = { .affected = affected, .context = &crowd };
	struct mauth_buf body = { 0 };

	assert_int_equal(mauth_notice_body(&scanners, UNTIL - 12 * DAY, &usage, &body, users_r), !crowd.unknown);
	return body.data;
}

static void the_list_is_sorted_and_ends(void **state)
{
	size_t users;
	char *body = body_of((struct crowd){ .users = 3 }, &users);

	assert_int_equal(users, 3);
	assert_string_equal(body, "rule \"scanners\" ends in 12 days (2023-12-24, 2023-12-25T00:00:00Z): then \"deny\"; 3 users used it "
			    "in the last 30 days\n\nUsers, protocols and clients in the last 30 days:\n"
			    "user00000@contoso.com  imap  Thunderbird 115\nuser00001@contoso.com  imap  -\n"
			    "user00002@contoso.com  imap  Thunderbird 115\n");
	free(body);
	body = body_of((struct crowd){ .users = MAUTH_NOTICE_LINES_MAX + 7 }, &users);
	assert_int_equal(world_count(body, "@contoso.com"), MAUTH_NOTICE_LINES_MAX);
	assert_non_null(strstr(body, "\nand 7 more\n"));
	assert_null(strstr(body, "user00000@"));
	free(body);
	body = body_of((struct crowd){ .unknown = true }, &users);
	assert_string_equal(body, "rule \"scanners\" ends in 12 days (2023-12-24, 2023-12-25T00:00:00Z): then \"deny\"\n");
	free(body);
}

static void a_user_name_is_one_line(void **state)
{
	size_t users;
	char *body = body_of((struct crowd){ .hostile = true }, &users);

	assert_int_equal(world_count(body, "\n"), 4);
	assert_null(strchr(body, '\r'));
	assert_null(strchr(body, '\x1b'));
	assert_null(strchr(body, '\xff'));
	assert_null(strstr(body, "\nBcc"));
	free(body);
}

static void the_head_is_a_mails(void **state)
{
	struct mauth_notice notice = scanners;
	struct mauth_buf head = { 0 };

	mauth_notice_head(&notice, WORLD_WALL, "from@contoso.com", "to@contoso.com", 0xabc, &head);
	assert_string_equal(head.data, "From: modernauth <from@contoso.com>\nTo: to@contoso.com\n"
			    "Subject: modernauth: rule \"scanners\" ends in 41 days\n"
			    "Date: Tue, 14 Nov 2023 22:13:20 +0000\n"
			    "Message-ID: <modernauth.1700000000.0000000000000abc@contoso.com>\n"
			    "Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
			    "Content-Transfer-Encoding: 8bit\n\n");
	mauth_buf_clear(&head);
	notice.name = "x\nBcc: all@contoso.com\xc3\xa9";
	mauth_notice_head(&notice, WORLD_WALL, "from@contoso.com", "to@contoso.com", 1, &head);
	assert_null(strstr(head.data, "\nBcc"));
	for (const char *c = head.data; *c != '\0'; c++)
		assert_true((unsigned char)*c < 0x80);
	mauth_buf_free(&head);
}

/* -- once a day --------------------------------------------------------------------------------------------- */

static struct mauth_buf runs;

static void run(void *context, const struct mauth_run_job *job)
{
	assert_null(context);
	assert_int_equal(job->timeout_msecs, 60000);
	mauth_buf_printf(&runs, "RUN %s:", job->what);
	for (size_t i = 0; job->argv[i] != NULL; i++)
		mauth_buf_printf(&runs, " %s", job->argv[i]);
	for (size_t i = 0; job->env[i] != NULL; i++)
		mauth_buf_printf(&runs, " %s", job->env[i]);
	mauth_buf_printf(&runs, "\n");
	mauth_buf_append(&runs, job->input, job->size);
}

static const struct mauth_run runner = { .start = run };

/* A rule that ends in 41 days, announced 30 days before. */
static void begin(struct vault_world *world, const char *grants)
{
	struct mauth_rule *rule;

	vault_world_begin(world);
	vault_world_grants(world->w.tenant, grants);
	rule = vault_world_rule(world);
	free(rule->name);
	rule->name = mauth_strdup("scanners");
	rule->until = UNTIL;
	rule->then = MAUTH_ACTION_DENY;
	rule->notice_days = 30;
	world->w.run = &runner;
	mauth_buf_puts(&runs, "");
}

static unsigned int said(const struct vault_world *world)
{
	return world->w.sinks.lines == NULL ? 0 : world_count(world->w.sinks.lines, "warning rule \"scanners\" ");
}

static int end(void **state)
{
	mauth_buf_free(&runs);
	return 0;
}

static void every_day_has_one_notice_until_it_has_ended(void **state)
{
	struct vault_world world;

	begin(&world, "EP");
	vault_world_open(&world);
	/* To the noon of the day before the first notice. */
	fake_loop_run(world.w.loop, 827200000u);
	assert_int_equal(said(&world), 0);
	for (unsigned int day = 1; day <= 31; day++) {
		fake_loop_run(world.w.loop, DAY_MSECS);
		assert_int_equal(said(&world), day);
	}
	fake_loop_run(world.w.loop, 2 * DAY_MSECS);
	assert_int_equal(said(&world), 31);
	assert_non_null(strstr(world.w.sinks.lines, "rule \"scanners\" ends in 30 days (2023-12-24, 2023-12-25T00:00:00Z): then \"deny\"\n"));
	assert_int_equal(world_count(world.w.sinks.lines, "rule \"scanners\" ends today"), 1);
	assert_int_equal(world_count(world.w.sinks.lines, "rule \"scanners\" has ended"), 1);
	assert_string_equal(runs.data, "");
	vault_world_end(&world);
}

static void who_starts_again_on_the_same_day_says_nothing_again(void **state)
{
	struct vault_world world;

	begin(&world, "EP");
	vault_world_open(&world);
	fake_loop_run(world.w.loop, 15 * DAY_MSECS);
	vault_world_restart(&world);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(world_count(world.w.sinks.lines, "ends in 26 days"), 1);
	/* Another end is other news. */
	vault_world_restart(&world);
	world.w.config->rules[0]->until += DAY;
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(world_count(world.w.sinks.lines, "ends in 27 days"), 2);
	vault_world_end(&world);
}

static void without_a_store_memory_has_to_do_and_nobody_speaks_before_that_is_known(void **state)
{
	struct vault_world world;
	struct mauth_error error;

	begin(&world, "P");
	vault_world_open_without(&world, NULL);
	fake_loop_run(world.w.loop, 15 * DAY_MSECS);
	assert_int_equal(said(&world), 0);
	mauth_fail(&error, MAUTH_CONFIG, 0, "not wanted");
	mauth_broker_set_vault(world.w.broker, NULL, &error);
	mauth_broker_pause(world.w.broker, true);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(said(&world), 0);
	mauth_broker_pause(world.w.broker, false);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(said(&world), 1);
	vault_world_end(&world);
}

static void a_store_that_takes_nothing_is_told_and_no_reason_to_repeat_it(void **state)
{
	struct vault_world world;

	begin(&world, "E");
	vault_world_open(&world);
	fake_loop_run(world.w.loop, 15 * DAY_MSECS - 3600 * 1000u);
	fake_store_fail(world.store, "no space");
	fake_loop_run(world.w.loop, DAY_MSECS);
	assert_int_equal(world_count(world.w.sinks.lines, "the store does not take that a notice was given"), 1);
	assert_int_equal(world_count(world.w.sinks.lines, "ends in 25 days"), 1);
	fake_store_fail(world.store, NULL);
	vault_world_end(&world);
}

static void the_admin_is_told_as_he_has_asked(void **state)
{
	static struct crowd crowd = { .users = 2 };
	static const struct mauth_notice_usage usage = { .affected = affected, .context = &crowd };
	struct vault_world world;

	begin(&world, "EP");
	world.w.config->notice_mail_to = mauth_strdup("admins@contoso.com");
	world.w.config->notice_sendmail = mauth_strdup("/s");
	world.w.config->notice_command = mauth_strdup("/c");
	vault_world_open(&world);
	mauth_notices_set_usage(mauth_broker_notices(world.w.broker), &usage);
	fake_loop_run(world.w.loop, 11 * DAY_MSECS);
	assert_int_equal(said(&world), 1);
	assert_int_equal(world_count(runs.data, "RUN "), 2);
	assert_non_null(strstr(runs.data, "RUN notice about rule \"scanners\": /s -i -f admins@contoso.com -- admins@contoso.com\n"
			       "From: modernauth <admins@contoso.com>\nTo: admins@contoso.com\nSubject: modernauth: rule \"scanners\" "
			       "ends in 30 days\n"));
	assert_non_null(strstr(runs.data, "RUN notice about rule \"scanners\": /c MODERNAUTH_KIND=rule MODERNAUTH_RULE=scanners "
			       "MODERNAUTH_ACTION=upgrade MODERNAUTH_THEN=deny MODERNAUTH_ENDS_AT=1703462400 "
			       "MODERNAUTH_DAYS_LEFT=30 MODERNAUTH_USERS=2\nrule \"scanners\" ends in 30 days"));
	assert_int_equal(world_count(runs.data, "\nuser00001@contoso.com  imap  -\n"), 2);
	assert_non_null(strstr(world.w.sinks.events, "modernauth_notice kind=rule rule=scanners action=upgrade then=deny "
			       "ends_at=1703462400 days_left=30 users=2\n"));
	vault_world_end(&world);
}

static void each(void *context, mauth_notice_fn *fn, void *fn_context)
{
	fn(context, fn_context);
}

static void what_somebody_has_set_up_just_now_is_announced_today(void **state)
{
	static struct mauth_notice exception = {
		.kind = "exception", .name = "e1", .action = MAUTH_ACTION_UPGRADE, .notice_days = 7,
	};
	static const struct mauth_notice_source source = { .each = each, .context = &exception };
	struct vault_world world;

	begin(&world, "E");
	vault_world_open(&world);
	mauth_notices_add_source(mauth_broker_notices(world.w.broker), &source);
	fake_loop_run(world.w.loop, 60000);
	assert_null(world.w.sinks.lines == NULL ? NULL : strstr(world.w.sinks.lines, "exception"));
	exception.until = WORLD_WALL + 5 * DAY;
	fake_loop_run(world.w.loop, 120000);
	assert_int_equal(world_count(world.w.sinks.lines, "warning exception \"e1\" ends in 5 days"), 1);
	vault_world_end(&world);
}

static void many_ends_do_not_keep_everybody_waiting(void **state)
{
	struct vault_world world;

	begin(&world, "E");
	for (unsigned int i = 0; i < 250; i++) {
		char name[32];
		struct mauth_rule *rule;

		snprintf(name, sizeof(name), "many%u", i);
		rule = world_rule(&world.w, name);
		rule->until = WORLD_WALL + 5 * DAY;
		rule->then = MAUTH_ACTION_DENY;
		rule->notice_days = 30;
	}
	vault_world_open(&world);
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(world_count(world.w.sinks.lines, "warning rule \"many"), 100);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(world_count(world.w.sinks.lines, "warning rule \"many"), 250);
	vault_world_end(&world);
}

#define T(test) cmocka_unit_test_teardown(test, end)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_notice_says_what_ends_when_and_for_whom), T(it_is_due_from_notice_days_before_to_the_day_of_the_end),
		T(the_list_is_sorted_and_ends), T(a_user_name_is_one_line), T(the_head_is_a_mails),
		T(every_day_has_one_notice_until_it_has_ended), T(who_starts_again_on_the_same_day_says_nothing_again),
		T(without_a_store_memory_has_to_do_and_nobody_speaks_before_that_is_known),
		T(a_store_that_takes_nothing_is_told_and_no_reason_to_repeat_it), T(the_admin_is_told_as_he_has_asked),
		T(what_somebody_has_set_up_just_now_is_announced_today), T(many_ends_do_not_keep_everybody_waiting),
	};

	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
