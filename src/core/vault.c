/* SPDX-License-Identifier: MIT */
#include "core/vault-private.h"

#include "core/inventory.h"
#include "core/json.h"
#include "core/pseudonyms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROW_AGAIN_MSECS 5000u

/* -- links -------------------------------------------------------------------------------------------------- */

static const char *link_name(const struct mauth_node *node)
{
	return ((const struct mauth_link *)node)->login;
}

/* Tenants by name, as in enrolments.c; a login has one tenant, so that this need not tell them apart. */
static struct mauth_link *link_find(const struct mauth_vault *vault, const char *tenant, const char *login)
{
	struct mauth_link *link = (struct mauth_link *)mauth_table_find(&vault->links, 0, login);

	return link != NULL && strcmp(link->tenant, tenant) == 0 ? link : NULL;
}

const struct mauth_link *mauth_vault_link(const struct mauth_vault *vault, const char *tenant, const char *login)
{
	return link_find(vault, tenant, login);
}

const struct mauth_link *mauth_vault_next_link(const struct mauth_vault *vault, const struct mauth_link *link)
{
	return (const struct mauth_link *)(link == NULL ? vault->links.oldest : link->node.newer);
}

static void link_drop(struct mauth_vault *vault, struct mauth_link *link)
{
	mauth_table_remove(&vault->links, &link->node);
	free(link->tenant);
	free(link->login);
	free(link->account);
	free(link->mailbox);
	free(link);
}

void mauth_vault_set_link(struct mauth_vault *vault, const char *tenant, const char *login, const char *account,
			  const char *mailbox)
{
	struct mauth_link *link = (struct mauth_link *)mauth_table_find(&vault->links, 0, login);

	if (link != NULL)
		link_drop(vault, link);
	if (account == NULL)
		return;
	link = mauth_new(sizeof(*link));
	link->tenant = mauth_strdup(tenant);
	link->login = mauth_strdup(login);
	link->account = mauth_strdup(account);
	link->mailbox = mauth_strdup(mailbox);
	mauth_table_insert(&vault->links, &link->node, 0, link->login);
}

char *mauth_link_value(const char *account, const char *mailbox)
{
	json_t *root = json_pack("{s:s, s:s}", "account", account, "mailbox", mailbox);
	char *value = mauth_json_text(root);

	json_decref(root);
	return value;
}

static enum mauth_status load_link(struct mauth_vault *vault, const struct mauth_store_row *row,
				   struct mauth_error *error_r)
{
	json_t *root = mauth_json_object(row->value, row->size);
	const char *slash = strchr(row->name, '/'), *account = mauth_json_str(root, "account");
	const char *mailbox = mauth_json_str(root, "mailbox");
	char *tenant;

	if (slash == NULL || *account == '\0' || *mailbox == '\0' || strlen(account) > MAUTH_USER_MAX ||
	    strlen(mailbox) > MAUTH_USER_MAX || strlen(slash + 1) > MAUTH_USER_MAX) {
		json_decref(root);
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the store's mailbox \"%.100s\" cannot be read", row->name);
	}
	tenant = mauth_strndup(row->name, (size_t)(slash - row->name));
	mauth_vault_set_link(vault, tenant, slash + 1, account, mailbox);
	free(tenant);
	json_decref(root);
	return MAUTH_OK;
}

/* -- keys --------------------------------------------------------------------------------------------------- */

static const struct mauth_seal_context verifier_key_seal = { MAUTH_META_KIND, "", VAULT_VERIFIER_KEY };

static enum mauth_status is_not_empty(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	bool *found = context;

	/* A summary without which everything works: it needs no key, and is no reason to refuse a store that has lost it. */
	if (vault_is_summary(row->kind))
		return MAUTH_OK;
	*found = true;
	return MAUTH_CANCELLED;
}

static enum mauth_status is_empty(const struct mauth_vault *vault, bool *empty_r, struct mauth_error *error_r)
{
	bool found = false;
	enum mauth_status status = mauth_store_each(vault->deps.store, NULL, is_not_empty, &found, error_r);

	*empty_r = !found;
	return status == MAUTH_CANCELLED ? MAUTH_OK : status;
}

static enum mauth_status create_keyring(struct mauth_vault *vault, struct mauth_error *error_r)
{
	const struct mauth_key_file *file = vault->deps.key_file;
	struct mauth_secret *text;
	enum mauth_status status;

	vault->keyring = mauth_keyring_new();
	text = mauth_keyring_format(vault->keyring);
	status = file->write(file->context, text, true, error_r);
	mauth_secret_free(&text);
	if (status == MAUTH_OK)
		mauth_log(vault->deps.log, MAUTH_INFO, "made a key for the store: %s; keep a copy of it apart from copies of the "
			  "store", file->name);
	return status;
}

static enum mauth_status read_keyring(struct mauth_vault *vault, struct mauth_error *error_r)
{
	const struct mauth_key_file *file = vault->deps.key_file;
	struct mauth_secret *text = NULL;
	enum mauth_status status = file->read(file->context, &text, error_r);
	bool empty = false;

	if (status == MAUTH_OK) {
		status = mauth_keyring_parse(file->name, text, &vault->keyring, error_r);
		mauth_secret_free(&text);
		return status;
	}
	if (status != MAUTH_USER_UNKNOWN)
		return status;
	status = is_empty(vault, &empty, error_r);
	if (status != MAUTH_OK)
		return status;
	if (vault->deps.store->follows)
		return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "there is no key file yet: %s", file->name);
	if (empty)
		return create_keyring(vault, error_r);
	mauth_fail(error_r, MAUTH_CONFIG, 0, "the store has something in it, but its key is missing: %s", file->name);
	if (error_r != NULL)
		snprintf(error_r->advice, sizeof(error_r->advice), "restore the key file from your copy; without it the store "
			 "cannot be read, and moving modernauth.db away means to enrol everybody again");
	return MAUTH_CONFIG;
}

/* A write on its way to the disk: it outlives the vault. */
struct first_row {
	struct mauth_vault *vault;           /* NULL: gone meanwhile */
};

static void write_device_key(void *context);

static void first_row_written(const struct mauth_error *error, void *context)
{
	struct first_row *first = context;
	struct mauth_vault *vault = first->vault;

	free(first);
	if (vault == NULL)
		return;
	vault->first_row = NULL;
	if (error == NULL)
		return;
	/* Whatever is written without it is a store that the next start takes for a damaged one. */
	mauth_log(vault->deps.log, MAUTH_ERROR,
		  "the store cannot be written: %s; its first row is tried again in %u s; device "
		  "passwords made until then do not work after a restart",
		  error->text, FIRST_ROW_AGAIN_MSECS / 1000);
	vault->first_row_again = mauth_timer_add(vault->deps.loop, FIRST_ROW_AGAIN_MSECS, write_device_key, vault);
}

static void write_device_key(void *context)
{
	struct mauth_vault *vault = context;
	struct mauth_secret *plain = mauth_secret_new(vault->device_key.key, sizeof(vault->device_key.key));
	struct mauth_buf sealed = { 0 };
	struct mauth_store_row row = { .kind = MAUTH_META_KIND, .name = VAULT_VERIFIER_KEY };

	vault->first_row_again = NULL;
	vault->first_row = mauth_new(sizeof(*vault->first_row));
	vault->first_row->vault = vault;
	mauth_seal(vault->keyring, &verifier_key_seal, plain, &sealed);
	row.value = sealed.data;
	row.size = sealed.size;
	mauth_store_write(vault->deps.store, &row, 1, first_row_written, vault->first_row);
	mauth_secret_free(&plain);
	mauth_buf_free(&sealed);
}

/* The key of device passwords is the proof of the pudding, too: a store of another key file shows here. */
static enum mauth_status read_device_key(struct mauth_vault *vault, struct mauth_error *error_r)
{
	struct mauth_secret *sealed = NULL, *plain = NULL;
	enum mauth_status status = mauth_store_get(vault->deps.store, MAUTH_META_KIND, VAULT_VERIFIER_KEY, &sealed, error_r);
	bool empty = false;

	if (status == MAUTH_USER_UNKNOWN) {
		status = is_empty(vault, &empty, error_r);
		if (status != MAUTH_OK)
			return status;
		if (!empty)
			return mauth_fail(error_r, MAUTH_CONFIG, 0, "the store is damaged: its row meta/verifier-key is "
					  "missing; restore a backup");
		if (vault->deps.store->follows)
			return mauth_fail(error_r, MAUTH_TEMPORARY, 0, "the store is still being made");
		mauth_verifier_key_new(&vault->device_key);
		write_device_key(vault);
		return MAUTH_OK;
	}
	if (status != MAUTH_OK)
		return status;
	status = mauth_unseal(vault->keyring, &verifier_key_seal, mauth_secret_expose(sealed), mauth_secret_size(sealed), &plain,
			      error_r);
	mauth_secret_free(&sealed);
	if (status != MAUTH_OK)
		return status;
	if (mauth_secret_size(plain) == sizeof(vault->device_key.key))
		memcpy(vault->device_key.key, mauth_secret_expose(plain), sizeof(vault->device_key.key));
	else
		status = mauth_fail(error_r, MAUTH_CONFIG, 0, "the store is damaged: meta/verifier-key is no key; restore a backup");
	mauth_secret_free(&plain);
	return status;
}

/* -- the whole ---------------------------------------------------------------------------------------------- */

static enum mauth_status load_row(const struct mauth_store_row *row, void *context, struct mauth_error *error_r)
{
	struct mauth_vault *vault = context;

	if (strcmp(row->kind, MAUTH_ENROLMENT_KIND) == 0)
		return mauth_enrolments_load(vault->enrolments, row, error_r);
	if (strcmp(row->kind, MAUTH_DEVICE_KIND) == 0)
		return mauth_devices_load(vault->devices, row, error_r);
	if (strcmp(row->kind, MAUTH_EXCEPTION_KIND) == 0)
		return mauth_exceptions_load(vault->exceptions, row, error_r);
	if (strcmp(row->kind, MAUTH_RELAY_KEY_KIND) == 0)
		return mauth_relay_keys_load(vault->relay_keys, row, error_r);
	return load_link(vault, row, error_r);
}

static enum mauth_status load_rows(struct mauth_vault *vault, struct mauth_error *error_r)
{
	static const char *const kinds[] = {
		MAUTH_ENROLMENT_KIND, MAUTH_DEVICE_KIND, MAUTH_EXCEPTION_KIND, MAUTH_LINK_KIND,
		MAUTH_RELAY_KEY_KIND,
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		enum mauth_status status = mauth_store_each(vault->deps.store, kinds[i], load_row, vault, error_r);

		if (status != MAUTH_OK)
			return status;
	}
	return MAUTH_OK;
}

enum mauth_status mauth_vault_open(const struct mauth_vault_deps *deps, struct mauth_vault **vault_r,
				   struct mauth_error *error_r)
{
	struct mauth_vault *vault = mauth_new(sizeof(*vault));
	enum mauth_status status;

	vault->deps = *deps;
	mauth_table_init(&vault->links, deps->process_key, link_name);
	vault->enrolments = mauth_enrolments_new(&(struct mauth_enrolments_deps){
		.loop = deps->loop, .log = deps->log, .store = deps->store, .keyring = &vault->keyring,
		.process_key = deps->process_key, .config = deps->config });
	vault->devices = mauth_devices_new(&(struct mauth_devices_deps){
		.loop = deps->loop, .log = deps->log, .store = deps->store, .worker = deps->worker,
		.key = &vault->device_key, .process_key = deps->process_key });
	vault->exceptions = mauth_exceptions_new(&(struct mauth_exceptions_deps){
		.loop = deps->loop, .log = deps->log, .store = deps->store });
	vault->relay_keys = mauth_relay_keys_new(&(struct mauth_relay_keys_deps){
		.loop = deps->loop, .log = deps->log, .store = deps->store, .key = &vault->device_key });
	status = read_keyring(vault, error_r);
	if (status == MAUTH_OK)
		status = read_device_key(vault, error_r);
	if (status == MAUTH_OK)
		status = load_rows(vault, error_r);
	if (status != MAUTH_OK) {
		mauth_vault_free(&vault);
		return status;
	}
	if (mauth_keyring_count(vault->keyring) > 1 && !deps->store->follows)
		vault_reseal(vault, NULL, NULL);
	*vault_r = vault;
	return MAUTH_OK;
}

void mauth_vault_free(struct mauth_vault **vault)
{
	struct mauth_vault *v = *vault;

	if (v == NULL)
		return;
	vault_rekey_free(&v->rekey);
	mauth_timer_remove(v->deps.loop, &v->first_row_again);
	if (v->first_row != NULL)
		v->first_row->vault = NULL;
	mauth_relay_keys_free(&v->relay_keys);
	mauth_exceptions_free(&v->exceptions);
	mauth_devices_free(&v->devices);
	mauth_enrolments_free(&v->enrolments);
	while (v->links.oldest != NULL)
		link_drop(v, (struct mauth_link *)v->links.oldest);
	mauth_table_free(&v->links);
	mauth_keyring_free(&v->keyring);
	mauth_wipe(&v->device_key, sizeof(v->device_key));
	free(v);
	*vault = NULL;
}

bool mauth_vault_follows(const struct mauth_vault *vault)
{
	return vault->deps.store->follows;
}

static enum mauth_status follow_link(struct mauth_vault *vault, const struct mauth_store_row *row, struct mauth_error *error_r)
{
	const char *slash = strchr(row->name, '/');
	char *tenant;

	if (row->value != NULL || slash == NULL)
		return load_link(vault, row, error_r);
	tenant = mauth_strndup(row->name, (size_t)(slash - row->name));
	if (link_find(vault, tenant, slash + 1) != NULL)
		mauth_vault_set_link(vault, tenant, slash + 1, NULL, NULL);
	free(tenant);
	return MAUTH_OK;
}

enum mauth_status mauth_vault_follow(struct mauth_vault *vault, const struct mauth_store_row *row, bool *reopen_r,
				     struct mauth_error *error_r)
{
	*reopen_r = false;
	if (strcmp(row->kind, MAUTH_ENROLMENT_KIND) == 0)
		return mauth_enrolments_follow(vault->enrolments, row, error_r);
	if (strcmp(row->kind, MAUTH_DEVICE_KIND) == 0)
		return mauth_devices_follow(vault->devices, row, error_r);
	if (strcmp(row->kind, MAUTH_EXCEPTION_KIND) == 0)
		return mauth_exceptions_follow(vault->exceptions, row, error_r);
	if (strcmp(row->kind, MAUTH_RELAY_KEY_KIND) == 0)
		return mauth_relay_keys_follow(vault->relay_keys, row, error_r);
	if (strcmp(row->kind, MAUTH_LINK_KIND) == 0)
		return follow_link(vault, row, error_r);
	/* Of another store (import), or sealed under a fresh key. */
	*reopen_r = strcmp(row->kind, MAUTH_META_KIND) == 0 && strcmp(row->name, VAULT_VERIFIER_KEY) == 0;
	return MAUTH_OK;
}

struct mauth_enrolments *mauth_vault_enrolments(struct mauth_vault *vault)
{
	return vault->enrolments;
}

struct mauth_devices *mauth_vault_devices(struct mauth_vault *vault)
{
	return vault->devices;
}

struct mauth_exceptions *mauth_vault_exceptions(struct mauth_vault *vault)
{
	return vault->exceptions;
}

struct mauth_relay_keys *mauth_vault_relay_keys(struct mauth_vault *vault)
{
	return vault->relay_keys;
}

const struct mauth_keyring *mauth_vault_keyring(const struct mauth_vault *vault)
{
	return vault->keyring;
}

const struct mauth_verifier_key *mauth_vault_device_key(const struct mauth_vault *vault)
{
	return &vault->device_key;
}

const struct mauth_store *mauth_vault_store(const struct mauth_vault *vault)
{
	return vault->deps.store;
}

const char *mauth_vault_key_id(const struct mauth_vault *vault)
{
	return mauth_keyring_id(vault->keyring);
}

bool vault_is_summary(const char *kind)
{
	return strcmp(kind, MAUTH_INVENTORY_KIND) == 0 || strcmp(kind, MAUTH_INVENTORY_DAY_KIND) == 0;
}

bool vault_is_pseudonym(const char *kind)
{
	return strcmp(kind, MAUTH_PSEUDONYM_KIND) == 0 || strcmp(kind, MAUTH_PSEUDONYM_NEW_KIND) == 0;
}

bool vault_seal_context(const struct mauth_store_row *row, struct mauth_seal_context *context_r, char **scratch_r)
{
	const char *slash = strchr(row->name, '/');

	*scratch_r = NULL;
	if (strcmp(row->kind, MAUTH_META_KIND) == 0 && strcmp(row->name, VAULT_VERIFIER_KEY) == 0) {
		*context_r = verifier_key_seal;
		return true;
	}
	if ((strcmp(row->kind, MAUTH_REFRESH_TOKEN_KIND) != 0 && strcmp(row->kind, MAUTH_PENDING_KIND) != 0 &&
	     !vault_is_pseudonym(row->kind)) || slash == NULL)
		return false;
	*scratch_r = mauth_strndup(row->name, (size_t)(slash - row->name));
	*context_r = (struct mauth_seal_context){ row->kind, *scratch_r, slash + 1 };
	return true;
}
