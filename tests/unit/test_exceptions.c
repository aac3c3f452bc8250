/* SPDX-License-Identifier: MIT */
/* What an admin allows at run time although a rule denies it: for whom, until when, and what is left of it. */
#include "vault_world.h"

#include "core/exceptions.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define DAY 86400
#define IMAP (1u << MAUTH_SERVICE_IMAP)
#define POP3 (1u << MAUTH_SERVICE_POP3)

/* How a change has ended. */
struct change {
	unsigned int calls;
	bool failed;
	char id[MAUTH_EXCEPTION_ID_SIZE], text[MAUTH_TEXT_MAX];
};

static void changed(const struct mauth_exception *exception, const struct mauth_error *error, void *context)
{
	struct change *change = context;

	change->calls++;
	change->failed = error != NULL;
	snprintf(change->text, sizeof(change->text), "%s", error == NULL ? "" : error->text);
	snprintf(change->id, sizeof(change->id), "%s", exception->id);
}

static struct mauth_exceptions *exceptions_of(const struct vault_world *world)
{
	return mauth_vault_exceptions(world->vault);
}

static struct mauth_exception_new for_a_day(unsigned int services)
{
	return (struct mauth_exception_new){
		.services = services, .until = WORLD_WALL + DAY, .by = "root", .uid = 0, .reason = "the ticket system",
	};
}

static void start_adding(struct vault_world *world, const struct mauth_exception_new *new, struct change *change)
{
	struct mauth_error error;

	memset(change, 0, sizeof(*change));
	if (mauth_exceptions_add(exceptions_of(world), new, changed, change, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	assert_int_equal(change->calls, 0);
}

static struct change add(struct vault_world *world, const struct mauth_exception_new *new)
{
	struct change change;

	start_adding(world, new, &change);
	world_turn(&world->w);
	assert_int_equal(change.calls, 1);
	return change;
}

static struct change take_back(struct vault_world *world, const char *id)
{
	struct change change = { 0 };
	struct mauth_error error;

	if (mauth_exceptions_remove(exceptions_of(world), id, changed, &change, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	world_turn(&world->w);
	assert_int_equal(change.calls, 1);
	return change;
}

/* Everybody is denied, and ALICE has a token in the cache, so that whoever is not denied gets it. */
static struct mauth_rule *begin_denied(struct vault_world *world)
{
	struct mauth_rule *rule;

	vault_world_begin(world);
	rule = vault_world_rule(world);
	rule->action = MAUTH_ACTION_DENY;
	return rule;
}

static void open_denied(struct vault_world *world)
{
	begin_denied(world);
	vault_world_open(world);
	world_cache(world, MAUTH_GRANT_PASSWORD, "zebra-42");
}

static enum mauth_status try_as(struct vault_world *world, enum mauth_service service, const char *ip)
{
	struct mauth_attempt attempt = { .service = service, .client_ip = ip };
	struct outcome outcome = { 0 };

	world_start_as(&world->w, ALICE, GOOD, &attempt, &outcome);
	world_turn(&world->w);
	assert_int_equal(outcome.calls, 1);
	return outcome.status;
}

static void expect(struct vault_world *world, enum mauth_status status)
{
	assert_int_equal(try_as(world, MAUTH_SERVICE_IMAP, "192.0.2.7"), status);
}

static const char *last_record(const struct vault_world *world)
{
	const char *at = world->w.sinks.records, *last = at;

	for (const char *end = at; (end = strchr(end, '\n')) != NULL && end[1] != '\0'; end++)
		last = end + 1;
	return last;
}

static void expect_last(const struct vault_world *world, const char *text)
{
	if (strstr(last_record(world), text) == NULL)
		fail_msg("no %s in %s", text, last_record(world));
}

/* -- for whom ----------------------------------------------------------------------------------------------- */

static void who_is_denied_may_go_on_once_it_is_on_disk(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;
	struct change change;
	char text[64];

	open_denied(&world);
	expect(&world, MAUTH_POLICY);
	fake_store_hold(world.store, true);
	start_adding(&world, &new, &change);
	expect(&world, MAUTH_POLICY);
	assert_int_equal(change.calls, 0);
	fake_store_finish(world.store);
	assert_int_equal(change.calls, 1);
	assert_false(change.failed);
	fake_store_hold(world.store, false);
	expect(&world, MAUTH_OK);
	snprintf(text, sizeof(text), "\"exception\":\"%s\"", change.id);
	expect_last(&world, text);
	expect_last(&world, "\"decision\":\"upgrade\",\"rule\":\"everybody\"");
	take_back(&world, change.id);
	expect(&world, MAUTH_POLICY);
	assert_null(strstr(last_record(&world), "exception"));
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 0);
	vault_world_end(&world);
}

static void only_whom_it_names_is_let_through(void **state)
{
	static const struct {
		unsigned int services;
		const char *user, *network;
		enum mauth_status status;    /* of ALICE over IMAP from 192.0.2.7 */
	} rows[] = {
		{ IMAP, NULL, NULL, MAUTH_OK },
		{ IMAP | POP3, NULL, NULL, MAUTH_OK },
		{ POP3, NULL, NULL, MAUTH_POLICY },
		{ IMAP, "alice@contoso.com", NULL, MAUTH_OK },
		{ IMAP, "*@contoso.com", "192.0.2.0/24", MAUTH_OK },
		{ IMAP, "bob@contoso.com", NULL, MAUTH_POLICY },
		{ IMAP, NULL, "192.0.2.7", MAUTH_OK },
		{ IMAP, NULL, "192.0.2.8", MAUTH_POLICY },
		{ IMAP, NULL, "::/0", MAUTH_POLICY },
		{ IMAP, "bob@contoso.com", "192.0.2.7", MAUTH_POLICY },
	};
	struct vault_world world;

	open_denied(&world);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mauth_exception_new new = for_a_day(rows[i].services);
		struct mauth_network network;

		new.user = rows[i].user;
		if (rows[i].network != NULL) {
			assert_true(mauth_network_parse(rows[i].network, &network, NULL));
			new.network = &network;
		}
		struct change change = add(&world, &new);

		expect(&world, rows[i].status);
		/* An address that is not known is in no network. */
		assert_int_equal(try_as(&world, MAUTH_SERVICE_IMAP, NULL),
				 rows[i].network != NULL ? MAUTH_POLICY : rows[i].status);
		take_back(&world, change.id);
		expect(&world, MAUTH_POLICY);
	}
	vault_world_end(&world);
}

static void nothing_but_a_denial_becomes_something_else(void **state)
{
	static const struct {
		enum mauth_action action;
		enum mauth_status status;
	} rows[] = {
		{ MAUTH_ACTION_UPGRADE, MAUTH_OK }, { MAUTH_ACTION_MONITOR, MAUTH_NOT_OURS },
		{ MAUTH_ACTION_LOCAL, MAUTH_NOT_OURS }, { MAUTH_ACTION_BASIC, MAUTH_OK },
	};
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;
	struct mauth_rule *rule = begin_denied(&world);

	vault_world_open(&world);
	world_cache(&world, MAUTH_GRANT_PASSWORD, "zebra-42");
	new.action = MAUTH_ACTION_BASIC;
	add(&world, &new);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rule->action = rows[i].action;
		expect(&world, rows[i].status);
		assert_null(strstr(last_record(&world), "\"exception\""));
	}
	rule->action = MAUTH_ACTION_UPGRADE;
	expect(&world, MAUTH_OK);
	expect_last(&world, "\"decision\":\"upgrade\"");
	vault_world_end(&world);
}

static void a_watched_login_shows_that_it_would_be_let_through(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;

	vault_world_begin(&world);
	world_rule(&world.w, "watch")->action = MAUTH_ACTION_MONITOR;
	world_rule(&world.w, "the rest")->action = MAUTH_ACTION_DENY;
	vault_world_open(&world);
	expect(&world, MAUTH_NOT_OURS);
	expect_last(&world, "\"would\":\"deny\",\"would_rule\":\"the rest\"");
	add(&world, &new);
	expect(&world, MAUTH_NOT_OURS);
	expect_last(&world, "\"decision\":\"monitor\",\"rule\":\"watch\",\"exception\":");
	expect_last(&world, "\"would\":\"upgrade\",\"would_rule\":\"the rest\"");
	vault_world_end(&world);
}

static void the_newest_one_decides(void **state)
{
	struct mauth_exception_new new = for_a_day(1u << MAUTH_SERVICE_SUBMISSION);
	struct vault_world world;
	struct change change;

	open_denied(&world);
	add(&world, &new);
	assert_int_equal(try_as(&world, MAUTH_SERVICE_SUBMISSION, NULL), MAUTH_OK);
	expect_last(&world, "\"decision\":\"upgrade\"");
	fake_loop_run(world.w.loop, 1000);
	new.action = MAUTH_ACTION_BASIC;
	change = add(&world, &new);
	assert_int_equal(try_as(&world, MAUTH_SERVICE_SUBMISSION, NULL), MAUTH_OK);
	expect_last(&world, "\"decision\":\"basic\",\"rule\":\"everybody\"");
	assert_string_equal(mauth_exceptions_next(exceptions_of(&world), NULL)->id, change.id);
	take_back(&world, change.id);
	assert_int_equal(try_as(&world, MAUTH_SERVICE_SUBMISSION, NULL), MAUTH_OK);
	expect_last(&world, "\"decision\":\"upgrade\"");
	vault_world_end(&world);
}

/* -- until when --------------------------------------------------------------------------------------------- */

static void it_ends_by_itself_whatever_is_cached(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;

	open_denied(&world);
	new.until = WORLD_WALL + 100;
	add(&world, &new);
	fake_loop_run(world.w.loop, 99999);
	expect(&world, MAUTH_OK);
	fake_loop_run(world.w.loop, 1);
	expect(&world, MAUTH_POLICY);
	vault_world_end(&world);
}

static void a_planned_end_is_put_off(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;
	struct mauth_rule *rule = begin_denied(&world);

	rule->action = MAUTH_ACTION_UPGRADE;
	rule->until = WORLD_WALL + 100;
	rule->then = MAUTH_ACTION_DENY;
	vault_world_open(&world);
	new.until = WORLD_WALL + 200;
	add(&world, &new);
	world_cache(&world, MAUTH_GRANT_PASSWORD, "zebra-42");
	fake_loop_run(world.w.loop, 99000);
	expect(&world, MAUTH_OK);
	assert_null(strstr(last_record(&world), "\"exception\""));
	fake_loop_run(world.w.loop, 1000);
	expect(&world, MAUTH_OK);
	expect_last(&world, "\"exception\":");
	fake_loop_run(world.w.loop, 100000);
	expect(&world, MAUTH_POLICY);
	vault_world_end(&world);
}

static void its_end_is_recorded_once_and_listed_for_a_month(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;
	struct change change;
	char text[64];

	open_denied(&world);
	change = add(&world, &new);
	fake_loop_jump(world.w.loop, DAY - 1);
	fake_loop_run(world.w.loop, 10000);
	snprintf(text, sizeof(text), "\"exception\":\"%s\"", change.id);
	expect_last(&world, text);
	expect_last(&world, "\"action\":\"exception-ended\",\"outcome\":\"success\"");
	expect_last(&world, "\"reason\":\"the ticket system\"");
	fake_loop_run(world.w.loop, 60000);
	vault_world_restart(&world);
	fake_loop_run(world.w.loop, 60000);
	assert_int_equal(world_count(world.w.sinks.records, "exception-ended"), 1);
	assert_int_equal(mauth_exceptions_count(exceptions_of(&world)), 1);
	fake_loop_jump(world.w.loop, 29 * DAY);
	fake_loop_run(world.w.loop, 20000);
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 1);
	fake_loop_jump(world.w.loop, DAY);
	fake_loop_run(world.w.loop, 20000);
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 0);
	assert_int_equal(mauth_exceptions_count(exceptions_of(&world)), 0);
	vault_world_end(&world);
}

/* "until 2027-03-31" is that day in the server's zone, however long it is. */
static void a_day_is_the_servers_own(void **state)
{
	static const struct {
		const char *zone;
		int64_t noon, end;
		const char *last;
	} rows[] = {
		{ "UTC", 1806494400, 1806537600, "2027-03-31" },
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1806494400, 1806530400, "2027-03-31" },
		/* 2027-03-28 has 23 hours there. */
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1806235200, 1806271200, "2027-03-28" },
		{ "PST8PDT,M3.2.0,M11.1.0", 1806494400, 1806562800, "2027-03-31" },
	};
	char day[MAUTH_DAY_TEXT_SIZE];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		setenv("TZ", rows[i].zone, 1);
		tzset();
		assert_int_equal(mauth_policy_day_end(rows[i].noon), rows[i].end);
		mauth_policy_last_day(rows[i].end, day);
		assert_string_equal(day, rows[i].last);
	}
	setenv("TZ", "UTC", 1);
	tzset();
	mauth_policy_last_day(0, day);
	assert_string_equal(day, "");
}

/* -- what is kept ------------------------------------------------------------------------------------------- */

static void all_of_it_is_there_after_a_restart(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP | POP3);
	const struct mauth_exception *exception;
	struct mauth_network network;
	struct vault_world world;
	struct change change;

	open_denied(&world);
	assert_true(mauth_network_parse("192.0.2.0/24", &network, NULL));
	new.user = "*@contoso.com";
	new.network = &network;
	new.action = MAUTH_ACTION_BASIC;
	new.uid = 1000;
	new.reason = "B\xc3\xbcro \"3\"";
	change = add(&world, &new);
	vault_world_restart(&world);
	exception = mauth_exceptions_next(exceptions_of(&world), NULL);
	assert_non_null(exception);
	assert_string_equal(exception->id, change.id);
	assert_int_equal(exception->services, IMAP | POP3);
	assert_string_equal(exception->user, "*@contoso.com");
	assert_true(exception->has_network);
	assert_memory_equal(&exception->network, &network, sizeof(network));
	assert_int_equal(exception->action, MAUTH_ACTION_BASIC);
	assert_int_equal(exception->until, WORLD_WALL + DAY);
	assert_int_equal(exception->created_at, WORLD_WALL);
	assert_string_equal(exception->by, "root");
	assert_int_equal(exception->uid, 1000);
	assert_string_equal(exception->reason, new.reason);
	assert_false(exception->ended);
	assert_null(mauth_exceptions_next(exceptions_of(&world), exception));
	vault_world_end(&world);
}

static void a_row_that_cannot_be_read_keeps_the_store_closed(void **state)
{
	static const char *const rows[] = {
		"", "{}", "[]", "{\"services\":\"imap\"}",
		"{\"services\":\"\",\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"telnet\",\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"action\":\"deny\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"action\":\"upgrade\",\"until\":\"x\",\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"action\":\"upgrade\",\"until\":-1,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"action\":\"upgrade\",\"until\":999999999999999,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"user\":\"\",\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"user\":7,\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"network\":\"10.0.0.0/99\",\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
		"{\"services\":\"imap\",\"network\":null,\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}",
	};
	static const char good[] =
		"{\"services\":\"imap\",\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1,\"uid\":0}";
	struct mauth_error error;
	struct vault_world world;

	open_denied(&world);
	for (size_t i = 0; i <= sizeof(rows) / sizeof(rows[0]); i++) {
		vault_world_close(&world);
		fake_store_put(world.store, MAUTH_EXCEPTION_KIND, i == 0 ? "not-an-id" : "abcdefghijkl",
			       i == 0 ? good : rows[i - 1]);
		assert_int_equal(vault_world_try(&world, &error), MAUTH_CONFIG);
		assert_non_null(strstr(error.text, "exception"));
		expect(&world, MAUTH_POLICY);
		fake_store_put(world.store, MAUTH_EXCEPTION_KIND, i == 0 ? "not-an-id" : "abcdefghijkl", NULL);
	}
	fake_store_put(world.store, MAUTH_EXCEPTION_KIND, "abcdefghijkl", good);
	assert_int_equal(vault_world_try(&world, &error), MAUTH_OK);
	world_cache(&world, MAUTH_GRANT_PASSWORD, "zebra-42");
	expect(&world, MAUTH_OK);
	vault_world_end(&world);
}

static void keep_line(const char *line, void *context)
{
	mauth_buf_puts(context, line);
	mauth_buf_putc(context, '\n');
}

static void must_be_written(const struct mauth_error *error, void *context)
{
	if (error != NULL)
		fail_msg("%s", error->text);
	++*(unsigned int *)context;
}

static void an_export_has_it(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct mauth_import *import = mauth_import_new();
	struct mauth_buf lines = { 0 };
	unsigned int written = 0;
	struct vault_world world;
	struct mauth_error error;
	struct change change;
	size_t rows;
	char *at;

	open_denied(&world);
	change = add(&world, &new);
	assert_int_equal(mauth_vault_export(world.vault, keep_line, &lines, &rows, &error), MAUTH_OK);
	take_back(&world, change.id);
	at = lines.data;
	for (char *line; (line = strsep(&at, "\n")) != NULL && *line != '\0';) {
		if (mauth_import_line(import, world.vault, line, &error) != MAUTH_OK)
			fail_msg("%s", error.text);
	}
	assert_int_equal(mauth_import_finish(import, world.vault, true, must_be_written, &written, &rows, &error),
			 MAUTH_OK);
	world_turn(&world.w);
	assert_int_equal(written, 1);
	vault_world_restart(&world);
	world_cache(&world, MAUTH_GRANT_PASSWORD, "zebra-42");
	expect(&world, MAUTH_OK);
	mauth_import_free(&import);
	mauth_buf_free(&lines);
	vault_world_end(&world);
}

/* -- what goes wrong ---------------------------------------------------------------------------------------- */

static void what_the_store_does_not_take_is_not_allowed(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;
	struct change change;

	open_denied(&world);
	fake_store_fail(world.store, "disk full");
	change = add(&world, &new);
	assert_true(change.failed);
	assert_non_null(strstr(change.text, "it has not been added: disk full"));
	expect(&world, MAUTH_POLICY);
	fake_store_fail(world.store, NULL);
	fake_loop_run(world.w.loop, 20000);
	expect(&world, MAUTH_POLICY);
	vault_world_end(&world);
}

static void what_was_removed_does_not_come_back(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct vault_world world;
	struct change change;

	open_denied(&world);
	change = add(&world, &new);
	fake_store_fail(world.store, "disk full");
	change = take_back(&world, change.id);
	assert_true(change.failed);
	assert_non_null(strstr(change.text, "does not hold any more"));
	expect(&world, MAUTH_POLICY);
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 1);
	fake_loop_run(world.w.loop, 20000);
	fake_store_fail(world.store, NULL);
	fake_loop_run(world.w.loop, 20000);
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 0);
	/* Or with the end of the process. */
	change = add(&world, &new);
	fake_store_fail(world.store, "disk full");
	take_back(&world, change.id);
	fake_store_fail(world.store, NULL);
	vault_world_restart(&world);
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 0);
	vault_world_end(&world);
}

static void whoever_waits_for_the_disk_is_told_after_the_end(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct change added, second, removed = { 0 };
	struct vault_world world;
	struct mauth_error error;

	open_denied(&world);
	second = add(&world, &new);
	fake_store_hold(world.store, true);
	start_adding(&world, &new, &added);
	/* Its end is being written, too. */
	fake_loop_jump(world.w.loop, DAY);
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(mauth_exceptions_remove(exceptions_of(&world), second.id, changed, &removed, &error),
			 MAUTH_OK);
	vault_world_close(&world);
	assert_int_equal(added.calls, 1);
	assert_false(added.failed);
	assert_int_equal(removed.calls, 1);
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 1);
	vault_world_end(&world);
}

static void without_the_store_none_holds(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct mauth_error error;
	struct vault_world world;

	open_denied(&world);
	add(&world, &new);
	vault_world_close(&world);
	expect(&world, MAUTH_POLICY);
	mauth_fail(&error, MAUTH_CONFIG, 0, "no such directory");
	mauth_broker_set_vault(world.w.broker, NULL, &error);
	expect(&world, MAUTH_POLICY);
	vault_world_end(&world);
}

static void a_successor_denies_nobody_before_it_has_the_store(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	struct outcome outcome = { 0 };
	struct mauth_error error;
	struct vault_world world;

	open_denied(&world);
	add(&world, &new);
	vault_world_close(&world);
	mauth_broker_set_vault(world.w.broker, NULL, NULL);
	mauth_broker_pause(world.w.broker, true);
	world_start(&world.w, ALICE, GOOD, &outcome);
	world_turn(&world.w);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(vault_world_try(&world, &error), MAUTH_OK);
	mauth_broker_pause(world.w.broker, false);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_OK);
	vault_world_end(&world);
}

static void expect_bad(struct vault_world *world, const struct mauth_exception_new *new, const char *text)
{
	struct mauth_error error;

	assert_int_equal(mauth_exceptions_add(exceptions_of(world), new, changed, NULL, &error), MAUTH_CONFIG);
	if (strstr(error.text, text) == NULL)
		fail_msg("no \"%s\" in \"%s\"", text, error.text);
}

static void bad_ones_are_refused(void **state)
{
	const struct mauth_exception_new good = for_a_day(IMAP);
	struct mauth_exception_new new;
	char text[MAUTH_USER_MAX + 2];
	struct vault_world world;

	open_denied(&world);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	new = good;
	new.services = 0;
	expect_bad(&world, &new, "needs a protocol");
	new = good;
	new.until = WORLD_WALL;
	expect_bad(&world, &new, "in the past");
	new.until = WORLD_WALL + 402 * DAY;
	expect_bad(&world, &new, "within 400 days");
	new = good;
	new.reason = "";
	expect_bad(&world, &new, "needs a reason");
	new.reason = NULL;
	expect_bad(&world, &new, "needs a reason");
	new.reason = text;
	expect_bad(&world, &new, "longer than 200");
	new = good;
	new.action = MAUTH_ACTION_LOCAL;
	expect_bad(&world, &new, "\"upgrade\" or \"basic\"");
	for (size_t i = 0; i < 5; i++) {
		const char *const users[] = { "", text, "a b", "a\nb", "Anna@contoso.com" };

		new = good;
		new.user = users[i];
		expect_bad(&world, &new, "pattern");
	}
	assert_int_equal(fake_store_count(world.store, MAUTH_EXCEPTION_KIND), 0);
	vault_world_end(&world);
}

static void texts_are_cleaned(void **state)
{
	struct mauth_exception_new new = for_a_day(IMAP);
	const struct mauth_exception *exception;
	char by[300];
	struct vault_world world;

	open_denied(&world);
	memset(by, 'r', sizeof(by) - 1);
	by[sizeof(by) - 1] = '\0';
	new.by = by;
	new.reason = "a\nb\x1b[31m\xff\"}";
	add(&world, &new);
	exception = mauth_exceptions_next(exceptions_of(&world), NULL);
	assert_int_equal(strlen(exception->by), MAUTH_EXCEPTION_BY_MAX);
	assert_string_equal(exception->reason, "a?b?[31m?\"}");
	vault_world_restart(&world);
	assert_string_equal(mauth_exceptions_next(exceptions_of(&world), NULL)->reason, "a?b?[31m?\"}");
	vault_world_end(&world);
}

static void there_are_a_thousand_at_most(void **state)
{
	struct mauth_exception_new new = for_a_day(POP3);
	struct vault_world world;

	open_denied(&world);
	for (unsigned int i = 0; i < MAUTH_EXCEPTIONS_MAX; i++) {
		struct mauth_error error;

		if (mauth_exceptions_add(exceptions_of(&world), &new, NULL, NULL, &error) != MAUTH_OK)
			fail_msg("%s", error.text);
	}
	/* Those that are being written count. */
	expect_bad(&world, &new, "1000 exceptions already");
	world_turn(&world.w);
	expect_bad(&world, &new, "1000 exceptions already");
	expect(&world, MAUTH_POLICY);
	assert_int_equal(try_as(&world, MAUTH_SERVICE_POP3, NULL), MAUTH_OK);
	vault_world_restart(&world);
	assert_int_equal(mauth_exceptions_count(exceptions_of(&world)), MAUTH_EXCEPTIONS_MAX);
	vault_world_end(&world);
}

static void what_is_not_there_cannot_be_removed(void **state)
{
	struct vault_world world;
	struct mauth_error error;

	open_denied(&world);
	assert_int_equal(mauth_exceptions_remove(exceptions_of(&world), "abcdefghijkl", changed, NULL, &error),
			 MAUTH_USER_UNKNOWN);
	assert_string_equal(error.text, "there is no exception \"abcdefghijkl\"");
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_denied_may_go_on_once_it_is_on_disk),
		cmocka_unit_test(only_whom_it_names_is_let_through),
		cmocka_unit_test(nothing_but_a_denial_becomes_something_else),
		cmocka_unit_test(a_watched_login_shows_that_it_would_be_let_through),
		cmocka_unit_test(the_newest_one_decides),
		cmocka_unit_test(it_ends_by_itself_whatever_is_cached),
		cmocka_unit_test(a_planned_end_is_put_off),
		cmocka_unit_test(its_end_is_recorded_once_and_listed_for_a_month),
		cmocka_unit_test(a_day_is_the_servers_own),
		cmocka_unit_test(all_of_it_is_there_after_a_restart),
		cmocka_unit_test(a_row_that_cannot_be_read_keeps_the_store_closed),
		cmocka_unit_test(an_export_has_it),
		cmocka_unit_test(what_the_store_does_not_take_is_not_allowed),
		cmocka_unit_test(what_was_removed_does_not_come_back),
		cmocka_unit_test(whoever_waits_for_the_disk_is_told_after_the_end),
		cmocka_unit_test(without_the_store_none_holds),
		cmocka_unit_test(a_successor_denies_nobody_before_it_has_the_store),
		cmocka_unit_test(bad_ones_are_refused),
		cmocka_unit_test(texts_are_cleaned),
		cmocka_unit_test(there_are_a_thousand_at_most),
		cmocka_unit_test(what_is_not_there_cannot_be_removed),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
