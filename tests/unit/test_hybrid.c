/* SPDX-License-Identifier: MIT */
/* Which mailboxes are in Exchange Online: the sources, their order, and what becomes of the login. */
#include "broker_world.h"
#include "fake_worker.h"

#include "core/mem.h"
#include "core/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAP "/etc/mailboxes"
#define CLOUD_URL "{\"Url\":\"https://outlook.office365.com/x\"}"
#define ONPREM_URL "{\"Url\":\"https://mail.contoso.com/x\"}"

/* One file in memory. */
struct disk {
	const char *text;                    /* NULL: there is none */
	uint64_t version;
	unsigned int reads;
};

static enum mauth_status disk_look(void *context, const char *path, struct mauth_file_stamp *stamp_r,
				   struct mauth_error *error_r)
{
	const struct disk *disk = context;

	assert_string_equal(path, MAP);
	if (disk->text == NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 2, "%s: no such file", path);
	*stamp_r = (struct mauth_file_stamp){ .inode = disk->version, .size = strlen(disk->text) };
	return MAUTH_OK;
}

static enum mauth_status disk_read(void *context, const char *path, size_t max, char **text_r, size_t *size_r,
				   struct mauth_file_stamp *stamp_r, struct mauth_error *error_r)
{
	struct disk *disk = context;

	disk->reads++;
	*text_r = mauth_strdup(disk->text);
	*size_r = strlen(disk->text);
	return disk_look(context, path, stamp_r, error_r);
}

struct scene {
	struct world world;
	struct disk disk;
	struct mauth_files files;
	struct fake_worker *worker;
};

/* sources: of "p", "m" and "a". */
static void scene_begin(struct scene *s, const char *sources, const char *map)
{
	memset(s, 0, sizeof(*s));
	world_begin(&s->world);
	s->disk = (struct disk){ .text = map, .version = 1 };
	s->files = (struct mauth_files){ disk_look, disk_read, &s->disk };
	s->worker = fake_worker_new(fake_loop_loop(s->world.loop));
	s->world.files = &s->files;
	s->world.worker = fake_worker_worker(s->worker);
	s->world.tenant->side_by_passdb = strchr(sources, 'p') != NULL;
	s->world.tenant->side_by_map = strchr(sources, 'm') != NULL;
	s->world.tenant->side_by_autodiscover = strchr(sources, 'a') != NULL;
	s->world.tenant->mailbox_map = mauth_strdup(MAP);
}

static void scene_open(struct scene *s)
{
	world_open(&s->world);
	world_turn(&s->world);
}

static void scene_end(struct scene *s)
{
	fake_worker_hold(s->worker, true);
	fake_worker_run(s->worker, 100);
	world_end(&s->world);
	fake_worker_free(&s->worker);
}

static void put_map(struct scene *s, const char *text)
{
	s->disk.text = text;
	s->disk.version++;
}

/* Two looks: one that sees it, one that finds it unchanged. */
static void wait_for_map(struct scene *s)
{
	fake_loop_run(s->world.loop, 2000);
}

static void start(struct scene *s, const char *said, struct outcome *outcome)
{
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN", .client_ip = "192.0.2.7", .tls = true,
		.session = "session-1", .mailbox_side = said,
	};

	memset(outcome, 0, sizeof(*outcome));
	world_start_as(&s->world, ALICE, GOOD, &attempt, outcome);
	world_turn(&s->world);
}

static const char *last_record(const struct scene *s)
{
	const char *at = s->world.sinks.records, *next;

	while ((next = strchr(at, '\n')) != NULL && next[1] != '\0')
		at = next + 1;
	return at;
}

static void on_record(const struct scene *s, const char *what)
{
	if (strstr(last_record(s), what) == NULL)
		fail_msg("%s is not in %s", what, last_record(s));
}

/* ALICE is left to the next passdb, and nobody is asked. */
static void expect_local(struct scene *s, const char *said, const char *source)
{
	unsigned int started = fake_http_started(s->world.http);
	struct outcome outcome;
	char text[64];

	start(s, said, &outcome);
	world_ended(&outcome, MAUTH_NOT_OURS);
	assert_int_equal(fake_http_started(s->world.http), started);
	on_record(s, "\"decision\":\"local\"");
	on_record(s, "\"mailbox_side\":\"onprem\"");
	snprintf(text, sizeof(text), "\"mailbox_source\":\"%s\"", source);
	on_record(s, text);
}

/* ALICE is granted a token of Entra, or of the cache. */
static void expect_cloud(struct scene *s, const char *said, const char *source)
{
	struct outcome outcome;
	char text[64];

	start(s, said, &outcome);
	if (outcome.calls == 0) {
		assert_non_null(strstr(fake_http_url(s->world.http), "/oauth2/v2.0/token"));
		fake_http_token(s->world.http, ALICE, 3600);
		world_turn(&s->world);
	}
	world_ended(&outcome, MAUTH_OK);
	snprintf(text, sizeof(text), "\"mailbox_side\":\"cloud\",\"mailbox_source\":\"%s\"", source);
	on_record(s, text);
}

/* -- the passdb -- */

static void an_earlier_passdb_says_where_the_mailbox_is(void **state)
{
	struct scene s;

	scene_begin(&s, "p", NULL);
	scene_open(&s);
	expect_local(&s, "onprem", "passdb");
	expect_cloud(&s, "cloud", "passdb");
	/* With a token in the cache, too. */
	expect_local(&s, "onprem", "passdb");
	scene_end(&s);
}

static void what_the_passdb_says_wrong_is_never_guessed(void **state)
{
	static const char *const said[] = { "", "Cloud", "2147483648", "onprem ", "cloud\nonprem" };
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "p", NULL);
	scene_open(&s);
	/* Not even by a token that is still good. */
	expect_cloud(&s, "cloud", "passdb");
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		start(&s, said[i], &outcome);
		world_ended(&outcome, MAUTH_CONFIG);
		assert_non_null(strstr(outcome.error.text, "modernauth_mailbox="));
		assert_int_equal(fake_http_open(s.world.http), 0);
	}
	scene_end(&s);
}

static void where_the_passdb_is_no_source_its_word_is_ignored(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "", NULL);
	scene_open(&s);
	start(&s, "nonsense", &outcome);
	assert_int_equal(fake_http_open(s.world.http), 1);
	fake_http_token(s.world.http, ALICE, 3600);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_OK);
	/* Nobody was asked: nothing to tell. */
	assert_null(strstr(s.world.sinks.records, "mailbox_side"));
	scene_end(&s);
}

static void the_default_may_be_on_premises(void **state)
{
	struct scene s;

	scene_begin(&s, "p", NULL);
	s.world.tenant->mailbox_default = MAUTH_SIDE_ONPREM;
	scene_open(&s);
	expect_local(&s, NULL, "default");
	expect_cloud(&s, "cloud", "passdb");
	assert_false(mauth_broker_serves(s.world.broker, ALICE));
	scene_end(&s);
}

static void a_clients_own_token_is_no_reason_to_go_to_the_cloud(void **state)
{
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_IMAP, .mechanism = "XOAUTH2", .password_is_token = true, .mailbox_side = "onprem",
	};
	struct outcome outcome = { 0 };
	struct scene s;

	scene_begin(&s, "p", NULL);
	scene_open(&s);
	world_start_as(&s.world, ALICE, "eyJ.token.x", &attempt, &outcome);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_NOT_OURS);
	attempt.mailbox_side = "cloud";
	world_start_as(&s.world, ALICE, "eyJ.token.x", &attempt, &outcome);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_OK);
	scene_end(&s);
}

/* -- the map -- */

static void the_map_is_asked_when_the_passdb_says_nothing(void **state)
{
	struct scene s;

	scene_begin(&s, "pm", "@contoso.com onprem\n");
	scene_open(&s);
	expect_local(&s, NULL, "map");
	assert_false(mauth_broker_serves(s.world.broker, ALICE));
	expect_cloud(&s, "cloud", "passdb");
	put_map(&s, "bob@contoso.com cloud\n");
	wait_for_map(&s);
	expect_cloud(&s, NULL, "default");
	assert_true(mauth_broker_serves(s.world.broker, ALICE));
	scene_end(&s);
}

static void a_user_changes_sides_at_the_instant(void **state)
{
	struct scene s;

	/* WORLD_WALL is 2023-11-14T22:13:20Z */
	scene_begin(&s, "m", ALICE " cloud 2023-11-14T23:13:20Z\n");
	scene_open(&s);
	expect_local(&s, NULL, "map");
	fake_loop_run(s.world.loop, 3599000);
	expect_local(&s, NULL, "map");
	fake_loop_run(s.world.loop, 1000);
	expect_cloud(&s, NULL, "map");
	put_map(&s, ALICE " onprem 2023-11-14T23:30:00Z\n");
	wait_for_map(&s);
	expect_cloud(&s, NULL, "map");
	fake_loop_run(s.world.loop, 1000000);
	expect_local(&s, NULL, "map");
	scene_end(&s);
}

static void logins_wait_for_the_first_map(void **state)
{
	struct outcome first, second;
	struct scene s;

	scene_begin(&s, "m", ALICE " onprem\n");
	fake_worker_hold(s.worker, true);
	scene_open(&s);
	start(&s, NULL, &first);
	start(&s, NULL, &second);
	assert_int_equal(first.calls + second.calls, 0);
	mauth_login_cancel(&second.login);
	fake_worker_hold(s.worker, false);
	world_turn(&s.world);
	world_ended(&first, MAUTH_NOT_OURS);
	assert_int_equal(second.calls, 0);
	scene_end(&s);
}

static void a_login_that_waits_too_long_for_the_map_is_not_guessed_about(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "m", ALICE " onprem\n");
	fake_worker_hold(s.worker, true);
	scene_open(&s);
	start(&s, NULL, &outcome);
	fake_loop_run(s.world.loop, 20000);
	world_ended(&outcome, MAUTH_TIMEOUT);
	assert_int_equal(fake_http_started(s.world.http), 0);
	fake_worker_hold(s.worker, false);
	scene_end(&s);
}

static void a_bad_map_leaves_the_old_one_in_force(void **state)
{
	struct scene s;

	scene_begin(&s, "m", ALICE " onprem\n");
	scene_open(&s);
	expect_local(&s, NULL, "map");
	put_map(&s, "# new\n" ALICE " sky\n");
	wait_for_map(&s);
	expect_local(&s, NULL, "map");
	assert_int_equal(world_count(s.world.sinks.lines, "mailbox_map: " MAP ":2: "), 1);
	assert_non_null(strstr(s.world.sinks.lines, "what was read before stays in force"));
	/* Said once, and not read again until it changes. */
	fake_loop_run(s.world.loop, 60000);
	assert_int_equal(world_count(s.world.sinks.lines, "mailbox_map: " MAP ":2: "), 1);
	assert_int_equal(s.disk.reads, 2);
	put_map(&s, NULL);
	fake_loop_run(s.world.loop, 10000);
	expect_local(&s, NULL, "map");
	assert_int_equal(world_count(s.world.sinks.lines, "no such file"), 1);
	put_map(&s, ALICE " cloud\n");
	wait_for_map(&s);
	expect_cloud(&s, NULL, "map");
	assert_int_equal(world_count(s.world.sinks.lines, "1 entries are in force"), 2);
	scene_end(&s);
}

static void a_map_that_was_never_read_is_a_temporary_failure(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "pm", NULL);
	scene_open(&s);
	start(&s, NULL, &outcome);
	world_ended(&outcome, MAUTH_CONFIG);
	assert_string_equal(outcome.error.text, "mailbox_map: " MAP ": no such file");
	/* Whom the passdb knows does not need it. */
	expect_local(&s, "onprem", "passdb");
	put_map(&s, ALICE " onprem\n");
	wait_for_map(&s);
	expect_local(&s, NULL, "map");
	scene_end(&s);
}

static void a_file_that_is_being_written_is_not_read(void **state)
{
	struct scene s;

	scene_begin(&s, "m", ALICE " onprem\n");
	scene_open(&s);
	for (unsigned int i = 0; i < 10; i++) {
		put_map(&s, "# half of it\n");
		fake_loop_run(s.world.loop, 1000);
	}
	assert_int_equal(s.disk.reads, 1);
	expect_local(&s, NULL, "map");
	scene_end(&s);
}

static void in_a_domain_of_its_own_the_upn_is_found_by_the_login(void **state)
{
	struct scene s;

	scene_begin(&s, "m", ALICE " onprem\n");
	s.world.tenant->upn_domain = mauth_strdup("corp.example");
	scene_open(&s);
	expect_local(&s, NULL, "map");
	put_map(&s, "alice@corp.example cloud\n" ALICE " onprem\n");
	wait_for_map(&s);
	start(&s, NULL, &(struct outcome){ 0 });
	assert_int_equal(fake_http_open(s.world.http), 1);
	fake_http_token(s.world.http, "alice@corp.example", 3600);
	world_turn(&s.world);
	on_record(&s, "\"mailbox_source\":\"map\"");
	scene_end(&s);
}

static void a_broker_that_ends_leaves_no_job_behind(void **state)
{
	struct scene s;

	scene_begin(&s, "m", ALICE " onprem\n");
	fake_worker_hold(s.worker, true);
	scene_open(&s);
	mauth_broker_stop(s.world.broker);
	assert_int_equal(fake_worker_waiting(s.worker), 1);
	world_end(&s.world);
	/* What the thread still has, it ends with nobody there. */
	fake_worker_run(s.worker, 1);
	s.worker = (fake_worker_free(&s.worker), NULL);
}

/* -- Autodiscover -- */

static void autodiscover_is_asked_once_and_remembered(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "ma", "bob@contoso.com cloud\n");
	scene_open(&s);
	start(&s, NULL, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_non_null(strstr(fake_http_url(s.world.http), "/autodiscover.json/v1.0/alice%40contoso.com"));
	fake_http_reply(s.world.http, 200, ONPREM_URL, NULL);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_NOT_OURS);
	on_record(&s, "\"mailbox_source\":\"autodiscover\"");
	expect_local(&s, NULL, "autodiscover");
	scene_end(&s);
}

static void an_old_answer_is_used_while_it_is_asked_again(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "a", NULL);
	scene_open(&s);
	start(&s, NULL, &outcome);
	fake_http_reply(s.world.http, 200, ONPREM_URL, NULL);
	world_turn(&s.world);
	fake_loop_run(s.world.loop, 4 * 3600 * 1000);
	start(&s, NULL, &outcome);
	world_ended(&outcome, MAUTH_NOT_OURS);
	assert_int_equal(fake_http_open(s.world.http), 1);
	fake_http_reply(s.world.http, 200, CLOUD_URL, NULL);
	expect_cloud(&s, NULL, "autodiscover");
	scene_end(&s);
}

static void without_an_answer_the_default_decides(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "a", NULL);
	s.world.tenant->mailbox_default = MAUTH_SIDE_ONPREM;
	scene_open(&s);
	for (unsigned int i = 0; i < 5; i++) {
		start(&s, NULL, &outcome);
		assert_int_equal(outcome.calls, 0);
		fake_http_fail(s.world.http, MAUTH_TIMEOUT);
		world_turn(&s.world);
		world_ended(&outcome, MAUTH_NOT_OURS);
		on_record(&s, "\"mailbox_source\":\"default\"");
	}
	/* From then on without asking. */
	expect_local(&s, NULL, "default");
	scene_end(&s);
}

static void who_is_not_found_there_is_where_the_default_says(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "a", NULL);
	s.world.tenant->mailbox_default = MAUTH_SIDE_ONPREM;
	scene_open(&s);
	start(&s, NULL, &outcome);
	fake_http_reply(s.world.http, 404, "{\"ErrorCode\":\"UserNotFound\"}", NULL);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_NOT_OURS);
	expect_local(&s, NULL, "default");
	scene_end(&s);
}

static void the_map_and_then_autodiscover_may_both_be_waited_for(void **state)
{
	struct outcome outcome, gone;
	struct scene s;

	scene_begin(&s, "ma", "bob@contoso.com cloud\n");
	fake_worker_hold(s.worker, true);
	scene_open(&s);
	start(&s, NULL, &outcome);
	start(&s, NULL, &gone);
	fake_worker_hold(s.worker, false);
	world_turn(&s.world);
	assert_int_equal(fake_http_open(s.world.http), 1);
	mauth_login_cancel(&gone.login);
	fake_http_reply(s.world.http, 200, ONPREM_URL, NULL);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_NOT_OURS);
	scene_end(&s);
}

static void report(struct scene *s, enum mauth_upstream_result result, const char *reply)
{
	const struct mauth_upstream_report r = {
		.user = ALICE, .service = MAUTH_SERVICE_IMAP, .result = result, .reply = reply,
	};

	mauth_broker_upstream(s->world.broker, &r);
	assert_int_equal(mauth_broker_record_reports(s->world.broker, NULL), MAUTH_OK);
}

/* The usual way: Exchange says yes to the token, and no to the first command. */
static void who_is_not_connected_after_all_is_looked_up_again(void **state)
{
	const struct mauth_upstream_report report = {
		.user = ALICE, .service = MAUTH_SERVICE_IMAP, .result = MAUTH_UPSTREAM_ACCEPTED,
		.reply = "a BAD User is authenticated but not connected.",
	};
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "a", NULL);
	scene_open(&s);
	start(&s, NULL, &outcome);
	fake_http_reply(s.world.http, 200, CLOUD_URL, NULL);
	world_turn(&s.world);
	fake_http_token(s.world.http, ALICE, 3600);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_OK);
	mauth_broker_unconnected(s.world.broker, &report);
	start(&s, NULL, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_non_null(strstr(fake_http_url(s.world.http), "/autodiscover.json/"));
	fake_http_reply(s.world.http, 200, ONPREM_URL, NULL);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_NOT_OURS);
	scene_end(&s);
}

static void who_is_not_connected_is_looked_up_again(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "a", NULL);
	scene_open(&s);
	start(&s, NULL, &outcome);
	fake_http_reply(s.world.http, 200, CLOUD_URL, NULL);
	world_turn(&s.world);
	fake_http_token(s.world.http, ALICE, 3600);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_OK);
	report(&s, MAUTH_UPSTREAM_REFUSED, "AUTHENTICATE failed.");
	report(&s, MAUTH_UPSTREAM_FAILED, "User is authenticated but not connected.");
	expect_cloud(&s, NULL, "autodiscover");
	report(&s, MAUTH_UPSTREAM_REFUSED, "BAD User is authenticated but not connected.");
	start(&s, NULL, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_non_null(strstr(fake_http_url(s.world.http), "/autodiscover.json/"));
	fake_http_reply(s.world.http, 200, ONPREM_URL, NULL);
	world_turn(&s.world);
	world_ended(&outcome, MAUTH_NOT_OURS);
	scene_end(&s);
}

/* -- rules -- */

static void rules_about_passwords_are_not_about_mailboxes_on_premises(void **state)
{
	static const enum mauth_action actions[] = { MAUTH_ACTION_UPGRADE, MAUTH_ACTION_DENY, MAUTH_ACTION_BASIC };

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		struct outcome outcome;
		struct scene s;

		scene_begin(&s, "pm", ALICE " onprem\n");
		world_rule(&s.world, "the rest")->action = actions[i];
		scene_open(&s);
		expect_local(&s, NULL, "map");
		/* In the cloud they are. */
		start(&s, "cloud", &outcome);
		if (actions[i] == MAUTH_ACTION_DENY)
			world_ended(&outcome, MAUTH_POLICY);
		mauth_login_cancel(&outcome.login);
		mauth_broker_stop(s.world.broker);
		scene_end(&s);
	}
}

static void who_is_only_watched_makes_nobody_ask(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "pa", NULL);
	world_rule(&s.world, "watch")->action = MAUTH_ACTION_MONITOR;
	scene_open(&s);
	start(&s, NULL, &outcome);
	world_ended(&outcome, MAUTH_NOT_OURS);
	on_record(&s, "\"would\":\"upgrade\"");
	start(&s, "onprem", &outcome);
	world_ended(&outcome, MAUTH_NOT_OURS);
	on_record(&s, "\"decision\":\"monitor\",\"rule\":\"watch\",\"would\":\"local\",\"would_rule\":\"tenant\"");
	on_record(&s, "\"mailbox_source\":\"passdb\"");
	/* Not even a word that would be refused. */
	start(&s, "nonsense", &outcome);
	world_ended(&outcome, MAUTH_NOT_OURS);
	assert_int_equal(fake_http_started(s.world.http), 0);
	scene_end(&s);
}

static void a_rule_that_says_local_needs_no_source(void **state)
{
	struct outcome outcome;
	struct scene s;

	scene_begin(&s, "a", NULL);
	world_rule(&s.world, "plant 2")->action = MAUTH_ACTION_LOCAL;
	scene_open(&s);
	start(&s, NULL, &outcome);
	world_ended(&outcome, MAUTH_NOT_OURS);
	on_record(&s, "\"decision\":\"local\",\"rule\":\"plant 2\"");
	assert_int_equal(fake_http_started(s.world.http), 0);
	scene_end(&s);
}

/* -- peeking -- */

static void peeking_asks_nobody(void **state)
{
	struct mauth_hybrid_answer answer;
	struct mauth_mailbox where;
	struct mauth_hybrid *hybrid;
	struct scene s;

	scene_begin(&s, "pma", "bob@contoso.com onprem\n");
	fake_worker_hold(s.worker, true);
	scene_open(&s);
	hybrid = mauth_broker_hybrid(s.world.broker);
	assert_int_equal(mauth_broker_resolve(s.world.broker, ALICE, &where, NULL), MAUTH_OK);
	assert_true(mauth_hybrid_peek(hybrid, &where, "onprem", &answer));
	assert_int_equal(answer.side, MAUTH_SIDE_ONPREM);
	assert_string_equal(mauth_side_source_name(answer.source), "passdb");
	assert_false(mauth_hybrid_peek(hybrid, &where, NULL, &answer));
	assert_string_equal(mauth_side_source_name(answer.source), "map");
	fake_worker_hold(s.worker, false);
	world_turn(&s.world);
	assert_false(mauth_hybrid_peek(hybrid, &where, NULL, &answer));
	assert_string_equal(mauth_side_source_name(answer.source), "autodiscover");
	assert_int_equal(answer.side, MAUTH_SIDE_CLOUD);
	assert_int_equal(fake_http_started(s.world.http), 0);
	assert_true(mauth_hybrid_peek(hybrid, &where, "x", &answer));
	assert_int_equal(answer.error.status, MAUTH_CONFIG);
	scene_end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_earlier_passdb_says_where_the_mailbox_is),
		cmocka_unit_test(what_the_passdb_says_wrong_is_never_guessed),
		cmocka_unit_test(where_the_passdb_is_no_source_its_word_is_ignored),
		cmocka_unit_test(the_default_may_be_on_premises),
		cmocka_unit_test(a_clients_own_token_is_no_reason_to_go_to_the_cloud),
		cmocka_unit_test(the_map_is_asked_when_the_passdb_says_nothing),
		cmocka_unit_test(a_user_changes_sides_at_the_instant),
		cmocka_unit_test(logins_wait_for_the_first_map),
		cmocka_unit_test(a_login_that_waits_too_long_for_the_map_is_not_guessed_about),
		cmocka_unit_test(a_bad_map_leaves_the_old_one_in_force),
		cmocka_unit_test(a_map_that_was_never_read_is_a_temporary_failure),
		cmocka_unit_test(a_file_that_is_being_written_is_not_read),
		cmocka_unit_test(in_a_domain_of_its_own_the_upn_is_found_by_the_login),
		cmocka_unit_test(a_broker_that_ends_leaves_no_job_behind),
		cmocka_unit_test(autodiscover_is_asked_once_and_remembered),
		cmocka_unit_test(an_old_answer_is_used_while_it_is_asked_again),
		cmocka_unit_test(without_an_answer_the_default_decides),
		cmocka_unit_test(who_is_not_found_there_is_where_the_default_says),
		cmocka_unit_test(the_map_and_then_autodiscover_may_both_be_waited_for),
		cmocka_unit_test(who_is_not_connected_is_looked_up_again),
		cmocka_unit_test(who_is_not_connected_after_all_is_looked_up_again),
		cmocka_unit_test(rules_about_passwords_are_not_about_mailboxes_on_premises),
		cmocka_unit_test(who_is_only_watched_makes_nobody_ask),
		cmocka_unit_test(a_rule_that_says_local_needs_no_source),
		cmocka_unit_test(peeking_asks_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
