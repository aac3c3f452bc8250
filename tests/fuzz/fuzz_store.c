/* SPDX-License-Identifier: MIT */
/* Rows of the store, as somebody might have changed them, and lines of an export. The first line is a kind and a name,
 * the rest is the value. Kind "keys" is a key file, "sealed" an envelope, "line" a line of an export. What is only read
 * behind a seal, which nobody can forge, is sealed first: the rows of kind "pending", and "line" once more. */

#include "core/json.h"
#include "vault_world.h"

#include "fuzz.h"

#include <string.h>

static void check_error(const struct mauth_error *error)
{
	MUST(error->status == MAUTH_CONFIG && error->text[0] != '\0');
	MUST(mauth_is_utf8(error->text, strlen(error->text)) && mauth_is_utf8(error->advice, strlen(error->advice)));
}

static void ignore_enrolment(const struct mauth_enrolment *enrolment, void *context)
{
	(void)context;
	MUST(mauth_enrolment_due_at(enrolment) <= WORLD_WALL + 3600);
}

static void check_enrolments(struct vault_world *world)
{
	struct mauth_enrolments *enrolments = mauth_vault_enrolments(world->vault);
	const struct mauth_enrolment *enrolment = NULL;
	struct mauth_secret *token = NULL;
	struct mauth_error error;
	unsigned int generation;

	while ((enrolment = mauth_enrolments_next(enrolments, enrolment)) != NULL) {
		MUST(mauth_enrolments_find(enrolments, enrolment->tenant, enrolment->account) == enrolment);
		MUST(strlen(enrolment->account) <= MAUTH_USER_MAX && strchr(enrolment->tenant, '/') == NULL);
		MUST(strlen(enrolment->oid) < sizeof(enrolment->oid) &&
		     strlen(enrolment->app) < sizeof(enrolment->app));
		MUST(enrolment->refreshed_at >= 0 && enrolment->enrolled_at >= 0 && enrolment->dead_since >= 0);
		MUST(enrolment->code >= 0 && mauth_is_utf8(enrolment->reason, strlen(enrolment->reason)));
		(void)mauth_enrolments_usable(enrolments, world->w.tenant, enrolment->account, &error);
		MUST(mauth_enrolments_token(enrolments, enrolment->tenant, enrolment->account, &token, &generation,
					    &error) == MAUTH_CONFIG);
		check_error(&error);
	}
	mauth_enrolments_tend(enrolments, 1, ignore_enrolment, NULL);
}

static void check_links(struct vault_world *world)
{
	const struct mauth_link *link = NULL;
	struct mauth_mailbox where;

	while ((link = mauth_vault_next_link(world->vault, link)) != NULL) {
		MUST(mauth_vault_link(world->vault, link->tenant, link->login) == link);
		if (mauth_broker_resolve(world->w.broker, link->login, &where, NULL) == MAUTH_OK)
			MUST(strlen(where.account) <= MAUTH_USER_MAX && strlen(where.mailbox) <= MAUTH_USER_MAX);
	}
}

static void ignore_exception(const struct mauth_exception *exception, const struct mauth_error *error, void *context)
{
	(void)context;
	MUST(error == NULL && exception->ended);
}

static void check_exceptions(struct vault_world *world)
{
	struct mauth_exceptions *exceptions = mauth_vault_exceptions(world->vault);
	const struct mauth_exception *exception = NULL;
	struct mauth_exception again = { .services = 0 };

	while ((exception = mauth_exceptions_next(exceptions, exception)) != NULL) {
		struct mauth_buf text = { 0 };

		MUST(exception->services != 0 && exception->until >= 0 && exception->created_at >= 0);
		MUST(exception->action == MAUTH_ACTION_UPGRADE || exception->action == MAUTH_ACTION_BASIC);
		MUST(strlen(exception->by) <= MAUTH_EXCEPTION_BY_MAX && mauth_is_utf8(exception->by, strlen(exception->by)));
		MUST(strlen(exception->reason) <= MAUTH_EXCEPTION_REASON_MAX &&
		     mauth_is_utf8(exception->reason, strlen(exception->reason)));
		MUST(exception->user == NULL || mauth_exception_user_is_good(exception->user));
		mauth_exception_encode(exception, &text);
		MUST(mauth_exception_decode(text.data, text.size, &again));
		MUST(again.services == exception->services && again.until == exception->until &&
		     again.has_network == exception->has_network && strcmp(again.reason, exception->reason) == 0);
		mauth_exception_clear(&again);
		mauth_buf_free(&text);
	}
	mauth_exceptions_tend(exceptions, ignore_exception, NULL);
}

static void written(const struct mauth_error *error, void *context)
{
	MUST(error == NULL);
	++*(unsigned int *)context;
}

static void put_row(struct vault_world *world, const char *kind, const char *name, const char *value, size_t size)
{
	const struct mauth_store_row row = { kind, name, value, size };
	unsigned int done = 0;

	mauth_store_write(fake_store_store(world->store), &row, 1, written, &done);
	world_turn(&world->w);
	MUST(done == 1);
}

static void read_row(struct vault_world *world, const char *kind, const char *name, const char *value, size_t size)
{
	struct mauth_error error;
	enum mauth_status status;

	vault_world_close(world);
	put_row(world, kind, name, value, size);
	status = vault_world_try(world, &error);
	if (status != MAUTH_OK) {
		MUST(status == MAUTH_CONFIG);
		check_error(&error);
		return;
	}
	check_enrolments(world);
	check_links(world);
	check_exceptions(world);
	/* What is kept in memory can be written, and read again. */
	vault_world_restart(world);
}

static void seal_and_put(struct vault_world *world, const char *name, const char *value, size_t size)
{
	struct mauth_seal_context seal;
	const struct mauth_keyring *keyring = mauth_vault_keyring(world->vault);
	struct mauth_secret *plain = mauth_secret_new(value, size);
	const char *slash = strchr(name, '/');
	struct mauth_buf sealed = { 0 };
	char *tenant = mauth_strndup(name, slash == NULL ? strlen(name) : (size_t)(slash - name));

	seal = (struct mauth_seal_context){ MAUTH_PENDING_KIND, tenant, slash == NULL ? "" : slash + 1 };
	mauth_seal(keyring, &seal, plain, &sealed);
	vault_world_close(world);
	put_row(world, MAUTH_PENDING_KIND, name, sealed.data, sealed.size);
	MUST(vault_world_try(world, NULL) == MAUTH_OK);
	MUST(mauth_enrols_count(mauth_broker_enrols(world->w.broker)) <= 1);
	/* It is asked for, or has run out. */
	fake_loop_run(world->w.loop, 61000);
	if (fake_http_open(world->w.http) > 0)
		fake_http_aadsts(world->w.http, 400, "expired_token", 70019);
	world_turn(&world->w);
	MUST(mauth_enrols_count(mauth_broker_enrols(world->w.broker)) == 0);
	mauth_buf_free(&sealed);
	mauth_secret_free(&plain);
	free(tenant);
}

static void read_keys(const char *text, size_t size)
{
	struct mauth_secret *file = mauth_secret_new(text, size), *again;
	struct mauth_keyring *keyring = NULL, *twin = NULL;
	struct mauth_error error;

	if (mauth_keyring_parse("keys", file, &keyring, &error) == MAUTH_OK) {
		again = mauth_keyring_format(keyring);
		MUST(mauth_keyring_parse("again", again, &twin, NULL) == MAUTH_OK);
		MUST(mauth_keyring_count(keyring) == mauth_keyring_count(twin));
		MUST(strcmp(mauth_keyring_id(keyring), mauth_keyring_id(twin)) == 0);
		mauth_secret_free(&again);
	} else {
		check_error(&error);
		MUST(keyring == NULL && strncmp(error.text, "keys:", 5) == 0);
	}
	mauth_keyring_free(&keyring);
	mauth_keyring_free(&twin);
	mauth_secret_free(&file);
}

static void unseal(const struct vault_world *world, const char *text, size_t size)
{
	const struct mauth_seal_context seal = { MAUTH_REFRESH_TOKEN_KIND, CONTOSO, ALICE };
	const struct mauth_keyring *keyring = mauth_vault_keyring(world->vault);
	struct mauth_secret *plain = NULL;
	struct mauth_error error;

	MUST(mauth_unseal(keyring, &seal, text, size, &plain, &error) == MAUTH_CONFIG && plain == NULL);
	check_error(&error);
	(void)mauth_seal_is_current(keyring, text, size);
}

#define EXPORT_ID "00000000-0000-4000-8000-000000000000"

static void import(struct vault_world *world, const char *text, size_t size)
{
	const struct mauth_seal_context seal = { "export", "0", EXPORT_ID };
	struct mauth_import *import = mauth_import_new();
	struct mauth_secret *plain = mauth_secret_new(text, size);
	char *line = mauth_strndup(text, size);
	struct mauth_buf sealed = { 0 };
	struct mauth_error error;
	unsigned int done = 0;
	size_t rows;

	if (mauth_import_line(import, world->vault, line, &error) != MAUTH_OK)
		check_error(&error);
	mauth_import_free(&import);
	import = mauth_import_new();
	MUST(mauth_import_line(import, world->vault, "modernauth-export 1 0123456789abcdef " EXPORT_ID, NULL) == MAUTH_OK);
	MUST(mauth_import_line(import, world->vault, line, &error) == MAUTH_CONFIG);
	check_error(&error);
	mauth_seal(mauth_vault_keyring(world->vault), &seal, plain, &sealed);
	if (mauth_import_line(import, world->vault, sealed.data, &error) != MAUTH_OK)
		check_error(&error);
	else if (mauth_import_finish(import, world->vault, true, written, &done, &rows, &error) != MAUTH_OK)
		check_error(&error);
	world_turn(&world->w);
	mauth_import_free(&import);
	mauth_buf_free(&sealed);
	mauth_secret_free(&plain);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *begin = (const char *)data, *lf = size > 0 ? memchr(data, '\n', size) : NULL;
	size_t first = lf == NULL ? size : (size_t)(lf - begin);
	const char *value = lf == NULL ? "" : lf + 1;
	size_t rest = lf == NULL ? 0 : size - first - 1;
	struct vault_world world;
	char *line, *name;

	if (rest > MAUTH_SEAL_PLAIN_MAX)
		return 0;
	line = mauth_strndup(begin, first < MAUTH_STORE_NAME_MAX ? first : MAUTH_STORE_NAME_MAX);
	name = strchr(line, ' ');
	if (name != NULL)
		*name++ = '\0';
	vault_world_open_with(&world, "E");
	if (strcmp(line, "keys") == 0)
		read_keys(value, rest);
	else if (strcmp(line, "sealed") == 0)
		unseal(&world, value, rest);
	else if (strcmp(line, "line") == 0)
		import(&world, value, rest);
	else if (strcmp(line, MAUTH_PENDING_KIND) == 0 && name != NULL)
		seal_and_put(&world, name, value, rest);
	else if (name != NULL)
		read_row(&world, line, name, value, rest);
	vault_world_end(&world);
	free(line);
	return 0;
}
