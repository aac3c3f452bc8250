/* SPDX-License-Identifier: MIT */
/* Who is given a token, and by which way: who verified the password, the order of grants, what is cached. */
#include "vault_world.h"

#include "core/explain.h"
#include "core/mem.h"
#include "core/request-private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define P MAUTH_GRANT_PASSWORD
#define E MAUTH_GRANT_ENROLLED
#define A MAUTH_GRANT_APP
#define WRONG "wr0ng"
#define TOKEN "t0ken-of-before"
#define CAROL "carol@contoso.com"

/* -- every combination -------------------------------------------------------------------------------------- */

enum state { NONE, ACTIVE, DEAD, REFUSED, OTHER_APP, STATES };
enum verified { BY_NOBODY, BY_DEVICE, BY_DOVECOT, VERIFIERS };

static const struct order {
	enum mauth_grant_type grants[MAUTH_GRANT_COUNT];
	size_t count;
	const char *name;
} orders[] = {
	{ { P }, 1, "P" }, { { E }, 1, "E" }, { { A }, 1, "A" }, { { P, E }, 2, "PE" }, { { E, P }, 2, "EP" },
	{ { P, A }, 2, "PA" }, { { A, P }, 2, "AP" }, { { E, A }, 2, "EA" }, { { A, E }, 2, "AE" },
	{ { P, E, A }, 3, "PEA" }, { { P, A, E }, 3, "PAE" }, { { E, P, A }, 3, "EPA" }, { { E, A, P }, 3, "EAP" },
	{ { A, P, E }, 3, "APE" }, { { A, E, P }, 3, "AEP" },
};
#define ORDERS (sizeof(orders) / sizeof(orders[0]))

struct combination {
	const struct order *order;
	enum verified verified;
	enum state state;
	bool cached, right;
};

static void refuse(struct vault_world *world, int code)
{
	const struct mauth_enrolment *enrolment = world_enrolment(world, ALICE);
	struct mauth_error error;

	mauth_fail(&error, MAUTH_INTERACTION, code, "AADSTS%d", code);
	mauth_enrolments_refusal(mauth_vault_enrolments(world->vault), CONTOSO, ALICE, enrolment->generation, &error,
				 code);
	world_turn(&world->w);
}

static void make_state(struct vault_world *world, enum state state)
{
	if (state == NONE)
		return;
	world_enrol(world, ALICE, "refresh-token-1");
	if (state == DEAD)
		refuse(world, 50173);
	else if (state == REFUSED)
		refuse(world, 50076);
	else if (state == OTHER_APP)
		world->w.tenant->client_id[0] ^= 1;
}

/* Entra knows ALICE's password, and gives everything but that to everybody. */
static void answer_as_entra(struct vault_world *world, const char *device_password)
{
	while (fake_http_open(world->w.http) > 0) {
		const char *form = fake_http_form(world->w.http);

		assert_null(strstr(form, device_password));
		if (strstr(form, "grant_type=password") == NULL || strstr(form, "password=correct%20horse") != NULL)
			fake_http_token(world->w.http, ALICE, 3600);
		else
			fake_http_aadsts(world->w.http, 400, "invalid_grant", 50126);
		world_turn(&world->w);
	}
}

/* What has to come of it: by the requirements, not by the code. */
static enum mauth_status expected(const struct combination *c, enum mauth_grant_type *grant_r)
{
	enum verified verified = c->right ? c->verified : BY_NOBODY;

	for (size_t i = 0; i < c->order->count; i++) {
		*grant_r = c->order->grants[i];
		if (*grant_r == P && verified != BY_DEVICE)
			return c->right ? MAUTH_OK : MAUTH_BAD_CREDENTIALS;
		if (*grant_r == P || verified == BY_NOBODY)
			continue;
		if (*grant_r == A || c->state == ACTIVE || (c->state == REFUSED && c->cached))
			return MAUTH_OK;
		/* What Entra says of the user closes every way. */
		if (c->state == REFUSED)
			return MAUTH_INTERACTION;
	}
	return verified == BY_NOBODY ? MAUTH_BAD_CREDENTIALS : MAUTH_INTERACTION;
}

struct explained {
	const char *name;
	char text[1200];
};

static void hear(const char *item, const char *name, const char *value, void *context)
{
	struct explained *explained = context;

	if (strcmp(item, "outcome") == 0 && strcmp(name, explained->name) == 0)
		snprintf(explained->text, sizeof(explained->text), "%s", value);
}

/* Whoever asks before must be told what will come of it. */
static void check_explanation(struct vault_world *world, const struct combination *c)
{
	static const char *const names[] = { "password", "device password", "earlier passdb" };
	const struct mauth_explain_question question = { .user = ALICE, .client_ip = "192.0.2.7", .tls = true };
	struct explained explained = { .name = names[c->verified] };
	enum mauth_grant_type grant;
	enum mauth_status status = expected(c, &grant);
	char needle[100];

	/* To them an earlier passdb's word is worth nothing. */
	if (strcmp(c->order->name, "P") == 0 && c->verified == BY_DOVECOT)
		explained.name = names[BY_NOBODY];
	mauth_broker_explain(world->w.broker, &question, hear, &explained);
	if (status == MAUTH_OK)
		snprintf(needle, sizeof(needle), "would be upgraded with grant %s (token %s", mauth_grant_name(grant),
			 c->cached ? "in cache" : "fetched from Entra");
	else
		snprintf(needle, sizeof(needle), "would be refused (%s)", mauth_status_name(status));
	if (strstr(explained.text, needle) == NULL)
		fail_msg("grants %s, verified %d, state %d, cached %d: \"%s\" instead of \"%s\"", c->order->name, c->verified,
			 c->state, c->cached, explained.text, needle);
}

static void check_combination(const struct combination *c)
{
	static const char *const tokens[] = { "cached-by-password", "cached-by-enrolment", "cached-by-app" };
	static const enum mauth_verified_by words[] = {
		MAUTH_VERIFIED_ENTRA, MAUTH_VERIFIED_DEVICE, MAUTH_VERIFIED_DOVECOT,
	};
	static struct outcome outcome;
	enum mauth_grant_type grant;
	enum mauth_status status = expected(c, &grant);
	struct vault_world world;
	char *device, needle[40];
	const char *password;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, c->order->name);
	vault_world_open(&world);
	device = world_device(&world, ALICE, "Ricoh");
	make_state(&world, c->state);
	for (enum mauth_grant_type g = 0; c->cached && g < MAUTH_GRANT_COUNT; g++)
		world_cache(&world, g, tokens[g]);
	if (c->right)
		check_explanation(&world, c);
	password = !c->right ? WRONG : c->verified == BY_DEVICE ? device : GOOD;
	memset(&outcome, 0, sizeof(outcome));
	world_start_verified(&world, ALICE, password, c->right && c->verified == BY_DOVECOT, &outcome);
	world_turn(&world.w);
	answer_as_entra(&world, device);
	if (outcome.calls != 1 || outcome.status != status ||
	    (status == MAUTH_OK && (outcome.verified_by != words[c->verified] || outcome.cached != c->cached)) ||
	    (status == MAUTH_OK && c->cached && strcmp(outcome.token, tokens[grant]) != 0))
		fail_msg("grants %s, verified %d, state %d, cached %d, right %d: %s with \"%s\" (%s) instead of %s "
			 "by %s",
			 c->order->name, c->verified, c->state, c->cached, c->right, mauth_status_name(outcome.status),
			 outcome.token, outcome.error.text, mauth_status_name(status), mauth_grant_name(grant));
	snprintf(needle, sizeof(needle), "\"grant\":\"%s\"", mauth_grant_name(grant));
	if (status == MAUTH_OK && strstr(world.w.sinks.records, needle) == NULL)
		fail_msg("no %s in %s", needle, world.w.sinks.records);
	free(device);
	vault_world_end(&world);
}

static void a_token_is_for_whom_the_table_says_and_for_nobody_else(void **state)
{
	for (size_t o = 0; o < ORDERS; o++)
		for (enum verified v = 0; v < VERIFIERS; v++)
			for (enum state s = 0; s < STATES; s++)
				for (int bits = 0; bits < 4; bits++)
					check_combination(&(struct combination){
						&orders[o], v, s, (bits & 1) != 0, (bits & 2) != 0 });
}

static void a_wrong_password_gets_nothing_at_the_thousandth_time_either(void **state)
{
	for (size_t o = 0; o < ORDERS; o++) {
		struct vault_world world;
		char *device;

		vault_world_begin(&world);
		vault_world_grants(world.w.tenant, orders[o].name);
		vault_world_open(&world);
		device = world_device(&world, ALICE, "Ricoh");
		make_state(&world, ACTIVE);
		for (unsigned int i = 0; i < 1000; i++) {
			static struct outcome outcome;

			if (i == 500) {
				for (enum mauth_grant_type g = 0; g < MAUTH_GRANT_COUNT; g++)
					world_cache(&world, g, TOKEN);
			}
			memset(&outcome, 0, sizeof(outcome));
			world_start_verified(&world, ALICE, i % 3 == 0 ? world_bad(i) : WRONG, false, &outcome);
			world_turn(&world.w);
			answer_as_entra(&world, device);
			assert_int_equal(outcome.calls, 1);
			if (outcome.status != MAUTH_BAD_CREDENTIALS && outcome.status != MAUTH_LOCKED)
				fail_msg("grants %s, attempt %u: %s", orders[o].name, i,
					 mauth_status_name(outcome.status));
			/* All of it is searched for secrets at the end: the last twenty are like the others. */
			if (i % 20 == 0)
				world.w.sinks.records[0] = world.w.sinks.lines[0] = world.w.sinks.events[0] = '\0';
		}
		free(device);
		vault_world_end(&world);
	}
}

/* -- device passwords --------------------------------------------------------------------------------------- */

static void a_removed_device_stops_at_once_although_its_token_is_cached(void **state)
{
	struct vault_world world;
	struct outcome *outcome;
	char *device;

	vault_world_open_with(&world, "EA");
	device = world_device(&world, ALICE, "Ricoh");
	world_enrol(&world, ALICE, "refresh-token-1");
	outcome = world_ask(&world, ALICE, device, false);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	world_at_once(&world, device, false, MAUTH_OK);
	fake_store_hold(world.store, true);
	assert_int_equal(
		mauth_devices_remove(mauth_vault_devices(world.vault), CONTOSO, ALICE, "Ricoh", NULL, NULL, NULL),
		MAUTH_OK);
	world_at_once(&world, device, false, MAUTH_BAD_CREDENTIALS);
	free(device);
	vault_world_end(&world);
}

static void a_device_password_of_somebody_else_is_a_wrong_one(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "A");
	device = world_device(&world, BOB, "Ricoh");
	free(world_device(&world, ALICE, "Canon"));
	world_cache(&world, A, TOKEN);
	world_at_once(&world, device, false, MAUTH_BAD_CREDENTIALS);
	free(device);
	vault_world_end(&world);
}

static void who_is_not_trusted_to_verify_opens_nothing(void **state)
{
	struct vault_world world;
	char *device;

	vault_world_open_with(&world, "A");
	device = world_device(&world, ALICE, "Ricoh");
	world_cache(&world, A, TOKEN);
	world.w.tenant->verified_by_device = false;
	world_at_once(&world, device, false, MAUTH_BAD_CREDENTIALS);
	world_at_once(&world, GOOD, true, MAUTH_OK);
	world.w.tenant->verified_by_dovecot = false;
	world_at_once(&world, GOOD, true, MAUTH_BAD_CREDENTIALS);
	free(device);
	vault_world_end(&world);
}

static void a_device_password_does_not_go_to_entra_where_a_rule_wants_passwords(void **state)
{
	struct vault_world world;
	struct mauth_rule *rule;
	char *device;

	vault_world_open_with(&world, "A");
	device = world_device(&world, ALICE, "Ricoh");
	rule = vault_world_rule(&world);
	rule->grants[0] = P;
	rule->grants_count = 1;
	world_at_once(&world, device, false, MAUTH_INTERACTION);
	free(device);
	vault_world_end(&world);
}

static void a_chosen_password_is_hashed_once_while_the_login_waits(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	vault_world_open_with(&world, "A");
	world_chosen_device(&world, ALICE, "self-service from 192.0.2.7", "Sommer2026");
	world_cache(&world, A, TOKEN);
	fake_worker_hold(world.worker, true);
	world_start_verified(&world, ALICE, "Sommer2026", false, &outcome);
	world_turn(&world.w);
	assert_int_equal(outcome.calls, 0);
	fake_worker_hold(world.worker, false);
	world_turn(&world.w);
	world_ended(&outcome, MAUTH_OK);
	fake_worker_hold(world.worker, true);
	world_at_once(&world, "Sommer2026", false, MAUTH_OK);
	world_at_once(&world, "Winter2026", false, MAUTH_BAD_CREDENTIALS);
	vault_world_end(&world);
}

static void a_login_waits_for_scrypt_no_longer_than_its_deadline(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 }, gone = { 0 };

	vault_world_open_with(&world, "A");
	world_chosen_device(&world, ALICE, "self-service from 192.0.2.7", "Sommer2026");
	world_cache(&world, A, TOKEN);
	fake_worker_hold(world.worker, true);
	world_start_verified(&world, ALICE, "Sommer2026", false, &outcome);
	world_start_verified(&world, ALICE, "Sommer2026", false, &gone);
	world_turn(&world.w);
	mauth_login_cancel(&gone.login);
	fake_loop_run(world.w.loop, 20000);
	world_ended(&outcome, MAUTH_TIMEOUT);
	assert_int_equal(gone.calls, 0);
	vault_world_end(&world);
}

/* -- the application's token -------------------------------------------------------------------------------- */

static void one_request_is_enough_for_all_mailboxes(void **state)
{
	static const char *const users[] = { ALICE, BOB, CAROL };
	struct vault_world world;
	struct outcome outcomes[3] = { { 0 } };

	vault_world_open_with(&world, "A");
	for (size_t i = 0; i < 3; i++)
		world_start_verified(&world, users[i], GOOD, true, &outcomes[i]);
	world_turn(&world.w);
	assert_int_equal(fake_http_open(world.w.http), 1);
	assert_non_null(strstr(fake_http_form(world.w.http), "grant_type=client_credentials"));
	assert_non_null(strstr(fake_http_form(world.w.http), "scope=https%3A%2F%2Foutlook.example%2F.default"));
	fake_http_token(world.w.http, "app", 3600);
	world_turn(&world.w);
	for (size_t i = 0; i < 3; i++) {
		world_ended(&outcomes[i], MAUTH_OK);
		assert_string_equal(outcomes[i].mailbox, users[i]);
		assert_string_equal(outcomes[i].token, outcomes[0].token);
	}
	world_at_once(&world, GOOD, true, MAUTH_OK);
	vault_world_end(&world);
}

static enum mauth_status report(struct vault_world *world, const char *user, const char *token_id,
				enum mauth_upstream_result result)
{
	const struct mauth_upstream_report said = {
		.user = user, .mailbox = user, .service = MAUTH_SERVICE_IMAP, .result = result, .reply = "no",
		.token_id = token_id, .session = "session-1", .host = "imap.outlook.example", .port = 993,
	};

	mauth_broker_upstream(world->w.broker, &said);
	return mauth_broker_record_reports(world->w.broker, NULL);
}

static void one_refused_mailbox_does_not_drop_the_applications_token_but_three_do(void **state)
{
	struct vault_world world;
	struct outcome outcome;

	vault_world_open_with(&world, "A");
	world_cache(&world, A, TOKEN);
	outcome = world_at_once(&world, GOOD, true, MAUTH_OK);
	report(&world, ALICE, outcome.token_id, MAUTH_UPSTREAM_REFUSED);
	report(&world, BOB, outcome.token_id, MAUTH_UPSTREAM_REFUSED);
	report(&world, CAROL, outcome.token_id, MAUTH_UPSTREAM_ACCEPTED);
	report(&world, ALICE, outcome.token_id, MAUTH_UPSTREAM_REFUSED);
	report(&world, BOB, outcome.token_id, MAUTH_UPSTREAM_REFUSED);
	fake_loop_run(world.w.loop, 600000);
	world_at_once(&world, GOOD, true, MAUTH_OK);
	report(&world, CAROL, outcome.token_id, MAUTH_UPSTREAM_REFUSED);
	/* Not with every login, if Exchange wants none at all. */
	world_at_once(&world, GOOD, true, MAUTH_OK);
	fake_loop_run(world.w.loop, 120000);
	world_ask(&world, ALICE, GOOD, true);
	fake_http_token(world.w.http, "app", 3600);
	world_turn(&world.w);
	vault_world_end(&world);
}

/* -- what is cached, for whom ------------------------------------------------------------------------------- */

static void a_token_that_is_bound_to_no_password_answers_no_password(void **state)
{
	struct vault_world world;
	struct mauth_cache_entry *entry;
	struct outcome *outcome;

	vault_world_open_with(&world, "P");
	world_cache(&world, P, TOKEN);
	entry = mauth_cache_find(mauth_broker_cache(world.w.broker), world.w.tenant->keys[P], ALICE);
	entry->bound = false;
	outcome = world_ask(&world, ALICE, GOOD, false);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	assert_false(outcome->cached);
	vault_world_end(&world);
}

static void a_token_that_is_bound_to_a_password_answers_no_enrolment(void **state)
{
	struct vault_world world;
	struct mauth_cache_entry *entry;
	struct outcome *outcome;

	vault_world_open_with(&world, "E");
	world_enrol(&world, ALICE, "refresh-token-1");
	world_cache(&world, E, TOKEN);
	entry = mauth_cache_find(mauth_broker_cache(world.w.broker), world.w.tenant->keys[E], ALICE);
	entry->bound = true;
	outcome = world_ask(&world, ALICE, GOOD, true);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	assert_false(outcome->cached);
	vault_world_end(&world);
}

/* -- one way after the other -------------------------------------------------------------------------------- */

static void the_record_says_why_a_grant_was_skipped(void **state)
{
	struct vault_world world;
	struct outcome *outcome;
	char *device;

	vault_world_open_with(&world, "EPA");
	device = world_device(&world, ALICE, "Ricoh");
	outcome = world_ask(&world, ALICE, device, false);
	fake_http_token(world.w.http, "app", 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	assert_non_null(strstr(world.w.sinks.records,
			       "enrolled: not enrolled; password: a device password is none of Entra's"));
	free(device);
	vault_world_end(&world);
}

static void an_outage_of_one_way_leaves_the_next_one_open(void **state)
{
	static const struct {
		unsigned int status;
		int code;
		bool goes_on;
	} rows[] = {
		{ 400, 50173, true },           /* the enrolment is dead */
		{ 400, 700082, true },
		{ 400, 70011, true },           /* our set-up */
		{ 400, 50057, false },          /* the user is disabled */
		{ 400, 50076, false },          /* MFA */
		{ 400, 53003, false },          /* conditional access */
		{ 400, 50053, false },          /* locked */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vault_world world;
		struct outcome *outcome;

		vault_world_open_with(&world, "EA");
		world_enrol(&world, ALICE, "refresh-token-1");
		outcome = world_ask(&world, ALICE, GOOD, true);
		fake_http_aadsts(world.w.http, rows[i].status, "invalid_grant", rows[i].code);
		world_turn(&world.w);
		if ((fake_http_open(world.w.http) == 1) != rows[i].goes_on)
			fail_msg("AADSTS%d", rows[i].code);
		if (rows[i].goes_on)
			fake_http_token(world.w.http, "app", 3600);
		world_turn(&world.w);
		assert_int_equal(outcome->calls, 1);
		assert_int_equal(outcome->status == MAUTH_OK, rows[i].goes_on);
		vault_world_end(&world);
	}
}

static void a_disabled_user_gets_nothing_within_the_minute_either(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "EA");
	world_enrol(&world, ALICE, "refresh-token-1");
	world_cache(&world, A, TOKEN);
	outcome = world_ask(&world, ALICE, GOOD, true);
	fake_http_aadsts(world.w.http, 400, "invalid_grant", 50057);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_DISABLED);
	world_at_once(&world, GOOD, true, MAUTH_DISABLED);
	assert_int_equal(world_count(world.w.sinks.records, "\"remembered refusal\""), 1);
	fake_loop_run(world.w.loop, 60000);
	world_ask(&world, ALICE, GOOD, true);
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	vault_world_end(&world);
}

static void an_outage_of_the_last_way_is_answered_with_the_first_ones_reason(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "EA");
	world_enrol(&world, ALICE, "refresh-token-1");
	outcome = world_ask(&world, ALICE, GOOD, true);
	fake_http_fail(world.w.http, MAUTH_TIMEOUT);
	world_turn(&world.w);
	assert_int_equal(fake_http_open(world.w.http), 1);
	fake_http_fail(world.w.http, MAUTH_TIMEOUT);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_TIMEOUT);
	vault_world_end(&world);
}

/* -- two credentials ---------------------------------------------------------------------------------------- */

static void add_secret(struct mauth_tenant *tenant, const char *secret)
{
	struct mauth_credential *credential = &tenant->credentials[tenant->credentials_count++];

	credential->secret = mauth_secret_new(secret, strlen(secret));
	credential->path = mauth_strdup("/etc/modernauth.second");
}

static void a_refused_secret_makes_room_for_the_next_one(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "A");
	add_secret(world.w.tenant, "second-value");
	outcome = world_ask(&world, ALICE, GOOD, true);
	assert_non_null(strstr(fake_http_form(world.w.http), "client_secret=client-secret-value"));
	fake_http_aadsts(world.w.http, 401, "invalid_client", 7000222);
	assert_int_equal(fake_http_open(world.w.http), 1);
	assert_non_null(strstr(fake_http_form(world.w.http), "client_secret=second-value"));
	fake_http_token(world.w.http, "app", 60);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	/* The next one begins with it. */
	fake_loop_run(world.w.loop, 60000);
	world_ask(&world, ALICE, GOOD, true);
	assert_non_null(strstr(fake_http_form(world.w.http), "client_secret=second-value"));
	fake_http_token(world.w.http, "app", 3600);
	world_turn(&world.w);
	vault_world_end(&world);
}

static void two_refused_secrets_are_one_error_and_no_loop(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_open_with(&world, "A");
	add_secret(world.w.tenant, "second-value");
	outcome = world_ask(&world, ALICE, GOOD, true);
	fake_http_aadsts(world.w.http, 401, "invalid_client", 7000222);
	fake_http_aadsts(world.w.http, 401, "invalid_client", 7000215);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_CONFIG);
	assert_int_equal(fake_http_started(world.w.http), 2);
	world_at_once(&world, GOOD, true, MAUTH_CONFIG);
	assert_int_equal(world_count(world.w.sinks.lines, "using "), 1);
	vault_world_end(&world);
}

static void a_refused_certificate_makes_room_for_a_secret(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	vault_world_begin(&world);
	vault_world_grants(world.w.tenant, "A");
	test_config_sign(world.w.tenant);
	add_secret(world.w.tenant, "second-value");
	vault_world_open(&world);
	outcome = world_ask(&world, ALICE, GOOD, true);
	for (unsigned int i = 0; i < 2; i++) {
		/* PS256, then RS256 */
		assert_non_null(strstr(fake_http_form(world.w.http), "client_assertion="));
		fake_http_aadsts(world.w.http, 401, "invalid_client", 700027);
	}
	assert_non_null(strstr(fake_http_form(world.w.http), "client_secret=second-value"));
	fake_http_token(world.w.http, "app", 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	vault_world_end(&world);
}

/* -- the client's own token --------------------------------------------------------------------------------- */

static void bring_token(struct vault_world *world, const char *token, struct outcome *outcome)
{
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_IMAP,
		.mechanism = "XOAUTH2",
		.client_ip = "192.0.2.7",
		.password_is_token = true,
	};

	world_start_as(&world->w, ALICE, token, &attempt, outcome);
	world_turn(&world->w);
	assert_int_equal(fake_http_started(world->w.http), 0);
}

static void a_clients_token_is_passed_unchanged(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	vault_world_open_with(&world, "E");
	bring_token(&world, "eyJ0.opaque.token-of-the-client", &outcome);
	world_ended(&outcome, MAUTH_OK);
	assert_string_equal(outcome.token, "eyJ0.opaque.token-of-the-client");
	assert_string_equal(outcome.mailbox, ALICE);
	assert_int_equal(outcome.verified_by, MAUTH_VERIFIED_CLIENT_TOKEN);
	assert_non_null(strstr(world.w.sinks.records, "client-token"));
	/* Nobody else gets it. */
	world_at_once(&world, "eyJ0.opaque.token-of-the-client", false, MAUTH_BAD_CREDENTIALS);
	vault_world_end(&world);
}

static void a_token_that_would_break_the_line_is_refused(void **state)
{
	static const char *const tokens[] = { "two\r\nlines", "with blank", "\x01", "caf\xc3\xa9", "" };
	struct vault_world world;

	vault_world_open_with(&world, "P");
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		struct outcome outcome = { 0 };

		bring_token(&world, tokens[i], &outcome);
		world_ended(&outcome, MAUTH_BAD_CREDENTIALS);
	}
	vault_world_end(&world);
}

static void where_client_tokens_are_off_none_is_passed(void **state)
{
	struct vault_world world;
	struct outcome outcome = { 0 };

	vault_world_open_with(&world, "P");
	world.w.tenant->client_tokens = false;
	bring_token(&world, "eyJ0.opaque.token-of-the-client", &outcome);
	world_ended(&outcome, MAUTH_POLICY);
	vault_world_end(&world);
}

/* -- federated domains -------------------------------------------------------------------------------------- */

static void begin_with_realm(struct vault_world *world)
{
	vault_world_begin(world);
	world->w.tenant->user_realm = true;
	vault_world_grants(world->w.tenant, "EP");
	vault_world_open(world);
}

static void a_federated_users_password_is_not_sent_where_another_way_may_be_open(void **state)
{
	struct vault_world world;
	struct outcome *outcome, again;
	char *device;

	begin_with_realm(&world);
	outcome = world_ask(&world, ALICE, GOOD, false);
	assert_non_null(strstr(fake_http_url(world.w.http), "/common/userrealm/"));
	fake_http_reply(world.w.http, 200, "{\"account_type\":\"Federated\"}", "");
	world_turn(&world.w);
	/* Nobody can say whether it is right. */
	world_ended(outcome, MAUTH_CONFIG);
	assert_non_null(strstr(outcome->error.text, "contoso.com is federated"));
	assert_non_null(strstr(world.w.sinks.records, "password: the domain is federated"));
	assert_int_equal(fake_http_started(world.w.http), 1);
	again = world_at_once(&world, WRONG, false, MAUTH_CONFIG);
	assert_int_equal(again.calls, 1);
	/* Who has device passwords should have sent one. */
	device = world_device(&world, ALICE, "phone");
	world_at_once(&world, WRONG, false, MAUTH_BAD_CREDENTIALS);
	free(device);
	vault_world_end(&world);
}

static void a_managed_users_password_is_sent_once_that_is_known(void **state)
{
	struct vault_world world;
	struct outcome *outcome;

	begin_with_realm(&world);
	outcome = world_ask(&world, ALICE, GOOD, false);
	fake_http_reply(world.w.http, 200, "{\"account_type\":\"Managed\"}", "");
	world_turn(&world.w);
	assert_int_equal(outcome->calls, 0);
	assert_non_null(strstr(fake_http_form(world.w.http), "grant_type=password"));
	fake_http_token(world.w.http, ALICE, 3600);
	world_turn(&world.w);
	world_ended(outcome, MAUTH_OK);
	vault_world_end(&world);
}

static void who_waits_for_the_realm_waits_no_longer_than_his_deadline(void **state)
{
	struct vault_world world;
	struct mauth_attempt attempt = { .service = MAUTH_SERVICE_IMAP, .timeout_msecs = 2000 };
	struct outcome outcome = { 0 };

	begin_with_realm(&world);
	world_start_as(&world.w, ALICE, GOOD, &attempt, &outcome);
	world_turn(&world.w);
	fake_loop_run(world.w.loop, 2000);
	world_ended(&outcome, MAUTH_TIMEOUT);
	fake_http_reply(world.w.http, 200, "{\"account_type\":\"Managed\"}", "");
	world_turn(&world.w);
	assert_int_equal(outcome.calls, 1);
	vault_world_end(&world);
}


int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_for_whom_the_table_says_and_for_nobody_else),
		cmocka_unit_test(a_wrong_password_gets_nothing_at_the_thousandth_time_either),
		cmocka_unit_test(a_removed_device_stops_at_once_although_its_token_is_cached),
		cmocka_unit_test(a_device_password_of_somebody_else_is_a_wrong_one),
		cmocka_unit_test(who_is_not_trusted_to_verify_opens_nothing),
		cmocka_unit_test(a_device_password_does_not_go_to_entra_where_a_rule_wants_passwords),
		cmocka_unit_test(a_chosen_password_is_hashed_once_while_the_login_waits),
		cmocka_unit_test(a_login_waits_for_scrypt_no_longer_than_its_deadline),
		cmocka_unit_test(one_request_is_enough_for_all_mailboxes),
		cmocka_unit_test(one_refused_mailbox_does_not_drop_the_applications_token_but_three_do),
		cmocka_unit_test(a_token_that_is_bound_to_no_password_answers_no_password),
		cmocka_unit_test(a_token_that_is_bound_to_a_password_answers_no_enrolment),
		cmocka_unit_test(the_record_says_why_a_grant_was_skipped),
		cmocka_unit_test(an_outage_of_one_way_leaves_the_next_one_open),
		cmocka_unit_test(a_disabled_user_gets_nothing_within_the_minute_either),
		cmocka_unit_test(an_outage_of_the_last_way_is_answered_with_the_first_ones_reason),
		cmocka_unit_test(a_refused_secret_makes_room_for_the_next_one),
		cmocka_unit_test(two_refused_secrets_are_one_error_and_no_loop),
		cmocka_unit_test(a_refused_certificate_makes_room_for_a_secret),
		cmocka_unit_test(a_clients_token_is_passed_unchanged),
		cmocka_unit_test(a_token_that_would_break_the_line_is_refused),
		cmocka_unit_test(where_client_tokens_are_off_none_is_passed),
		cmocka_unit_test(a_federated_users_password_is_not_sent_where_another_way_may_be_open),
		cmocka_unit_test(a_managed_users_password_is_sent_once_that_is_known),
		cmocka_unit_test(who_waits_for_the_realm_waits_no_longer_than_his_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
