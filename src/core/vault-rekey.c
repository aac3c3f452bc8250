/* SPDX-License-Identifier: MIT */
#include "core/vault-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Few enough that no login notices a batch, each of which is one commit. */
#define BATCH 50u
/* Rows that are just being written are left for the next look, and looked for this often. */
#define LOOKS_MAX 100u
#define LOOK_AGAIN_MSECS 100u

struct row_name {
	char *kind, *name;
};

struct vault_rekey {
	struct mauth_vault *vault;
	struct mauth_timer *timer;
	struct rekey_write *write;           /* under way */
	struct row_name *rows;               /* found at the last look */
	size_t count, at, done, total;
	unsigned int looks;
	mauth_rekey_fn *progress;            /* NULL: nobody has asked for it */
	void *context;
};

/* A batch on its way to the disk: it outlives the vault. */
struct rekey_write {
	struct vault_rekey *rekey;           /* NULL: gone meanwhile */
	size_t count;
};

static void step(void *context);

static void drop_rows(struct vault_rekey *rekey)
{
	for (size_t i = 0; i < rekey->count; i++) {
		free(rekey->rows[i].kind);
		free(rekey->rows[i].name);
	}
	free(rekey->rows);
	rekey->rows = NULL;
	rekey->count = rekey->at = 0;
}

void vault_rekey_free(struct vault_rekey **rekey)
{
	struct vault_rekey *r = *rekey;

	if (r == NULL)
		return;
	mauth_timer_remove(r->vault->deps.loop, &r->timer);
	if (r->write != NULL)
		r->write->rekey = NULL;
	drop_rows(r);
	free(r);
	*rekey = NULL;
}

static void tell(struct vault_rekey *rekey, const struct mauth_error *error, bool finished)
{
	const struct mauth_rekey_progress progress = {
		.done = rekey->done, .total = rekey->total, .finished = finished, .error = error,
		.key_id = mauth_keyring_id(rekey->vault->keyring),
	};

	if (rekey->progress != NULL)
		rekey->progress(&progress, rekey->context);
}

static void end(struct vault_rekey *rekey, const struct mauth_error *error)
{
	struct mauth_vault *vault = rekey->vault;
	const struct mauth_log *log = vault->deps.log;

	if (error != NULL)
		mauth_log(log, MAUTH_ERROR, "the store could not be sealed anew: %s; both keys stay in %s; try again", error->text,
			  vault->deps.key_file->name);
	else
		mauth_log(log, MAUTH_INFO, "the store is sealed anew under key %s, %zu rows; exports made before need the key "
			  "file of before", mauth_keyring_id(vault->keyring), rekey->done);
	tell(rekey, error, true);
	vault_rekey_free(&vault->rekey);
}

static enum mauth_status write_keys(struct mauth_vault *vault, const struct mauth_keyring *keyring,
				    struct mauth_error *error_r)
{
	const struct mauth_key_file *file = vault->deps.key_file;
	struct mauth_secret *text = mauth_keyring_format(keyring);
	enum mauth_status status = file->write(file->context, text, false, error_r);

	mauth_secret_free(&text);
	return status;
}

static void retire(struct vault_rekey *rekey)
{
	struct mauth_vault *vault = rekey->vault;
	struct mauth_keyring *only;
	struct mauth_error error;

	if (vault->deps.key_file->fixed) {
		mauth_log(vault->deps.log, MAUTH_INFO, "everything in the store is sealed under the last key of %s: the older ones "
			  "can be removed", vault->deps.key_file->name);
		end(rekey, NULL);
		return;
	}
	only = mauth_keyring_dup(vault->keyring);
	mauth_keyring_retire(only);
	if (write_keys(vault, only, &error) != MAUTH_OK) {
		mauth_keyring_free(&only);
		end(rekey, &error);
		return;
	}
	mauth_keyring_free(&vault->keyring);
	vault->keyring = only;
	end(rekey, NULL);
}

static enum mauth_status note_old(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct vault_rekey *rekey = context;
	struct mauth_seal_context seal;
	char *scratch;
	bool sealed = vault_seal_context(row, &seal, &scratch);

	free(scratch);
	if (!sealed || mauth_seal_is_current(rekey->vault->keyring, row->value, row->size))
		return MAUTH_OK;
	if (rekey->count % 256 == 0)
		rekey->rows = mauth_grow(rekey->rows, rekey->count + 256, sizeof(*rekey->rows));
	rekey->rows[rekey->count++] = (struct row_name){ mauth_strdup(row->kind), mauth_strdup(row->name) };
	return MAUTH_OK;
}

static void later(struct vault_rekey *rekey, unsigned int msecs)
{
	rekey->timer = mauth_timer_add(rekey->vault->deps.loop, msecs, step, rekey);
}

/* Everything that is sealed under an older key. What is written meanwhile is sealed under the new one. */
static void look(struct vault_rekey *rekey)
{
	struct mauth_error error;

	drop_rows(rekey);
	if (mauth_store_each(rekey->vault->deps.store, NULL, note_old, rekey, &error) != MAUTH_OK) {
		end(rekey, &error);
		return;
	}
	if (rekey->count == 0) {
		retire(rekey);
		return;
	}
	if (++rekey->looks > LOOKS_MAX) {
		mauth_fail(&error, MAUTH_TEMPORARY, 0, "%zu rows are still sealed under an older key", rekey->count);
		end(rekey, &error);
		return;
	}
	if (rekey->done + rekey->count > rekey->total)
		rekey->total = rekey->done + rekey->count;
	later(rekey, rekey->looks == 1 ? 0 : LOOK_AGAIN_MSECS);
}

static void batch_done(const struct mauth_error *error, void *context)
{
	struct rekey_write *write = context;
	struct vault_rekey *rekey = write->rekey;
	size_t count = write->count;

	free(write);
	if (rekey == NULL)
		return;
	rekey->write = NULL;
	if (error != NULL) {
		end(rekey, error);
		return;
	}
	rekey->done += count;
	tell(rekey, NULL, false);
	if (rekey->at < rekey->count)
		later(rekey, 0);
	else
		look(rekey);
}

static void name_row(const struct row_name *name, struct mauth_error *error)
{
	const struct mauth_error why = *error;

	mauth_fail(error, why.status, why.code, "the row %s \"%.100s\": %s", name->kind, name->name, why.text);
	snprintf(error->advice, sizeof(error->advice), "%s", why.advice);
}

/* MAUTH_USER_UNKNOWN: gone, changed or being changed since it was seen. */
static enum mauth_status seal_again(struct mauth_vault *vault, const struct row_name *name, struct mauth_buf *to,
				    struct mauth_error *error_r)
{
	const struct mauth_store_row row = { .kind = name->kind, .name = name->name };
	struct mauth_secret *old = NULL, *plain = NULL;
	struct mauth_seal_context seal;
	enum mauth_status status;
	char *scratch;

	if (!vault_seal_context(&row, &seal, &scratch))
		return MAUTH_USER_UNKNOWN;
	if (mauth_enrolments_writing(vault->enrolments, seal.tenant, seal.user)) {
		free(scratch);
		return MAUTH_USER_UNKNOWN;
	}
	status = mauth_store_get(vault->deps.store, name->kind, name->name, &old, error_r);
	if (status == MAUTH_OK) {
		status = mauth_unseal(vault->keyring, &seal, mauth_secret_expose(old), mauth_secret_size(old), &plain, error_r);
		if (status == MAUTH_OK)
			mauth_seal(vault->keyring, &seal, plain, to);
		else
			name_row(name, error_r);
		mauth_secret_free(&plain);
		mauth_secret_free(&old);
	}
	free(scratch);
	return status;
}

static void step(void *context)
{
	struct vault_rekey *rekey = context;
	struct mauth_store_row rows[BATCH];
	struct mauth_buf sealed[BATCH] = { { 0 } };
	enum mauth_status status = MAUTH_OK;
	struct mauth_error error;
	size_t count = 0;

	rekey->timer = NULL;
	while (rekey->at < rekey->count && count < BATCH) {
		const struct row_name *name = &rekey->rows[rekey->at++];

		status = seal_again(rekey->vault, name, &sealed[count], &error);
		if (status == MAUTH_USER_UNKNOWN)
			continue;
		if (status != MAUTH_OK)
			break;
		rows[count] = (struct mauth_store_row){ name->kind, name->name, sealed[count].data, sealed[count].size };
		count++;
	}
	if (status != MAUTH_OK && status != MAUTH_USER_UNKNOWN) {
		end(rekey, &error);
	} else {
		rekey->write = mauth_new(sizeof(*rekey->write));
		rekey->write->rekey = rekey;
		rekey->write->count = count;
		mauth_store_write(rekey->vault->deps.store, rows, count, batch_done, rekey->write);
	}
	for (size_t i = 0; i < BATCH; i++)
		mauth_buf_free(&sealed[i]);
}

void vault_reseal(struct mauth_vault *vault, mauth_rekey_fn *progress, void *context)
{
	vault->rekey = mauth_new(sizeof(*vault->rekey));
	vault->rekey->vault = vault;
	vault->rekey->progress = progress;
	vault->rekey->context = context;
	/* A batch of none comes first: behind it everything is on disk that was sealed with the old key. */
	later(vault->rekey, 0);
}

enum mauth_status mauth_vault_rekey(struct mauth_vault *vault, mauth_rekey_fn *progress, void *context,
				    struct mauth_error *error_r)
{
	struct mauth_keyring *keyring;
	enum mauth_status status = MAUTH_OK;

	if (vault->rekey != NULL)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the store is being sealed anew already");
	keyring = mauth_keyring_dup(vault->keyring);
	/* After as many that did not end well, the newest will do. */
	if (mauth_keyring_count(keyring) < MAUTH_SEAL_KEYS_MAX)
		status = mauth_keyring_add(keyring, error_r);
	/* On disk before anything is sealed with it. */
	if (status == MAUTH_OK)
		status = write_keys(vault, keyring, error_r);
	if (status != MAUTH_OK) {
		mauth_keyring_free(&keyring);
		return status;
	}
	mauth_keyring_free(&vault->keyring);
	vault->keyring = keyring;
	vault_reseal(vault, progress, context);
	return MAUTH_OK;
}
