/* SPDX-License-Identifier: MIT */
#include "vault_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char GRANT_LETTERS[] = "PEA";

/* -- the key file ------------------------------------------------------------------------------------------- */

static enum mauth_status read_keys(void *context, struct mauth_secret **text_r, struct mauth_error *error_r)
{
	const struct vault_world *world = context;

	if (world->keys == NULL)
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, 2, "no such file");
	*text_r = mauth_secret_new(world->keys, strlen(world->keys));
	return MAUTH_OK;
}

static enum mauth_status write_keys(void *context, const struct mauth_secret *text, bool create_only,
				    struct mauth_error *error_r)
{
	struct vault_world *world = context;

	if (world->keys_read_only)
		return mauth_fail(error_r, MAUTH_CONFIG, 30, "the key file is a credential of systemd");
	if (create_only && world->keys != NULL)
		return mauth_fail(error_r, MAUTH_CONFIG, 17, "the key file is there already");
	free(world->keys);
	world->keys = mauth_strndup(mauth_secret_expose(text), mauth_secret_size(text));
	world->key_writes++;
	return MAUTH_OK;
}

/* -- the whole ---------------------------------------------------------------------------------------------- */

void vault_world_begin(struct vault_world *world)
{
	memset(world, 0, sizeof(*world));
	world_begin(&world->w);
	world->store = fake_store_new(fake_loop_loop(world->w.loop));
	world->worker = fake_worker_new(fake_loop_loop(world->w.loop));
	world->key_file = (struct mauth_key_file){
		.read = read_keys, .write = write_keys, .name = "/var/lib/modernauth/modernauth.key", .context = world,
	};
}

enum mauth_status vault_world_try(struct vault_world *world, struct mauth_error *error_r)
{
	const struct mauth_vault_deps deps = {
		.loop = fake_loop_loop(world->w.loop),
		.log = &world->w.sinks.log,
		.store = fake_store_store(world->store),
		.worker = fake_worker_worker(world->worker),
		.key_file = &world->key_file,
		.process_key = mauth_broker_key(world->w.broker),
		.config = world->w.config,
	};
	enum mauth_status status = mauth_vault_open(&deps, &world->vault, error_r);

	mauth_broker_set_vault(world->w.broker, status == MAUTH_OK ? world->vault : NULL,
			       status == MAUTH_OK ? NULL : error_r);
	return status;
}

void vault_world_open_without(struct vault_world *world, const struct mauth_error *error)
{
	world_open(&world->w);
	mauth_broker_set_vault(world->w.broker, NULL, error);
}

void vault_world_open(struct vault_world *world)
{
	struct mauth_error error;

	world_open(&world->w);
	if (vault_world_try(world, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	world_turn(&world->w);
}

void vault_world_close(struct vault_world *world)
{
	struct mauth_error error;

	mauth_fail(&error, MAUTH_TEMPORARY, 0, "the store is closed");
	mauth_broker_set_vault(world->w.broker, NULL, &error);
	mauth_vault_free(&world->vault);
	fake_store_hold(world->store, false);
	while (fake_store_finish(world->store) > 0)
		;
	fake_worker_hold(world->worker, false);
	while (fake_worker_run(world->worker, 1) > 0)
		;
}

void vault_world_restart(struct vault_world *world)
{
	vault_world_close(world);
	mauth_broker_free(&world->w.broker);
	vault_world_open(world);
}

void vault_world_end(struct vault_world *world)
{
	vault_world_close(world);
	for (size_t i = 0; i < world->w.secrets_count; i++) {
		if (strstr(fake_store_history(world->store), world->w.secrets[i]) != NULL)
			fail_msg("the store was told \"%s\" in clear", world->w.secrets[i]);
	}
	fake_store_free(&world->store);
	fake_worker_free(&world->worker);
	free(world->keys);
	world_end(&world->w);
}

/* -- what it has -------------------------------------------------------------------------------------------- */

struct mauth_rule *vault_world_rule(struct vault_world *world)
{
	return world_rule(&world->w, "everybody");
}

void vault_world_grants(struct mauth_tenant *tenant, const char *letters)
{
	tenant->grants_count = strlen(letters);
	for (size_t i = 0; letters[i] != '\0'; i++)
		tenant->grants[i] = (enum mauth_grant_type)(strchr(GRANT_LETTERS, letters[i]) - GRANT_LETTERS);
}

void vault_world_open_with(struct vault_world *world, const char *letters)
{
	vault_world_begin(world);
	vault_world_grants(world->w.tenant, letters);
	vault_world_open(world);
}

static void must_be_written(const struct mauth_error *error, void *context)
{
	if (error != NULL)
		fail_msg("%s", error->text);
	++*(unsigned int *)context;
}

void world_enrol(struct vault_world *world, const char *account, const char *token)
{
	struct mauth_secret *secret = mauth_secret_new(token, strlen(token));
	const struct mauth_enrolment_new what = {
		.tenant = world->w.tenant, .account = account, .oid = "oid-1", .refresh_token = secret,
	};
	unsigned int calls = 0;

	world_secret(&world->w, token);
	mauth_enrolments_put(mauth_vault_enrolments(world->vault), &what, must_be_written, &calls);
	assert_int_equal(calls, 0);
	world_turn(&world->w);
	assert_int_equal(calls, 1);
	mauth_secret_free(&secret);
}

static void device_written(const char *id, const struct mauth_error *error, void *context)
{
	(void)id;
	must_be_written(error, context);
}

char *world_device(struct vault_world *world, const char *user, const char *name)
{
	const struct mauth_device_new device = { .tenant = CONTOSO, .user = user, .name = name };
	struct mauth_secret *secret = NULL;
	struct mauth_error error;
	unsigned int calls = 0;
	char *password;

	if (mauth_devices_add(mauth_vault_devices(world->vault), &device, &secret, device_written, &calls, &error) !=
	    MAUTH_OK)
		fail_msg("%s", error.text);
	world_turn(&world->w);
	assert_int_equal(calls, 1);
	password = mauth_strdup(mauth_secret_expose(secret));
	world_secret(&world->w, password);
	mauth_secret_free(&secret);
	return password;
}

static void keep_hash(const char *hash, void *context)
{
	assert_non_null(hash);
	*(char **)context = mauth_strdup(hash);
}

void world_chosen_device(struct vault_world *world, const char *user, const char *name, const char *password)
{
	const struct mauth_device_new device = { .tenant = CONTOSO, .user = user, .name = name };
	struct mauth_devices *devices = mauth_vault_devices(world->vault);
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));
	unsigned int calls = 0;
	char *hash = NULL;

	assert_int_equal(mauth_devices_hash(devices, secret, keep_hash, &hash, NULL), MAUTH_OK);
	world_turn(&world->w);
	assert_int_equal(mauth_devices_add_hashed(devices, &device, hash, device_written, &calls, NULL), MAUTH_OK);
	world_turn(&world->w);
	assert_int_equal(calls, 1);
	world_secret(&world->w, password);
	mauth_secret_free(&secret);
	free(hash);
}

void world_device_remove(struct vault_world *world, const char *user, const char *name)
{
	unsigned int calls = 0;

	assert_int_equal(mauth_devices_remove(mauth_vault_devices(world->vault), CONTOSO, user, name, device_written,
					      &calls, NULL), MAUTH_OK);
	world_turn(&world->w);
	assert_int_equal(calls, 1);
}

const struct mauth_enrolment *world_enrolment(struct vault_world *world, const char *account)
{
	return mauth_enrolments_find(mauth_vault_enrolments(world->vault), CONTOSO, account);
}

const char *world_refresh_token(struct vault_world *world, const char *account)
{
	static char text[256];
	struct mauth_secret *token = NULL;
	unsigned int generation;

	text[0] = '\0';
	if (mauth_enrolments_token(mauth_vault_enrolments(world->vault), CONTOSO, account, &token, &generation, NULL) ==
	    MAUTH_OK)
		snprintf(text, sizeof(text), "%s", mauth_secret_expose(token));
	mauth_secret_free(&token);
	return text;
}

void world_cache(struct vault_world *world, enum mauth_grant_type grant, const char *text)
{
	struct mauth_secret *password = mauth_secret_new(GOOD, strlen(GOOD)),
			    *token = mauth_secret_new(text, strlen(text));
	const struct mauth_cache_item item = {
		.tenant = world->w.tenant->keys[grant], .upn = grant == MAUTH_GRANT_APP ? "" : ALICE, .token = token,
		.password = grant == MAUTH_GRANT_PASSWORD ? password : NULL, .expires_in = 3600, .refresh_in = 3000,
	};

	mauth_cache_put(mauth_broker_cache(world->w.broker), &item);
	mauth_secret_free(&password);
	mauth_secret_free(&token);
}

void world_refreshed(struct vault_world *world, const char *upn, const char *oid, const char *refresh_token)
{
	world_secret(&world->w, refresh_token);
	fake_http_refreshed(world->w.http, upn, oid, refresh_token, 3600);
}

/* -- attempts ----------------------------------------------------------------------------------------------- */

void world_start_verified(struct vault_world *world, const char *user, const char *password, bool by_dovecot,
			  struct outcome *outcome)
{
	struct mauth_attempt attempt = {
		.service = MAUTH_SERVICE_IMAP, .mechanism = "PLAIN", .client_ip = "192.0.2.7", .session = "session-1",
		.tls = true, .verified_by_dovecot = by_dovecot,
	};

	world_start_as(&world->w, user, password, &attempt, outcome);
}

struct outcome world_try(struct vault_world *world, const char *user, const char *password, bool by_dovecot)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	world_start_verified(world, user, password, by_dovecot, &outcome);
	world_turn(&world->w);
	return outcome;
}

struct outcome world_at_once(struct vault_world *world, const char *password, bool by_dovecot, enum mauth_status status)
{
	unsigned int started = fake_http_started(world->w.http);
	struct outcome outcome = world_try(world, ALICE, password, by_dovecot);

	world_ended(&outcome, status);
	assert_int_equal(fake_http_started(world->w.http), started);
	return outcome;
}

struct outcome *world_ask(struct vault_world *world, const char *user, const char *password, bool by_dovecot)
{
	static struct outcome outcome;

	memset(&outcome, 0, sizeof(outcome));
	world_start_verified(world, user, password, by_dovecot, &outcome);
	world_turn(&world->w);
	assert_int_equal(outcome.calls, 0);
	assert_int_equal(fake_http_open(world->w.http), 1);
	return &outcome;
}
