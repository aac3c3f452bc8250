/* SPDX-License-Identifier: MIT */
#include "broker/storage.h"

#include "core/mem.h"
#include "core/pseudonyms.h"
#include "store/key-file.h"
#include "store/sqlite-follow.h"
#include "store/sqlite.h"
#include "store/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MSECS 10000u
/* A store that nobody has locked for two of these in a row is taken over: its owner's restart must have come to its end. */
#define OWNER_MSECS 4000u
/* A predecessor that was killed may lose the lock of base_dir a moment before this one. Afterwards it is another front end's. */
#define HELD_MSECS 100u
#define HELD_MAX 10u
#define CREDENTIAL "modernauth-keys"
#define KEY_FILE "modernauth.keys"

struct mauth_storage {
	struct mauth_service_state *service;
	struct mauth_secret *credential;     /* the keys, as systemd gave them; NULL: they are in a file */
	struct mauth_key_file key_file;
	char *key_path;
	struct mauth_worker_thread *commits, *hashes;
	struct mauth_sqlite *sqlite;
	struct mauth_sqlite_follow *follow;
	struct mauth_vault *vault;
	struct mauth_timer *retry;           /* of opening; while it is open: of opening it anew, or of looking for its owner */
	unsigned int held;                   /* how often in a row another process had it, so far */
	bool orphaned;                       /* had no owner when that was looked for last */
	char said[MAUTH_TEXT_MAX];           /* the last failure */
};

/* -- keys --------------------------------------------------------------------------------------------------- */

static enum mauth_status read_keys(void *context, struct mauth_secret **text_r, struct mauth_error *error_r)
{
	struct mauth_storage *storage = context;

	if (storage->credential == NULL)
		return mauth_key_file_read(storage->key_path, text_r, error_r);
	*text_r = mauth_secret_dup(storage->credential);
	return MAUTH_OK;
}

static enum mauth_status write_keys(void *context, const struct mauth_secret *text, bool create_only,
				    struct mauth_error *error_r)
{
	struct mauth_storage *storage = context;

	if (storage->credential == NULL)
		return mauth_key_file_write(storage->key_path, text, create_only, error_r);
	mauth_fail(error_r, MAUTH_CONFIG, 0, "the keys come from systemd's credentials, which a service cannot change");
	if (error_r != NULL)
		snprintf(error_r->advice, sizeof(error_r->advice), "move them to key_file first, remove the credential, doveadm "
			 "reload, then rekey");
	return MAUTH_CONFIG;
}

/* A credential that cannot be used must not be replaced by a fresh key in silence: it is looked at again, and said, when the
 * store is opened, since whoever may not read it here finds no key at all. */
static void read_credential(struct mauth_storage *storage)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	enum mauth_status status;
	struct mauth_error error;
	char *path;

	if (dir == NULL || *dir != '/')
		return;
	path = mauth_printf("%s/" CREDENTIAL, dir);
	status = mauth_key_file_read(path, &storage->credential, &error);
	if (status == MAUTH_OK) {
		storage->key_path = mauth_strdup(path);
		storage->key_file.fixed = true;
	} else if (status != MAUTH_USER_UNKNOWN) {
		mauth_log(storage->service->log, MAUTH_ERROR, "systemd's credential cannot be used: %s", error.text);
	}
	free(path);
}

struct mauth_storage *mauth_storage_new(struct mauth_service_state *service)
{
	struct mauth_storage *storage = mauth_new(sizeof(*storage));

	storage->service = service;
	storage->key_file = (struct mauth_key_file){ .read = read_keys, .write = write_keys, .context = storage };
	read_credential(storage);
	return storage;
}

/* -- opening ------------------------------------------------------------------------------------------------ */

/* Do logins need it? It is opened in any case: the inventory is there, and what admins allow at run time. */
static bool is_needed(const struct mauth_config *config)
{
	return mauth_config_has_grant(config, NULL, MAUTH_GRANT_ENROLLED) || mauth_config_has_grant(config, NULL, MAUTH_GRANT_APP);
}

static void choose_key_path(struct mauth_storage *storage)
{
	const struct mauth_config *config = storage->service->config;

	if (storage->credential == NULL) {
		free(storage->key_path);
		storage->key_path = config->key_file != NULL ? mauth_strdup(config->key_file) :
							       mauth_printf("%s/" KEY_FILE, config->state_dir);
	}
	storage->key_file.name = storage->key_path;
}

static void follow_row(const struct mauth_store_row *row, void *context);

static enum mauth_status open_database(struct mauth_storage *storage, struct mauth_error *error_r)
{
	static const char *const shared[] = { MAUTH_EXCEPTION_KIND, NULL };
	static const char *const all[] = {
		MAUTH_META_KIND, MAUTH_LINK_KIND, MAUTH_ENROLMENT_KIND, MAUTH_DEVICE_KIND, MAUTH_EXCEPTION_KIND,
		MAUTH_RELAY_KEY_KIND, NULL,
	};
	const struct mauth_service_state *service = storage->service;
	const char *dir = service->config->state_dir;
	const struct mauth_worker *worker = mauth_worker_thread_worker(storage->commits);
	struct mauth_error error;
	enum mauth_status status = mauth_sqlite_open(dir, worker, service->log, &storage->sqlite, &error);

	/* No other broker of this base_dir has it, since we are alone: it is another front end's. */
	storage->held = status == MAUTH_TEMPORARY && error.code == EWOULDBLOCK ? storage->held + 1 : 0;
	if (storage->held > HELD_MAX)
		status = mauth_sqlite_open_shared(dir, MAUTH_EXCEPTION_KIND, worker, service->log, &storage->sqlite, &error);
	if (status != MAUTH_OK) {
		*error_r = error;
		return status;
	}
	storage->follow = mauth_sqlite_follow_new(&(struct mauth_sqlite_follow_deps){
		.dir = dir, .kinds = mauth_sqlite_store(storage->sqlite)->follows ? all : shared, .loop = service->loop,
		.log = service->log, .worker = worker, .changed = follow_row, .context = storage });
	return MAUTH_OK;
}

static enum mauth_status open_vault(struct mauth_storage *storage, struct mauth_error *error_r)
{
	struct mauth_service_state *service = storage->service;
	struct mauth_vault_deps deps = {
		.loop = service->loop, .log = service->log, .key_file = &storage->key_file,
		.worker = mauth_worker_thread_worker(storage->hashes),
		.process_key = mauth_broker_key(service->broker), .config = service->config,
	};
	enum mauth_status status = open_database(storage, error_r);

	if (status != MAUTH_OK)
		return status;
	deps.store = mauth_sqlite_store(storage->sqlite);
	status = mauth_vault_open(&deps, &storage->vault, error_r);
	if (status != MAUTH_OK) {
		mauth_sqlite_follow_free(&storage->follow);
		mauth_sqlite_close(&storage->sqlite);
	}
	return status;
}

static void try_again(void *context)
{
	struct mauth_storage *storage = context;

	storage->retry = NULL;
	mauth_storage_open(storage);
}

static void open_anew(void *context)
{
	struct mauth_storage *storage = context;

	storage->retry = NULL;
	mauth_storage_close(storage);
	/* That there is an owner is known: no login is to notice. */
	storage->held = HELD_MAX;
	mauth_storage_open(storage);
}

/* -- other front ends --------------------------------------------------------------------------------------- */

/* What it has given is not used any more. */
static void enrolment_gone(struct mauth_storage *storage, const char *name)
{
	struct mauth_broker *broker = storage->service->broker;
	const char *slash = strchr(name, '/');
	unsigned int tokens, refusals;
	struct mauth_mailbox where;

	if (slash != NULL && mauth_broker_resolve(broker, slash + 1, &where, NULL) == MAUTH_OK)
		mauth_broker_forget(broker, &where, &tokens, &refusals);
}

static void follow_row(const struct mauth_store_row *row, void *context)
{
	struct mauth_storage *storage = context;
	struct mauth_error error;
	bool reopen;

	if (storage->vault == NULL)
		return;
	if (mauth_vault_follow(storage->vault, row, &reopen, &error) != MAUTH_OK)
		mauth_log(storage->service->log, MAUTH_ERROR, "a change by another front end is not followed: %s", error.text);
	if (strcmp(row->kind, MAUTH_ENROLMENT_KIND) == 0 && row->value == NULL)
		enrolment_gone(storage, row->name);
	if (!reopen)
		return;
	mauth_timer_remove(storage->service->loop, &storage->retry);
	storage->retry = mauth_timer_add(storage->service->loop, 0, open_anew, storage);
}

static void look_for_owner(void *context)
{
	struct mauth_storage *storage = context;
	const struct mauth_service_state *service = storage->service;
	bool is_free = mauth_sqlite_is_free(service->config->state_dir);

	storage->retry = NULL;
	if (is_free && storage->orphaned) {
		mauth_log(service->log, MAUTH_WARNING, "the front end that owned the store has gone: this one takes it over");
		open_anew(storage);
		return;
	}
	storage->orphaned = is_free;
	storage->retry = mauth_timer_add(service->loop, OWNER_MSECS, look_for_owner, storage);
}

/* -- opening, further --------------------------------------------------------------------------------------- */

/* Once for each cause, however often it is tried. */
static void say_failure(struct mauth_storage *storage, const struct mauth_error *error)
{
	const struct mauth_service_state *service = storage->service;
	bool needed = is_needed(service->config);

	if (strcmp(error->text, storage->said) != 0)
		mauth_log(service->log, needed ? MAUTH_ERROR : MAUTH_WARNING,
			  "the store cannot be opened: %s%s%s. %s; the inventory is in memory only, and no exception from the rules "
			  "holds meanwhile",
			  error->text, error->advice[0] != '\0' ? "; to do: " : "", error->advice,
			  needed ? "Logins that need it get temporary failures until then" : "No grant needs it");
	snprintf(storage->said, sizeof(storage->said), "%s", error->text);
}

/* Names of a time when somebody was to know them are no secret that "hash" may keep. */
static void open_pseudonyms(struct mauth_storage *storage)
{
	const struct mauth_service_state *service = storage->service;
	size_t count;

	if (service->pseudonyms != NULL)
		mauth_pseudonyms_open(service->pseudonyms, storage->vault);
	if (service->config->privacy_users != MAUTH_USERS_HASH)
		return;
	count = mauth_pseudonyms_erase_all(service->loop, service->log, storage->vault);
	if (count > 0)
		mauth_log(service->log, MAUTH_INFO, "privacy { users = \"hash\" }: deleted the names behind %zu pseudonyms", count);
}

void mauth_storage_open(struct mauth_storage *storage)
{
	struct mauth_service_state *service = storage->service;
	struct mauth_error error;

	if (service->broker == NULL || storage->vault != NULL)
		return;
	mauth_timer_remove(service->loop, &storage->retry);
	if (storage->commits == NULL) {
		storage->commits = mauth_worker_thread_new(service->loop, service->log);
		storage->hashes = mauth_worker_thread_new(service->loop, service->log);
	}
	choose_key_path(storage);
	if (open_vault(storage, &error) == MAUTH_OK) {
		mauth_log(service->log, MAUTH_INFO,
			  "the store is open: %zu enrolments, %zu device passwords, %zu exceptions, key "
			  "%s",
			  mauth_enrolments_count(mauth_vault_enrolments(storage->vault)),
			  mauth_devices_count(mauth_vault_devices(storage->vault)),
			  mauth_exceptions_count(mauth_vault_exceptions(storage->vault)),
			  mauth_vault_key_id(storage->vault));
		storage->said[0] = '\0';
		storage->held = 0;
		storage->orphaned = false;
		if (mauth_vault_follows(storage->vault)) {
			mauth_log(service->log, MAUTH_WARNING,
				  "the store %s belongs to another front end, which this one follows: what is changed there holds "
				  "here within a second; enrolments and device passwords can only be changed there",
				  service->config->state_dir);
			storage->retry = mauth_timer_add(service->loop, OWNER_MSECS, look_for_owner, storage);
		}
		mauth_broker_set_vault(service->broker, storage->vault, NULL);
		open_pseudonyms(storage);
		return;
	}
	/* Nobody's login is refused meanwhile: it is still being opened. */
	if (storage->held > 0 && storage->held <= HELD_MAX) {
		storage->retry = mauth_timer_add(service->loop, HELD_MSECS, try_again, storage);
		return;
	}
	say_failure(storage, &error);
	error.status = MAUTH_CONFIG;
	mauth_broker_set_vault(service->broker, NULL, &error);
	storage->retry = mauth_timer_add(service->loop, RETRY_MSECS, try_again, storage);
}

/* -- closing ------------------------------------------------------------------------------------------------ */

void mauth_storage_close(struct mauth_storage *storage)
{
	struct mauth_service_state *service = storage->service;
	struct mauth_error error;

	mauth_timer_remove(service->loop, &storage->retry);
	if (service->broker != NULL && storage->vault != NULL) {
		mauth_fail(&error, MAUTH_TEMPORARY, 0, "the store is closed");
		mauth_broker_set_vault(service->broker, NULL, &error);
	}
	if (service->pseudonyms != NULL)
		mauth_pseudonyms_close(service->pseudonyms);
	/* Password hashes go to who knows them, the vault writes what it has put off, the database commits it. */
	mauth_worker_thread_free(&storage->hashes);
	mauth_vault_free(&storage->vault);
	mauth_sqlite_follow_free(&storage->follow);
	if (storage->sqlite != NULL)
		mauth_sqlite_close(&storage->sqlite);
	mauth_worker_thread_free(&storage->commits);
}

void mauth_storage_free(struct mauth_storage **storage)
{
	if (*storage == NULL)
		return;
	mauth_storage_close(*storage);
	mauth_secret_free(&(*storage)->credential);
	free((*storage)->key_path);
	free(*storage);
	*storage = NULL;
}
