/* SPDX-License-Identifier: MIT */
/* A front end that follows another one's store: what changes there holds here, and nothing is written that has one writer. */
#include "vault_world.h"

#include "core/enrol.h"
#include "core/exceptions.h"
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAY 86400
#define ROW "{\"services\":\"pop3\",\"action\":\"upgrade\",\"until\":1700086400,\"created_at\":1700000000,\"by\":\"root\",\"uid\":0," \
	    "\"reason\":\"%s\",\"ended\":false}"
#define ID "abcdefgh2345"

/* The other one has written this row; value NULL: deleted it. */
static enum mauth_status told(struct vault_world *world, const char *kind, const char *name, const char *value, bool *reopen_r)
{
	const struct mauth_store_row row = { kind, name, value, value == NULL ? 0 : strlen(value) };
	struct mauth_error error;
	bool reopen;
	enum mauth_status status;

	fake_store_put(world->store, kind, name, value);
	status = mauth_vault_follow(world->vault, &row, reopen_r == NULL ? &reopen : reopen_r, &error);
	world_turn(&world->w);
	return status;
}

static void must_follow(struct vault_world *world, const char *kind, const char *name, const char *value)
{
	bool reopen = true;

	assert_int_equal(told(world, kind, name, value, &reopen), MAUTH_OK);
	assert_false(reopen);
}

/* From now on the store is another process's. */
static void becomes_follower(struct vault_world *world)
{
	vault_world_close(world);
	mauth_broker_free(&world->w.broker);
	fake_store_follow(world->store, true);
	vault_world_open(world);
}

/* -- exceptions -- */

static const struct mauth_exception *only_exception(struct vault_world *world)
{
	struct mauth_exceptions *exceptions = mauth_vault_exceptions(world->vault);

	assert_int_equal(mauth_exceptions_count(exceptions), 1);
	return mauth_exceptions_next(exceptions, NULL);
}

static void an_exception_comes_changes_and_goes(void **state)
{
	struct vault_world world;
	char first[256], second[256];

	snprintf(first, sizeof(first), ROW, "first");
	snprintf(second, sizeof(second), ROW, "second");
	vault_world_begin(&world);
	vault_world_open(&world);
	becomes_follower(&world);
	must_follow(&world, MAUTH_EXCEPTION_KIND, ID, first);
	assert_string_equal(only_exception(&world)->reason, "first");
	must_follow(&world, MAUTH_EXCEPTION_KIND, ID, second);
	assert_string_equal(only_exception(&world)->reason, "second");
	assert_int_equal(told(&world, MAUTH_EXCEPTION_KIND, ID, "nonsense", NULL), MAUTH_CONFIG);
	assert_string_equal(only_exception(&world)->reason, "second");
	must_follow(&world, MAUTH_EXCEPTION_KIND, ID, NULL);
	assert_int_equal(mauth_exceptions_count(mauth_vault_exceptions(world.vault)), 0);
	must_follow(&world, MAUTH_EXCEPTION_KIND, ID, NULL);
	vault_world_end(&world);
}

struct made {
	char id[MAUTH_EXCEPTION_ID_SIZE];
	bool ended;
};

static void changed(const struct mauth_exception *exception, const struct mauth_error *error, void *context)
{
	struct made *made = context;

	assert_null(error);
	snprintf(made->id, sizeof(made->id), "%s", exception->id);
	made->ended = true;
}

static void begin_adding(struct vault_world *world, struct made *made)
{
	const struct mauth_exception_new new = {
		.services = 1u << MAUTH_SERVICE_POP3, .until = WORLD_WALL + DAY, .by = "root", .reason = "own",
		.action = MAUTH_ACTION_UPGRADE,
	};
	struct mauth_error error;

	if (mauth_exceptions_add(mauth_vault_exceptions(world->vault), &new, changed, made, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
}

static void an_own_exception_is_told_and_is_one(void **state)
{
	struct vault_world world;
	struct made made = { .ended = false };
	char *row;

	vault_world_begin(&world);
	vault_world_open(&world);
	begin_adding(&world, &made);
	world_turn(&world.w);
	assert_true(made.ended);
	row = mauth_strdup(fake_store_value(world.store, MAUTH_EXCEPTION_KIND, made.id));
	must_follow(&world, MAUTH_EXCEPTION_KIND, made.id, row);
	assert_string_equal(only_exception(&world)->reason, "own");
	free(row);
	vault_world_end(&world);
}

static void what_was_removed_here_does_not_come_back(void **state)
{
	struct vault_world world;
	struct made made = { .ended = false }, gone = { .ended = false };
	char *row;

	vault_world_begin(&world);
	vault_world_open(&world);
	begin_adding(&world, &made);
	world_turn(&world.w);
	row = mauth_strdup(fake_store_value(world.store, MAUTH_EXCEPTION_KIND, made.id));
	fake_store_hold(world.store, true);
	assert_int_equal(mauth_exceptions_remove(mauth_vault_exceptions(world.vault), made.id, changed, &gone, NULL), MAUTH_OK);
	/* Seen before it was deleted, and told late. */
	must_follow(&world, MAUTH_EXCEPTION_KIND, made.id, row);
	assert_int_equal(mauth_exceptions_count(mauth_vault_exceptions(world.vault)), 0);
	fake_store_hold(world.store, false);
	world_turn(&world.w);
	assert_true(gone.ended);
	must_follow(&world, MAUTH_EXCEPTION_KIND, made.id, NULL);
	free(row);
	vault_world_end(&world);
}

/* -- device passwords -- */

/* The row of BOB's only device. */
static char *device_row(struct vault_world *world, char **name_r)
{
	char *list = fake_store_list(world->store), *at = strstr(list, "device contoso/" BOB "/"), *end, *value;

	assert_non_null(at);
	at += strlen("device ");
	end = strchr(at, ' ');
	*name_r = mauth_strndup(at, (size_t)(end - at));
	value = mauth_strndup(end + 1, strcspn(end + 1, "\n"));
	free(list);
	return value;
}

static enum mauth_device_answer check(struct vault_world *world, const char *password)
{
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));
	const struct mauth_device_question question = {
		.tenant = CONTOSO, .user = BOB, .password = secret, .service = MAUTH_SERVICE_IMAP, .client_ip = "192.0.2.7",
	};
	const struct mauth_device *device;
	struct mauth_error error;
	enum mauth_device_answer answer = mauth_devices_check(mauth_vault_devices(world->vault), &question, &device, &error);

	mauth_secret_free(&secret);
	return answer;
}

static void a_device_goes_comes_and_ends(void **state)
{
	struct vault_world world;
	char *password, *row, *name, *ended;

	vault_world_begin(&world);
	vault_world_open(&world);
	password = world_device(&world, BOB, "printer");
	world_turn(&world.w);
	becomes_follower(&world);
	row = device_row(&world, &name);
	assert_int_equal(check(&world, password), MAUTH_DEVICE_MATCH);
	must_follow(&world, MAUTH_DEVICE_KIND, name, NULL);
	assert_int_equal(check(&world, password), MAUTH_DEVICE_NO_MATCH);
	must_follow(&world, MAUTH_DEVICE_KIND, name, NULL);
	must_follow(&world, MAUTH_DEVICE_KIND, name, row);
	assert_int_equal(check(&world, password), MAUTH_DEVICE_MATCH);
	assert_int_equal(told(&world, MAUTH_DEVICE_KIND, name, "nonsense", NULL), MAUTH_CONFIG);
	assert_int_equal(told(&world, MAUTH_DEVICE_KIND, "nonsense", row, NULL), MAUTH_CONFIG);
	assert_int_equal(check(&world, password), MAUTH_DEVICE_MATCH);
	ended = strstr(row, "\"expires_at\":0");
	assert_non_null(ended);
	memcpy(ended, "\"expires_at\":1", strlen("\"expires_at\":1"));
	must_follow(&world, MAUTH_DEVICE_KIND, name, row);
	assert_int_equal(check(&world, password), MAUTH_DEVICE_REFUSED);
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 1);
	free(password);
	free(row);
	free(name);
	vault_world_end(&world);
}

/* -- enrolments -- */

static void the_newest_token_is_used_and_none_is_written(void **state)
{
	struct vault_world world;
	struct outcome *outcome;
	unsigned int writes;

	vault_world_open_with(&world, "E");
	world_enrol(&world, BOB, "refresh-one");
	becomes_follower(&world);
	writes = fake_store_writes(world.store);
	outcome = world_ask(&world, BOB, GOOD, true);
	assert_non_null(strstr(fake_http_form(world.w.http), "refresh_token=refresh-one"));
	world_refreshed(&world, BOB, "oid-1", "refresh-two");
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	assert_int_equal(fake_store_writes(world.store), writes);
	assert_string_equal(world_refresh_token(&world, BOB), "refresh-one");
	vault_world_end(&world);
}

static void a_refusal_is_believed_but_does_not_kill(void **state)
{
	struct vault_world world;
	struct outcome *outcome;
	unsigned int writes;
	char *row;

	vault_world_open_with(&world, "E");
	world_enrol(&world, BOB, "refresh-one");
	becomes_follower(&world);
	writes = fake_store_writes(world.store);
	outcome = world_ask(&world, BOB, GOOD, true);
	fake_http_aadsts(world.w.http, 400, "invalid_grant", 50173);
	world_turn(&world.w);
	assert_int_equal(outcome->calls, 1);
	assert_int_equal(world_enrolment(&world, BOB)->code, 0);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_died"), 0);
	assert_int_equal(fake_store_writes(world.store), writes);
	assert_true(mauth_enrolments_refused(mauth_vault_enrolments(world.vault), CONTOSO, BOB, NULL));
	/* The owner has renewed it meanwhile. */
	row = mauth_strdup(fake_store_value(world.store, MAUTH_ENROLMENT_KIND, CONTOSO "/" BOB));
	must_follow(&world, MAUTH_ENROLMENT_KIND, CONTOSO "/" BOB, row);
	assert_false(mauth_enrolments_refused(mauth_vault_enrolments(world.vault), CONTOSO, BOB, NULL));
	free(row);
	vault_world_end(&world);
}

static void an_enrolment_dies_lives_again_and_goes(void **state)
{
	static const char name[] = CONTOSO "/" BOB;
	struct vault_world world;
	struct mauth_enrolments *enrolments;
	unsigned int generation;
	char *row, *dead, *anew;

	vault_world_open_with(&world, "E");
	world_enrol(&world, BOB, "refresh-one");
	becomes_follower(&world);
	enrolments = mauth_vault_enrolments(world.vault);
	row = mauth_strdup(fake_store_value(world.store, MAUTH_ENROLMENT_KIND, name));
	dead = mauth_printf("{\"code\":50173,\"reason\":\"password reset\",\"dead_since\":1700000000,%s", row + 1);
	anew = mauth_strdup(row);
	memcpy(strstr(anew, "\"enrolled_at\":17"), "\"enrolled_at\":18", strlen("\"enrolled_at\":18"));
	must_follow(&world, MAUTH_ENROLMENT_KIND, name, dead);
	assert_int_equal(mauth_enrolments_usable(enrolments, world.w.tenant, BOB, NULL), MAUTH_INTERACTION);
	generation = world_enrolment(&world, BOB)->generation;
	must_follow(&world, MAUTH_ENROLMENT_KIND, name, anew);
	assert_int_equal(mauth_enrolments_usable(enrolments, world.w.tenant, BOB, NULL), MAUTH_OK);
	assert_int_equal(world_enrolment(&world, BOB)->generation, generation + 1);
	must_follow(&world, MAUTH_ENROLMENT_KIND, name, NULL);
	assert_null(world_enrolment(&world, BOB));
	must_follow(&world, MAUTH_ENROLMENT_KIND, name, NULL);
	must_follow(&world, MAUTH_ENROLMENT_KIND, name, row);
	assert_non_null(world_enrolment(&world, BOB));
	assert_int_equal(told(&world, MAUTH_ENROLMENT_KIND, "nonsense", row, NULL), MAUTH_CONFIG);
	free(row);
	free(dead);
	free(anew);
	vault_world_end(&world);
}

static void one_that_goes_while_entra_is_asked_gives_no_token(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "E");
	world_enrol(&world, BOB, "refresh-one");
	becomes_follower(&world);
	outcome = world_ask(&world, BOB, GOOD, true);
	must_follow(&world, MAUTH_ENROLMENT_KIND, CONTOSO "/" BOB, NULL);
	world_refreshed(&world, BOB, "oid-1", "refresh-two");
	world_turn(&world.w);
	world_ended(outcome, MAUTH_INTERACTION);
	vault_world_end(&world);
}

/* -- what its owner does, who follows does not -- */

static void months_pass_without_a_write_or_a_request(void **state)
{
	struct vault_world world;
	unsigned int writes, started;

	vault_world_open_with(&world, "E");
	world_enrol(&world, BOB, "refresh-one");
	free(world_device(&world, BOB, "printer"));
	becomes_follower(&world);
	writes = fake_store_writes(world.store);
	started = fake_http_started(world.w.http);
	for (unsigned int day = 0; day < 120; day++) {
		fake_loop_jump(world.w.loop, DAY);
		fake_loop_run(world.w.loop, 20000);
	}
	assert_int_equal(fake_store_writes(world.store), writes);
	assert_int_equal(fake_http_started(world.w.http), started);
	assert_int_equal(world_count(world.w.sinks.events, "modernauth_enrolment_expiring"), 0);
	assert_true(world_count(world.w.sinks.events, "store=follows") > 0);
	vault_world_end(&world);
}

static void ignore_news(const struct mauth_enrol_news *news, void *context)
{
	(void)news;
	(void)context;
}

static void nobody_enrols_here(void **state)
{
	struct vault_world world;
	struct mauth_error error;

	vault_world_open_with(&world, "E");
	becomes_follower(&world);
	const struct mauth_enrol_want want = { .tenant = world.w.tenant, .login = BOB, .account = BOB, .mailbox = BOB };

	assert_null(mauth_enrol_start(mauth_broker_enrols(world.w.broker), &want, ignore_news, NULL, &error));
	assert_int_equal(error.status, MAUTH_TEMPORARY);
	assert_non_null(strstr(error.text, "another front end"));
	vault_world_end(&world);
}

static void a_store_that_is_not_made_yet_is_left_alone(void **state)
{
	struct vault_world world;
	struct mauth_error error;

	vault_world_begin(&world);
	vault_world_open_without(&world, NULL);
	fake_store_follow(world.store, true);
	assert_int_equal(vault_world_try(&world, &error), MAUTH_TEMPORARY);
	assert_null(world.keys);
	world.keys = NULL;
	fake_store_follow(world.store, false);
	assert_int_equal(vault_world_try(&world, &error), MAUTH_OK);
	vault_world_end(&world);
}

static void a_fresh_key_or_another_store_wants_it_opened_anew(void **state)
{
	struct vault_world world;
	bool reopen = false;

	vault_world_begin(&world);
	vault_world_open(&world);
	becomes_follower(&world);
	must_follow(&world, MAUTH_META_KIND, "notice/rule/x", "2026-11-26 1");
	assert_int_equal(told(&world, MAUTH_META_KIND, "verifier-key", "sealed", &reopen), MAUTH_OK);
	assert_true(reopen);
	vault_world_end(&world);
}

static void a_mailbox_comes_and_goes(void **state)
{
	static const char name[] = CONTOSO "/scan@contoso.com";
	struct vault_world world;
	const struct mauth_link *link;

	vault_world_begin(&world);
	vault_world_open(&world);
	becomes_follower(&world);
	must_follow(&world, MAUTH_LINK_KIND, name, "{\"account\":\"bob@contoso.com\",\"mailbox\":\"scan@contoso.com\"}");
	link = mauth_vault_link(world.vault, CONTOSO, "scan@contoso.com");
	assert_non_null(link);
	assert_string_equal(link->account, BOB);
	assert_int_equal(told(&world, MAUTH_LINK_KIND, name, "nonsense", NULL), MAUTH_CONFIG);
	must_follow(&world, MAUTH_LINK_KIND, name, NULL);
	assert_null(mauth_vault_link(world.vault, CONTOSO, "scan@contoso.com"));
	must_follow(&world, MAUTH_LINK_KIND, name, NULL);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_exception_comes_changes_and_goes),
		cmocka_unit_test(an_own_exception_is_told_and_is_one),
		cmocka_unit_test(what_was_removed_here_does_not_come_back),
		cmocka_unit_test(a_device_goes_comes_and_ends),
		cmocka_unit_test(the_newest_token_is_used_and_none_is_written),
		cmocka_unit_test(a_refusal_is_believed_but_does_not_kill),
		cmocka_unit_test(an_enrolment_dies_lives_again_and_goes),
		cmocka_unit_test(one_that_goes_while_entra_is_asked_gives_no_token),
		cmocka_unit_test(months_pass_without_a_write_or_a_request),
		cmocka_unit_test(nobody_enrols_here),
		cmocka_unit_test(a_store_that_is_not_made_yet_is_left_alone),
		cmocka_unit_test(a_fresh_key_or_another_store_wants_it_opened_anew),
		cmocka_unit_test(a_mailbox_comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
