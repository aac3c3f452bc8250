/* SPDX-License-Identifier: MIT */
#include "devices_world.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void open_devices(struct devices_world *world)
{
	struct mauth_devices_deps deps = {
		.loop = fake_loop_loop(world->loop), .log = &world->sinks.log, .store = fake_store_store(world->store),
		.worker = fake_worker_worker(world->worker), .key = &world->key, .process_key = &world->process_key,
	};

	mauth_verifier_key_new(&world->process_key);
	world->devices = mauth_devices_new(&deps);
}

void devices_begin(struct devices_world *world)
{
	memset(world, 0, sizeof(*world));
	world->loop = fake_loop_new(NOW);
	fake_sinks_init(&world->sinks);
	world->store = fake_store_new(fake_loop_loop(world->loop));
	world->worker = fake_worker_new(fake_loop_loop(world->loop));
	fake_worker_hold(world->worker, true);
	mauth_verifier_key_new(&world->key);
	open_devices(world);
}

static void close_devices(struct devices_world *world)
{
	mauth_devices_free(&world->devices);
	assert_null(world->devices);
	mauth_devices_free(&world->devices);
	while (fake_store_finish(world->store) > 0)
		;
	/* Nobody wants them: they are not computed. */
	while (fake_worker_run(world->worker, 1) > 0)
		;
}

void devices_end(struct devices_world *world)
{
	close_devices(world);
	fake_store_free(&world->store);
	fake_worker_free(&world->worker);
	fake_loop_free(&world->loop);
	fake_sinks_free(&world->sinks);
	free(world->hash);
}

static enum mauth_status load(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	return mauth_devices_load(context, row, error_r);
}

void devices_restart(struct devices_world *world)
{
	struct mauth_error error;

	close_devices(world);
	open_devices(world);
	if (mauth_store_each(fake_store_store(world->store), MAUTH_DEVICE_KIND, load, world->devices, &error) !=
	    MAUTH_OK)
		fail_msg("%s", error.text);
}

void devices_sleep(struct devices_world *world, unsigned int secs)
{
	fake_loop_run(world->loop, secs * 1000);
}

void devices_changed(const char *id, const struct mauth_error *error, void *context)
{
	struct devices_world *world = context;

	world->changes++;
	snprintf(world->id, sizeof(world->id), "%s", id);
	if (error == NULL)
		memset(&world->error, 0, sizeof(world->error));
	else
		world->error = *error;
}

void devices_called(void *context)
{
	((struct devices_world *)context)->calls++;
}

static enum mauth_device_answer ask(struct devices_world *world, const struct mauth_device_question *question)
{
	const struct mauth_device *const none = (const struct mauth_device *)world;
	enum mauth_device_answer answer;
	bool has_device, is_refused;

	world->device = none;
	memset(&world->refusal, 0, sizeof(world->refusal));
	answer = mauth_devices_check(world->devices, question, &world->device, &world->refusal);
	has_device = answer == MAUTH_DEVICE_MATCH || answer == MAUTH_DEVICE_REFUSED;
	is_refused = answer == MAUTH_DEVICE_REFUSED;
	assert_int_equal(world->device != none, has_device);
	assert_int_equal(world->refusal.status != MAUTH_OK, is_refused);
	return answer;
}

enum mauth_device_answer devices_ask_secret(struct devices_world *world, const char *user,
					    const struct mauth_secret *password)
{
	return ask(world, &(struct mauth_device_question){ CONTOSO, user, password, MAUTH_SERVICE_IMAP, "192.0.2.7" });
}

static enum mauth_device_answer ask_text(struct devices_world *world, struct mauth_device_question question,
					 const char *password)
{
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));
	enum mauth_device_answer answer;

	question.password = secret;
	answer = ask(world, &question);
	mauth_secret_free(&secret);
	return answer;
}

enum mauth_device_answer devices_ask(struct devices_world *world, const char *tenant, const char *user,
				     const char *password)
{
	struct mauth_device_question question = { tenant, user, NULL, MAUTH_SERVICE_IMAP, "192.0.2.7" };

	return ask_text(world, question, password);
}

enum mauth_device_answer devices_ask_from(struct devices_world *world, const char *user, const char *password,
					  enum mauth_service service, const char *client_ip)
{
	return ask_text(world, (struct mauth_device_question){ CONTOSO, user, NULL, service, client_ip }, password);
}

struct mauth_device_waiter *devices_compute(struct devices_world *world, const char *user, const char *password)
{
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));
	struct mauth_device_question question = { CONTOSO, user, secret, MAUTH_SERVICE_IMAP, "192.0.2.7" };
	unsigned int calls = world->calls;
	struct mauth_device_waiter *waiter;

	memset(&world->error, 0, sizeof(world->error));
	waiter = mauth_devices_compute(world->devices, &question, devices_called, world, &world->error);
	assert_int_equal(world->calls, calls);
	mauth_secret_free(&secret);
	return waiter;
}

void devices_use(struct devices_world *world, const char *user, const char *id, const char *client_ip)
{
	struct mauth_device_question question = { CONTOSO, user, NULL, MAUTH_SERVICE_POP3, client_ip };

	mauth_devices_used(world->devices, &question, id);
}

char *devices_add_new(struct devices_world *world, const struct mauth_device_new *new)
{
	unsigned int changes = world->changes;
	struct mauth_secret *secret = NULL;
	struct mauth_error error;
	char *password;

	if (mauth_devices_add(world->devices, new, &secret, devices_changed, world, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	assert_int_equal(world->changes, changes);
	fake_loop_run(world->loop, 0);
	assert_int_equal(world->changes, changes + 1);
	assert_int_equal(world->error.status, MAUTH_OK);
	password = mauth_strdup(mauth_secret_expose(secret));
	mauth_secret_free(&secret);
	return password;
}

char *devices_add(struct devices_world *world, const char *tenant, const char *user, const char *name)
{
	return devices_add_new(world, &(struct mauth_device_new){ .tenant = tenant, .user = user, .name = name });
}

static void hashed(const char *hash, void *context)
{
	struct devices_world *world = context;

	free(world->hash);
	world->hash = mauth_strdup(hash);
	world->calls++;
}

char *devices_hash(struct devices_world *world, const char *password)
{
	struct mauth_secret *secret = mauth_secret_new(password, strlen(password));
	unsigned int calls = world->calls;
	char *hash;

	assert_int_equal(mauth_devices_hash(world->devices, secret, hashed, world, NULL), MAUTH_OK);
	mauth_secret_free(&secret);
	assert_int_equal(world->calls, calls);
	assert_int_equal(fake_worker_run(world->worker, 1), 1);
	assert_int_equal(world->calls, calls + 1);
	hash = world->hash;
	world->hash = NULL;
	return hash;
}

void devices_add_hashed(struct devices_world *world, const char *user, const char *name, const char *hash)
{
	struct mauth_device_new new = { .tenant = CONTOSO, .user = user, .name = name };
	struct mauth_error error;

	if (mauth_devices_add_hashed(world->devices, &new, hash, devices_changed, world, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
	fake_loop_run(world->loop, 0);
	assert_int_equal(world->error.status, MAUTH_OK);
}

void devices_remove(struct devices_world *world, const char *user, const char *which)
{
	struct mauth_error error;

	if (mauth_devices_remove(world->devices, CONTOSO, user, which, devices_changed, world, &error) != MAUTH_OK)
		fail_msg("%s", error.text);
}
