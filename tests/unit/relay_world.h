/* SPDX-License-Identifier: MIT */
#ifndef RELAY_WORLD_H
#define RELAY_WORLD_H
/* A vault_world in which an MTA asks for tokens. */

#include "core/relay.h"
#include "core/relay-keys.h"
#include "vault_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct relay_change {
	unsigned int calls;
	bool failed;
	char id[MAUTH_RELAY_KEY_ID_SIZE], text[MAUTH_TEXT_MAX];
};

static inline void relay_changed(const struct mauth_relay_key *key, const struct mauth_error *error, void *context)
{
	struct relay_change *change = context;

	change->calls++;
	change->failed = error != NULL;
	snprintf(change->text, sizeof(change->text), "%s", error == NULL ? "" : error->text);
	snprintf(change->id, sizeof(change->id), "%s", key->id);
}

static inline struct mauth_relay_keys *relay_keys_of(const struct vault_world *world)
{
	return mauth_vault_relay_keys(world->vault);
}

/* A key for one pattern; the caller frees. */
static inline char *relay_key(struct vault_world *world, const char *name, const char *identity, int64_t expires_at)
{
	const struct mauth_relay_key_new new = {
		.name = name, .identities = &identity, .identities_count = 1, .expires_at = expires_at, .by = "root",
	};
	struct relay_change change = { 0 };
	struct mauth_secret *secret = NULL;
	struct mauth_error error;
	char *key;

	if (mauth_relay_keys_add(relay_keys_of(world), &new, &secret, relay_changed, &change, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	assert_int_equal(change.calls, 0);
	world_turn(&world->w);
	assert_int_equal(change.calls, 1);
	assert_false(change.failed);
	key = strdup(mauth_secret_expose(secret));
	world_secret(&world->w, key);
	mauth_secret_free(&secret);
	return key;
}

/* The MTA asks, and it goes as far as it goes without Entra. */
static inline void relay_start(struct vault_world *world, const char *identity, const char *key, unsigned int min_life,
			       struct outcome *outcome)
{
	const struct mauth_relay_client client = {
		.pid = 4711, .uid = 107, .program = "postfix/smtp", .host = "smtp.office365.com", .min_life_secs = min_life,
	};
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_SUBMISSION, .session = "queue-1", .relay = &client,
	};

	world_start_as(&world->w, identity, key, &attempt, outcome);
	world_turn(&world->w);
}

static inline struct outcome relay_ask(struct vault_world *world, const char *identity, const char *key,
				       enum mauth_status status)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	relay_start(world, identity, key, 600, &outcome);
	world_ended(&outcome, status);
	return outcome;
}

/* Entra is asked, and answers. */
static inline struct outcome relay_fetch(struct vault_world *world, const char *identity, const char *key,
					 unsigned int min_life, unsigned int expires_in)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	relay_start(world, identity, key, min_life, &outcome);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_http_open(world->w.http), 1);
	/* The same octets would be the same token. */
	fake_http_token(world->w.http, identity, expires_in);
	world_turn(&world->w);
	world_ended(&outcome, MAUTH_OK);
	return outcome;
}

static inline const char *last_record(const struct vault_world *world)
{
	const char *at = world->w.sinks.records, *last = at;

	for (const char *end = at; (end = strchr(end, '\n')) != NULL && end[1] != '\0'; end++)
		last = end + 1;
	return last;
}

static inline void expect_last(const struct vault_world *world, const char *text)
{
	if (strstr(last_record(world), text) == NULL)
		fail_msg("no %s in %s", text, last_record(world));
}

#endif
