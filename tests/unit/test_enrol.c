/* SPDX-License-Identifier: MIT */
/* Enrolment by device code: asking, waiting, who has signed in, what is kept, and who hears of it. */
#include "vault_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Who listens. */
struct news {
	struct vault_world *world;
	struct mauth_enrol_listener *listener;
	unsigned int codes, pending, done, failed;
	char user_code[32], uri[256], device_id[MAUTH_DEVICE_ID_SIZE], device_password[64];
	int64_t interval;
	struct mauth_error error;
};

static void hear(const struct mauth_enrol_news *news, void *context)
{
	struct news *heard = context;

	snprintf(heard->user_code, sizeof(heard->user_code), "%s", news->user_code);
	snprintf(heard->uri, sizeof(heard->uri), "%s", news->uri);
	heard->interval = news->interval;
	switch (news->event) {
	case MAUTH_ENROL_CODE:
		heard->codes++;
		return;
	case MAUTH_ENROL_PENDING:
		heard->pending++;
		return;
	case MAUTH_ENROL_DONE:
		heard->done++;
		if (news->device_id != NULL)
			snprintf(heard->device_id, sizeof(heard->device_id), "%s", news->device_id);
		if (news->device_password != NULL)
			snprintf(heard->device_password, sizeof(heard->device_password), "%s",
				 mauth_secret_expose(news->device_password));
		world_secret(&heard->world->w, heard->device_password);
		break;
	case MAUTH_ENROL_FAILED:
		heard->failed++;
		assert_int_not_equal(news->error->status, MAUTH_OK);
		heard->error = *news->error;
		break;
	}
	heard->listener = NULL;
}

static struct mauth_enrols *of(struct vault_world *world)
{
	return mauth_broker_enrols(world->w.broker);
}

static void begin(struct vault_world *world)
{
	vault_world_open_with(world, "E");
	world_secret(&world->w, "DEVICE-1");
}

/* An admin enrols login, who is to sign in as account and opens mailbox. */
static void start_as(struct vault_world *world, const char *login, const char *account, const char *mailbox,
		     struct news *news)
{
	const struct mauth_enrol_want want = {
		.tenant = world->w.tenant, .login = login, .account = account, .mailbox = mailbox, .device = "first",
	};
	struct mauth_error error;

	memset(news, 0, sizeof(*news));
	news->world = world;
	news->listener = mauth_enrol_start(of(world), &want, hear, news, &error);
	if (news->listener == NULL)
		fail_msg("%s", error.text);
	assert_int_equal(news->codes, 0);
}

static void start(struct vault_world *world, struct news *news)
{
	start_as(world, ALICE, ALICE, ALICE, news);
}

/* ALICE's code is shown. */
static void show(struct vault_world *world, struct news *news)
{
	start(world, news);
	assert_string_equal(fake_http_url(world->w.http), world->w.tenant->device_code_url);
	fake_http_device_code(world->w.http, 1);
	world_turn(&world->w);
	assert_int_equal(news->codes, 1);
	assert_string_equal(news->user_code, "USER-1");
}

/* Entra is asked within secs and half a second, and not before. */
static void wait_for_poll(struct vault_world *world, unsigned int secs)
{
	fake_loop_run(world->w.loop, secs * 1000 - 1);
	assert_int_equal(fake_http_open(world->w.http), 0);
	fake_loop_run(world->w.loop, 501);
	assert_int_equal(fake_http_open(world->w.http), 1);
	assert_non_null(strstr(fake_http_form(world->w.http), "device_code=DEVICE-1"));
}

static void answer(struct vault_world *world, const char *error, int code)
{
	fake_http_aadsts(world->w.http, 400, error, code);
	world_turn(&world->w);
}

static void sign_in(struct vault_world *world, const char *upn)
{
	world_refreshed(world, upn, "oid-1", "refresh-token-1");
	world_turn(&world->w);
}

/* Nothing is left of it, and nobody is enrolled. */
static void expect_nothing(struct vault_world *world)
{
	assert_int_equal(mauth_enrols_count(of(world)), 0);
	assert_int_equal(mauth_enrolments_count(mauth_vault_enrolments(world->vault)), 0);
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world->vault)), 0);
	assert_int_equal(fake_store_count(world->store, NULL), 1);
	vault_world_restart(world);
	assert_int_equal(mauth_enrols_count(of(world)), 0);
	assert_int_equal(mauth_enrolments_count(mauth_vault_enrolments(world->vault)), 0);
}

/* -- from the code to the token ----------------------------------------------------------------------------- */

static void a_code_is_asked_for_shown_waited_for_and_ends_in_an_enrolment(void **state)
{
	struct vault_world world;
	struct news news;
	struct outcome *outcome;

	begin(&world);
	show(&world, &news);
	assert_string_equal(news.uri, "https://microsoft.com/devicelogin");
	wait_for_poll(&world, 5);
	answer(&world, "authorization_pending", 70016);
	assert_int_equal(news.pending, 1);
	wait_for_poll(&world, 5);
	sign_in(&world, ALICE);
	assert_int_equal(news.done, 1);
	assert_int_equal(strlen(news.device_password), 20);
	assert_string_equal(world_refresh_token(&world, ALICE), "refresh-token-1");
	assert_int_equal(fake_store_count(world.store, MAUTH_PENDING_KIND), 0);
	assert_int_equal(world_count(world.w.sinks.records, "enrolment-finished"), 1);
	outcome = world_ask(&world, ALICE, news.device_password, false);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	vault_world_end(&world);
}

static void slow_down_lengthens_the_interval_for_good_but_not_for_ever(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	wait_for_poll(&world, 5);
	answer(&world, "slow_down", 0);
	wait_for_poll(&world, 10);
	answer(&world, "slow_down", 0);
	wait_for_poll(&world, 15);
	answer(&world, "authorization_pending", 70016);
	for (unsigned int i = 0; i < 12; i++) {
		wait_for_poll(&world, (unsigned int)news.interval);
		answer(&world, "slow_down", 0);
	}
	assert_int_equal(news.interval, 60);
	assert_int_equal(news.failed, 0);
	vault_world_end(&world);
}

static void what_ends_it_is_said_and_leaves_nothing(void **state)
{
	static const struct {
		unsigned int status;
		const char *error;
		int code;
	} rows[] = {
		{ 400, "authorization_declined", 65004 }, { 400, "expired_token", 70019 },
		{ 400, "invalid_grant", 54005 }, { 400, "bad_verification_code", 70018 },
		{ 400, "access_denied", 90120 }, { 400, "invalid_grant", 53003 },
		{ 401, "invalid_client", 7000222 }, { 400, "invalid_grant", 50105 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vault_world world;
		struct news news;

		begin(&world);
		show(&world, &news);
		wait_for_poll(&world, 5);
		fake_http_aadsts(world.w.http, rows[i].status, rows[i].error, rows[i].code);
		world_turn(&world.w);
		if (news.failed != 1)
			fail_msg("AADSTS%d does not end it", rows[i].code);
		expect_nothing(&world);
		vault_world_end(&world);
	}
}

static void a_code_that_nobody_enters_runs_out(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	for (unsigned int i = 0; i < 400 && news.failed == 0; i++) {
		fake_loop_run(world.w.loop, 5500);
		if (fake_http_open(world.w.http) > 0)
			answer(&world, "authorization_pending", 70016);
	}
	assert_int_equal(news.failed, 1);
	assert_int_equal(news.error.status, MAUTH_EXPIRED);
	assert_in_range(mauth_wall_secs(fake_loop_loop(world.w.loop)), WORLD_WALL + 900, WORLD_WALL + 910);
	expect_nothing(&world);
	vault_world_end(&world);
}

static void failures_of_the_network_are_waited_out(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	wait_for_poll(&world, 5);
	fake_http_fail(world.w.http, MAUTH_TEMPORARY);
	wait_for_poll(&world, 10);
	fake_http_fail(world.w.http, MAUTH_TIMEOUT);
	wait_for_poll(&world, 15);
	fake_http_reply(world.w.http, 503, "<html>", NULL);
	wait_for_poll(&world, 20);
	/* Those who fail no more are asked as before. */
	answer(&world, "authorization_pending", 70016);
	wait_for_poll(&world, 5);
	sign_in(&world, ALICE);
	assert_int_equal(news.done, 1);
	vault_world_end(&world);
}

static void a_certificate_that_is_not_trusted_ends_it(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	wait_for_poll(&world, 5);
	fake_http_fail(world.w.http, MAUTH_CONFIG);
	world_turn(&world.w);
	assert_int_equal(news.failed, 1);
	expect_nothing(&world);
	vault_world_end(&world);
}

static void a_refused_secret_makes_room_for_the_next_one(void **state)
{
	for (int good = 0; good < 2; good++) {
		struct vault_world world;
		struct mauth_credential *second;
		struct news news;

		begin(&world);
		second = &world.w.tenant->credentials[world.w.tenant->credentials_count++];
		second->secret = mauth_secret_new("second-value", 12);
		second->path = mauth_strdup("/etc/modernauth.second");
		show(&world, &news);
		wait_for_poll(&world, 5);
		assert_non_null(strstr(fake_http_form(world.w.http), "client_secret=client-secret-value"));
		fake_http_aadsts(world.w.http, 401, "invalid_client", 7000222);
		wait_for_poll(&world, 5);
		assert_non_null(strstr(fake_http_form(world.w.http), "client_secret=second-value"));
		if (good)
			sign_in(&world, ALICE);
		else
			fake_http_aadsts(world.w.http, 401, "invalid_client", 7000215);
		world_turn(&world.w);
		assert_int_equal(news.done, good);
		assert_int_equal(news.failed, !good);
		vault_world_end(&world);
	}
}

/* -- who has signed in -------------------------------------------------------------------------------------- */

static void who_has_signed_in_must_be_who_was_meant(void **state)
{
	static const struct {
		const char *upn, *token;
		bool good;
	} rows[] = {
		{ ALICE, "refresh-token-1", true }, { "Alice@Contoso.COM", "refresh-token-1", true },
		{ BOB, "refresh-token-1", false }, { "", "refresh-token-1", false }, { ALICE, NULL, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vault_world world;
		struct news news;

		begin(&world);
		show(&world, &news);
		wait_for_poll(&world, 5);
		if (rows[i].token != NULL)
			world_secret(&world.w, rows[i].token);
		fake_http_refreshed(world.w.http, rows[i].upn, "oid-1", rows[i].token, 3600);
		world_turn(&world.w);
		assert_int_equal(news.done, rows[i].good);
		assert_int_equal(news.failed, !rows[i].good);
		if (!rows[i].good)
			expect_nothing(&world);
		vault_world_end(&world);
	}
}

static void a_login_can_be_linked_to_another_account_and_mailbox(void **state)
{
	struct vault_world world;
	struct mauth_mailbox where;
	struct news news;

	begin(&world);
	start_as(&world, "scanner@contoso.com", ALICE, "shared@contoso.com", &news);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	wait_for_poll(&world, 5);
	sign_in(&world, ALICE);
	assert_int_equal(news.done, 1);
	for (int restarted = 0; restarted < 2; restarted++) {
		assert_int_equal(mauth_broker_resolve(world.w.broker, "scanner@contoso.com", &where, NULL), MAUTH_OK);
		assert_string_equal(where.account, ALICE);
		assert_string_equal(where.mailbox, "shared@contoso.com");
		vault_world_restart(&world);
	}
	/* And back: an enrolment in its own name forgets the link. */
	start_as(&world, "scanner@contoso.com", "scanner@contoso.com", "scanner@contoso.com", &news);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	wait_for_poll(&world, 5);
	world_refreshed(&world, "scanner@contoso.com", "oid-2", "refresh-token-2");
	world_turn(&world.w);
	assert_int_equal(news.failed, 0);
	/* Its device password stays the one of before. */
	assert_true(mauth_devices_has(mauth_vault_devices(world.vault), CONTOSO, "scanner@contoso.com"));
	for (int restarted = 0; restarted < 2; restarted++) {
		assert_int_equal(mauth_broker_resolve(world.w.broker, "scanner@contoso.com", &where, NULL), MAUTH_OK);
		assert_string_equal(where.account, "scanner@contoso.com");
		vault_world_restart(&world);
	}
	vault_world_end(&world);
}

/* -- who listens -------------------------------------------------------------------------------------------- */

static void without_anybody_who_listens_there_is_no_device_password(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	mauth_enrol_unlisten(&news.listener);
	mauth_enrol_unlisten(&news.listener);
	wait_for_poll(&world, 5);
	sign_in(&world, ALICE);
	assert_int_equal(news.done + news.failed, 0);
	assert_non_null(world_enrolment(&world, ALICE));
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 0);
	vault_world_end(&world);
}

static void who_leaves_while_the_device_password_is_written_leaves_none_behind(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	wait_for_poll(&world, 5);
	fake_store_hold(world.store, true);
	sign_in(&world, ALICE);
	assert_int_equal(fake_store_finish(world.store), 1);
	assert_int_equal(fake_store_waiting(world.store), 1);
	mauth_enrol_unlisten(&news.listener);
	fake_store_hold(world.store, false);
	world_turn(&world.w);
	assert_non_null(world_enrolment(&world, ALICE));
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 0);
	vault_world_restart(&world);
	assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 0);
	vault_world_end(&world);
}

static void a_second_listener_is_told_the_same_code_and_only_one_the_password(void **state)
{
	struct vault_world world;
	struct news first, early, late;

	begin(&world);
	start(&world, &first);
	start(&world, &early);
	fake_http_device_code(world.w.http, 1);
	world_turn(&world.w);
	start(&world, &late);
	world_turn(&world.w);
	assert_int_equal(fake_http_started(world.w.http), 1);
	assert_int_equal(first.codes + early.codes + late.codes, 3);
	assert_string_equal(late.user_code, "USER-1");
	wait_for_poll(&world, 5);
	sign_in(&world, ALICE);
	assert_int_equal(first.done + early.done + late.done, 3);
	assert_int_equal((first.device_password[0] != '\0') + (early.device_password[0] != '\0') +
			 (late.device_password[0] != '\0'), 1);
	vault_world_end(&world);
}

static void who_wants_another_account_or_mailbox_does_not_get_the_first_ones_code(void **state)
{
	struct vault_world world;
	struct news first, second = { .world = &world };
	struct mauth_error error;

	begin(&world);
	show(&world, &first);
	struct mauth_enrol_want want = {
		.tenant = world.w.tenant, .login = ALICE, .account = BOB, .mailbox = ALICE, .device = "first",
	};
	assert_null(mauth_enrol_start(of(&world), &want, hear, &second, &error));
	assert_int_equal(error.status, MAUTH_CONFIG);
	want.account = ALICE;
	want.mailbox = "shared@contoso.com";
	assert_null(mauth_enrol_start(of(&world), &want, hear, &second, &error));
	vault_world_end(&world);
}

static void a_listener_may_leave_before_it_is_told(void **state)
{
	struct vault_world world;
	struct news first, late;

	begin(&world);
	show(&world, &first);
	start(&world, &late);
	mauth_enrol_unlisten(&late.listener);
	mauth_enrol_unlisten(&first.listener);
	world_turn(&world.w);
	assert_int_equal(late.codes, 0);
	vault_world_end(&world);
}

/* -- restarts ----------------------------------------------------------------------------------------------- */

static void a_restart_goes_on_asking(void **state)
{
	struct vault_world world;
	struct news news, after;

	begin(&world);
	show(&world, &news);
	vault_world_restart(&world);
	/* Who listened has been told. */
	assert_int_equal(news.failed, 1);
	assert_int_equal(mauth_enrols_count(of(&world)), 1);
	start(&world, &after);
	world_turn(&world.w);
	assert_string_equal(after.user_code, "USER-1");
	wait_for_poll(&world, 5);
	sign_in(&world, ALICE);
	assert_int_equal(after.done, 1);
	assert_int_equal(strlen(after.device_password), 20);
	assert_non_null(world_enrolment(&world, ALICE));
	vault_world_end(&world);
}

static void a_code_that_ran_out_meanwhile_is_forgotten(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	vault_world_close(&world);
	fake_loop_jump(world.w.loop, 3600);
	vault_world_restart(&world);
	fake_loop_run(world.w.loop, 5500);
	assert_int_equal(fake_http_open(world.w.http), 0);
	expect_nothing(&world);
	vault_world_end(&world);
}

static void a_tenant_that_is_gone_is_asked_for_nothing(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	world.w.tenant->name[0] = 'k';
	vault_world_restart(&world);
	assert_int_equal(mauth_enrols_count(of(&world)), 0);
	fake_loop_run(world.w.loop, 10000);
	assert_int_equal(fake_http_open(world.w.http), 0);
	world.w.tenant->name[0] = 'c';
	vault_world_end(&world);
}

static void a_row_that_was_tampered_with_is_not_taken_up(void **state)
{
	struct vault_world world;
	struct news news;

	begin(&world);
	show(&world, &news);
	vault_world_close(&world);
	/* ALICE's code would enrol BOB's mailbox. */
	fake_store_put(world.store, MAUTH_PENDING_KIND, "contoso/" BOB,
		       fake_store_value(world.store, MAUTH_PENDING_KIND, "contoso/" ALICE));
	fake_store_put(world.store, MAUTH_PENDING_KIND, "contoso/" ALICE, "garbage");
	assert_int_equal(vault_world_try(&world, NULL), MAUTH_OK);
	assert_int_equal(mauth_enrols_count(of(&world)), 0);
	assert_int_equal(world_count(world.w.sinks.lines, "cannot be taken up"), 2);
	vault_world_end(&world);
}

/* -- revoking ----------------------------------------------------------------------------------------------- */

static void what_is_revoked_at_any_step_does_not_come_back(void **state)
{
	for (unsigned int step = 0; step < 5; step++) {
		struct vault_world world;
		struct news news;

		begin(&world);
		start(&world, &news);
		if (step > 0) {
			fake_store_hold(world.store, step == 1);
			fake_http_device_code(world.w.http, 1);
			world_turn(&world.w);
		}
		if (step > 2) {
			wait_for_poll(&world, 5);
			fake_store_hold(world.store, true);
			sign_in(&world, ALICE);
		}
		if (step == 4)
			assert_int_equal(fake_store_finish(world.store), 1);
		mauth_enrol_forget(of(&world), world.w.tenant, BOB);
		mauth_enrol_forget(of(&world), world.w.tenant, ALICE);
		fake_store_hold(world.store, false);
		world_turn(&world.w);
		if (news.failed != 1 || news.done != 0)
			fail_msg("step %u", step);
		assert_int_equal(fake_http_open(world.w.http), 0);
		expect_nothing(&world);
		vault_world_end(&world);
	}
}

/* -- a store that fails ------------------------------------------------------------------------------------- */

static void a_store_that_fails_at_any_write_is_said(void **state)
{
	for (unsigned int write = 0; write < 3; write++) {
		struct vault_world world;
		struct news news;

		begin(&world);
		start(&world, &news);
		fake_store_fail(world.store, write == 0 ? "disk full" : NULL);
		fake_http_device_code(world.w.http, 1);
		world_turn(&world.w);
		if (write > 0) {
			wait_for_poll(&world, 5);
			fake_store_fail(world.store, write == 1 ? "disk full" : NULL);
			fake_store_hold(world.store, write == 2);
			sign_in(&world, ALICE);
		}
		if (write == 2) {
			assert_int_equal(fake_store_finish(world.store), 1);
			fake_store_fail(world.store, "disk full");
			fake_store_hold(world.store, false);
			world_turn(&world.w);
		}
		assert_int_equal(news.failed, 1);
		assert_non_null(strstr(news.error.text, "disk full"));
		assert_int_equal(news.codes, write > 0);
		fake_store_fail(world.store, NULL);
		/* Without a device password the account is enrolled all the same. */
		assert_int_equal(world_enrolment(&world, ALICE) != NULL, write == 2);
		assert_int_equal(mauth_devices_count(mauth_vault_devices(world.vault)), 0);
		assert_int_equal(mauth_enrols_count(of(&world)), 0);
		vault_world_end(&world);
	}
}

static void without_a_store_nobody_is_enrolled(void **state)
{
	struct vault_world world;
	struct news news = { .world = &world };
	struct mauth_error error;

	vault_world_begin(&world);
	vault_world_open_without(&world, NULL);
	const struct mauth_enrol_want want = {
		.tenant = world.w.tenant, .login = ALICE, .account = ALICE, .mailbox = ALICE,
	};
	assert_null(mauth_enrol_start(of(&world), &want, hear, &news, &error));
	assert_int_equal(error.status, MAUTH_CONFIG);
	vault_world_end(&world);
}

/* -- many --------------------------------------------------------------------------------------------------- */

#define MANY 300u

static void count_one(const char *tenant, const char *login, const struct mauth_enrol_news *news, void *context)
{
	assert_string_equal(tenant, CONTOSO);
	assert_non_null(strchr(login, '@'));
	assert_int_equal(news->event, MAUTH_ENROL_PENDING);
	++*(unsigned int *)context;
}

static void three_hundred_are_enrolled_at_once(void **state)
{
	static struct news news[MANY];
	struct vault_world world;
	char login[64], token[32];
	unsigned int listed = 0, done = 0;

	begin(&world);
	for (unsigned int i = 0; i < MANY; i++) {
		snprintf(login, sizeof(login), "user%u@contoso.com", i);
		start_as(&world, login, login, login, &news[i]);
	}
	assert_int_equal(fake_http_open(world.w.http), MANY);
	for (unsigned int i = 0; i < MANY; i++)
		fake_http_device_code(world.w.http, i);
	world_turn(&world.w);
	mauth_enrols_each(of(&world), count_one, &listed);
	assert_int_equal(listed, MANY);
	/* They do not knock as one. */
	fake_loop_run(world.w.loop, 5100);
	assert_in_range(fake_http_open(world.w.http), 1, MANY / 2);
	fake_loop_run(world.w.loop, 400);
	assert_int_equal(fake_http_open(world.w.http), MANY);
	while (fake_http_open(world.w.http) > 0) {
		const char *at = strstr(fake_http_form(world.w.http), "device_code=DEVICE-");
		unsigned int number;

		assert_non_null(at);
		number = (unsigned int)strtoul(at + strlen("device_code=DEVICE-"), NULL, 10);
		snprintf(login, sizeof(login), "user%u@contoso.com", number);
		snprintf(token, sizeof(token), "refresh-token-of-%u.", number);
		if (number % 3 == 0)
			answer(&world, "authorization_pending", 70016);
		else
			world_refreshed(&world, login, "oid-1", token);
		world_turn(&world.w);
	}
	for (unsigned int i = 0; i < MANY; i++)
		done += news[i].done;
	assert_int_equal(done, MANY - MANY / 3);
	assert_int_equal(mauth_enrols_count(of(&world)), MANY / 3);
	assert_string_equal(world_refresh_token(&world, "user1@contoso.com"), "refresh-token-of-1.");
	vault_world_restart(&world);
	assert_int_equal(mauth_enrols_count(of(&world)), MANY / 3);
	assert_int_equal(mauth_enrolments_count(mauth_vault_enrolments(world.vault)), MANY - MANY / 3);
	vault_world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_code_is_asked_for_shown_waited_for_and_ends_in_an_enrolment),
		cmocka_unit_test(slow_down_lengthens_the_interval_for_good_but_not_for_ever),
		cmocka_unit_test(what_ends_it_is_said_and_leaves_nothing),
		cmocka_unit_test(a_code_that_nobody_enters_runs_out),
		cmocka_unit_test(failures_of_the_network_are_waited_out),
		cmocka_unit_test(a_certificate_that_is_not_trusted_ends_it),
		cmocka_unit_test(a_refused_secret_makes_room_for_the_next_one),
		cmocka_unit_test(who_has_signed_in_must_be_who_was_meant),
		cmocka_unit_test(a_login_can_be_linked_to_another_account_and_mailbox),
		cmocka_unit_test(without_anybody_who_listens_there_is_no_device_password),
		cmocka_unit_test(who_leaves_while_the_device_password_is_written_leaves_none_behind),
		cmocka_unit_test(a_second_listener_is_told_the_same_code_and_only_one_the_password),
		cmocka_unit_test(who_wants_another_account_or_mailbox_does_not_get_the_first_ones_code),
		cmocka_unit_test(a_listener_may_leave_before_it_is_told),
		cmocka_unit_test(a_restart_goes_on_asking),
		cmocka_unit_test(a_code_that_ran_out_meanwhile_is_forgotten),
		cmocka_unit_test(a_tenant_that_is_gone_is_asked_for_nothing),
		cmocka_unit_test(a_row_that_was_tampered_with_is_not_taken_up),
		cmocka_unit_test(what_is_revoked_at_any_step_does_not_come_back),
		cmocka_unit_test(a_store_that_fails_at_any_write_is_said),
		cmocka_unit_test(without_a_store_nobody_is_enrolled),
		cmocka_unit_test(three_hundred_are_enrolled_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
