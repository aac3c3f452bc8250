/* SPDX-License-Identifier: MIT */
#include "broker_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void world_begin(struct world *world)
{
	memset(world, 0, sizeof(*world));
	world->loop = fake_loop_new(WORLD_WALL);
	world->http = fake_http_new(world->loop);
	fake_sinks_init(&world->sinks);
	world->config = test_config_new();
	world->tenant = world->config->tenants[0];
}

void world_open(struct world *world)
{
	struct mauth_host host = {
		.loop = fake_loop_loop(world->loop), .http = fake_http_http(world->http),
		.log = &world->sinks.log, .audit = &world->sinks.audit,
		.worker = world->worker, .files = world->files,
		.run = world->run,
	};

	world->broker = mauth_broker_new(&host, world->config, NULL);
}

void world_secret(struct world *world, const char *text)
{
	for (size_t i = 0; i < world->secrets_count; i++) {
		if (strcmp(world->secrets[i], text) == 0)
			return;
	}
	if (*text != '\0' && world->secrets_count < sizeof(world->secrets) / sizeof(world->secrets[0]))
		world->secrets[world->secrets_count++] = strdup(text);
}

void world_end(struct world *world)
{
	struct mauth_broker_stats stats;

	mauth_broker_stats(world->broker, &stats);
	assert_int_equal(stats.open, 0);
	mauth_broker_free(&world->broker);
	mauth_config_unref(&world->config);
	fake_http_free(&world->http);
	fake_loop_free(&world->loop);
	for (size_t i = 0; i < world->secrets_count; i++) {
		assert_null(strstr(world->sinks.lines, world->secrets[i]));
		assert_null(strstr(world->sinks.events, world->secrets[i]));
		assert_null(strstr(world->sinks.records, world->secrets[i]));
		free(world->secrets[i]);
	}
	fake_sinks_free(&world->sinks);
}

static void login_done(const struct mauth_grant *grant, const struct mauth_error *error, void *context)
{
	struct outcome *outcome = context;

	outcome->calls++;
	outcome->records = outcome->world->sinks.records_count;
	assert_true((grant == NULL) != (error == NULL));
	if (grant != NULL && grant->checked) {
		outcome->checked = true;
		outcome->status = MAUTH_OK;
		assert_true(grant->token == NULL && grant->token_id == NULL && grant->endpoint == NULL);
	} else if (grant != NULL) {
		outcome->basic = grant->token == NULL;
		if (!outcome->basic)
			snprintf(outcome->token, sizeof(outcome->token), "%s", mauth_secret_expose(grant->token));
		snprintf(outcome->token_id, sizeof(outcome->token_id), "%s", grant->token_id);
		snprintf(outcome->mailbox, sizeof(outcome->mailbox), "%s", grant->mailbox);
		snprintf(outcome->host, sizeof(outcome->host), "%s", grant->endpoint->host);
		outcome->port = grant->endpoint->port;
		outcome->cached = grant->cached;
		outcome->verified_by = grant->verified_by;
		outcome->expires_at = grant->expires_at;
		outcome->status = MAUTH_OK;
		if (!outcome->basic)
			world_secret(outcome->world, outcome->token);
	} else {
		assert_int_not_equal(error->status, MAUTH_OK);
		outcome->status = error->status;
		outcome->error = *error;
	}
	if (outcome->then != NULL)
		outcome->then(outcome);
	outcome->login = NULL;
}

void world_start_as(struct world *world, const char *user, const char *password, struct mauth_attempt *attempt,
		    struct outcome *outcome)
{
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));

	*outcome = (struct outcome){ .world = world, .then = outcome->then, .context = outcome->context };
	outcome->status = MAUTH_STATUS_COUNT;
	world_secret(world, password);
	attempt->user = user;
	attempt->password = secret;
	outcome->login = mauth_login_start(world->broker, attempt, login_done, outcome);
	assert_int_equal(outcome->calls, 0);
	mauth_secret_free(&secret);
}

struct mauth_rule *world_rule(struct world *world, const char *name)
{
	struct mauth_config *config = world->config;
	struct mauth_rule *rule = mauth_new(sizeof(*rule));

	rule->name = mauth_strdup(name);
	config->rules = mauth_grow(config->rules, config->rules_count + 1, sizeof(struct mauth_rule *));
	config->rules[config->rules_count++] = rule;
	mauth_policy_index_free(&config->policy_index);
	config->policy_index = mauth_policy_index_new(config->rules, config->rules_count);
	return rule;
}

void world_start(struct world *world, const char *user, const char *password, struct outcome *outcome)
{
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN", .client_ip = "192.0.2.7", .client_port = 40000,
		.local_ip = "198.51.100.1", .local_port = 993, .tls = true, .session = "session-1",
	};

	world_start_as(world, user, password, &attempt, outcome);
}

unsigned int world_count(const char *hay, const char *needle)
{
	unsigned int count = 0;

	for (const char *at = hay; (at = strstr(at, needle)) != NULL; at += strlen(needle))
		count++;
	return count;
}

const char *world_bad(unsigned int number)
{
	static char password[24];

	snprintf(password, sizeof(password), "wr0ng-%u", number);
	return password;
}

void world_turn(struct world *world)
{
	fake_loop_run(world->loop, 0);
}

void world_ended(const struct outcome *outcome, enum mauth_status status)
{
	assert_int_equal(outcome->calls, 1);
	assert_string_equal(mauth_status_name(outcome->status), mauth_status_name(status));
}

struct outcome world_login(struct world *world, const char *user, const char *password)
{
	/* The callback must find it should the test have to leave early. */
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	world_start(world, user, password, &outcome);
	world_turn(world);
	return outcome;
}

void world_expect(struct world *world, const char *user, const char *password, enum mauth_status status)
{
	unsigned int started = fake_http_started(world->http);
	struct outcome outcome = world_login(world, user, password);

	world_ended(&outcome, status);
	assert_int_equal(fake_http_started(world->http), started);
}

struct outcome world_fetch(struct world *world, const char *user, const char *password, unsigned int expires_in)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	world_start(world, user, password, &outcome);
	world_turn(world);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_http_open(world->http), 1);
	fake_http_token(world->http, user, expires_in);
	assert_int_equal(outcome.calls, 0);
	world_turn(world);
	world_ended(&outcome, MAUTH_OK);
	return outcome;
}

struct outcome world_refuse(struct world *world, const char *user, const char *password, int code)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	world_start(world, user, password, &outcome);
	world_turn(world);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_http_open(world->http), 1);
	fake_http_aadsts(world->http, 400, "invalid_grant", code);
	world_turn(world);
	assert_int_equal(outcome.calls, 1);
	return outcome;
}

void world_expect_renewal(struct world *world)
{
	struct outcome outcome = world_login(world, ALICE, GOOD);

	world_ended(&outcome, MAUTH_OK);
	assert_true(outcome.cached);
	assert_int_equal(fake_http_open(world->http), 1);
}

enum mauth_status world_report(struct world *world, const char *token_id, enum mauth_upstream_result result)
{
	struct mauth_upstream_report report = {
		.user = ALICE, .mailbox = ALICE, .service = MAUTH_SERVICE_IMAP, .result = result,
		.reply = "AUTHENTICATE failed.", .token_id = token_id, .session = "session-1",
		.host = "imap.outlook.example", .port = 993,
	};
	struct mauth_error error;

	mauth_broker_upstream(world->broker, &report);
	return mauth_broker_record_reports(world->broker, &error);
}
