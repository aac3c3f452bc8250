/* SPDX-License-Identifier: MIT */
#include "core/enrolments-private.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A refusal that may be mended: as long as other refusals are remembered (core/broker.c). */
#define REFUSAL_MSECS 60000

char *mauth_store_name(const char *tenant, const char *account)
{
	return mauth_printf("%s/%s", tenant, account);
}

void mauth_enrolment_app(const struct mauth_tenant *tenant, char app_r[static 33])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char *text = mauth_printf("%s\n%s\n%s", tenant->authority, tenant->tenant_id, tenant->client_id);

	SHA256((const unsigned char *)text, strlen(text), digest);
	free(text);
	for (size_t i = 0; i < 16; i++) {
		app_r[2 * i] = hex[digest[i] >> 4];
		app_r[2 * i + 1] = hex[digest[i] & 15];
	}
	app_r[32] = '\0';
}

static const char *node_name(const struct mauth_node *node)
{
	return ((const struct mauth_enrolment *)node)->account;
}

struct mauth_enrolments *mauth_enrolments_new(const struct mauth_enrolments_deps *deps)
{
	struct mauth_enrolments *enrolments = mauth_new(sizeof(*enrolments));

	enrolments->deps = *deps;
	mauth_table_init(&enrolments->table, deps->process_key, node_name);
	return enrolments;
}

static void enrolment_free(struct mauth_enrolment *enrolment)
{
	mauth_secret_free(&enrolment->unsaved);
	free(enrolment->refusal);
	free(enrolment->tenant);
	free(enrolment->account);
	free(enrolment);
}

void mauth_enrolments_free(struct mauth_enrolments **enrolments)
{
	struct mauth_enrolments *e = *enrolments;

	if (e == NULL)
		return;
	while (e->table.oldest != NULL) {
		struct mauth_node *node = e->table.oldest;

		mauth_table_remove(&e->table, node);
		enrolment_free((struct mauth_enrolment *)node);
	}
	mauth_table_free(&e->table);
	while (e->writes != NULL) {
		e->writes->enrolments = NULL;
		e->writes = e->writes->next;
	}
	free(e);
	*enrolments = NULL;
}

/* Tenants are told apart by name: their numbers change with the configuration, the store's rows do not. */
static uint32_t tenant_number(const char *tenant)
{
	uint32_t number = 2166136261u;

	for (; *tenant != '\0'; tenant++)
		number = (number ^ (unsigned char)*tenant) * 16777619u;
	return number;
}

static struct mauth_enrolment *find(const struct mauth_enrolments *enrolments, const char *tenant, const char *account)
{
	struct mauth_enrolment *enrolment =
		(struct mauth_enrolment *)mauth_table_find(&enrolments->table, tenant_number(tenant), account);

	return enrolment != NULL && strcmp(enrolment->tenant, tenant) == 0 ? enrolment : NULL;
}

const struct mauth_enrolment *mauth_enrolments_find(const struct mauth_enrolments *enrolments, const char *tenant,
						    const char *account)
{
	return find(enrolments, tenant, account);
}

const struct mauth_enrolment *mauth_enrolments_next(const struct mauth_enrolments *enrolments,
						    const struct mauth_enrolment *enrolment)
{
	return (const struct mauth_enrolment *)(enrolment == NULL ? enrolments->table.oldest : enrolment->node.newer);
}

size_t mauth_enrolments_count(const struct mauth_enrolments *enrolments)
{
	return enrolments->table.count;
}

struct mauth_enrolment *enrolment_get(struct mauth_enrolments *enrolments, const char *tenant, const char *account)
{
	struct mauth_enrolment *enrolment = find(enrolments, tenant, account);

	if (enrolment != NULL)
		return enrolment;
	enrolment = mauth_new(sizeof(*enrolment));
	enrolment->owner = enrolments;
	enrolment->tenant = mauth_strdup(tenant);
	enrolment->account = mauth_strdup(account);
	mauth_table_insert(&enrolments->table, &enrolment->node, tenant_number(tenant), account);
	return enrolment;
}

int64_t mauth_enrolment_expires_at(const struct mauth_enrolment *enrolment)
{
	return enrolment->refreshed_at + MAUTH_ENROLMENT_LIFE_SECS;
}

enum mauth_status mauth_enrolments_usable(const struct mauth_enrolments *enrolments, const struct mauth_tenant *tenant,
					  const char *account, struct mauth_error *error_r)
{
	const struct mauth_enrolment *enrolment = find(enrolments, tenant->name, account);
	char app[33];

	if (enrolment == NULL)
		return mauth_fail(error_r, MAUTH_INTERACTION, 0, "not enrolled");
	if (enrolment->code != 0)
		return mauth_fail(error_r, MAUTH_INTERACTION, enrolment->code, "the enrolment is dead: AADSTS%d: %s",
				  enrolment->code, enrolment->reason);
	mauth_enrolment_app(tenant, app);
	if (strcmp(app, enrolment->app) != 0)
		return mauth_fail(error_r, MAUTH_INTERACTION, 0, "enrolled with another client_id, tenant_id or authority");
	return MAUTH_OK;
}

bool mauth_enrolments_refused(const struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			      struct mauth_error *error_r)
{
	const struct mauth_enrolment *enrolment = find(enrolments, tenant, account);

	if (enrolment == NULL || enrolment->refusal == NULL ||
	    mauth_mono_msecs(enrolments->deps.loop) >= enrolment->refusal_until)
		return false;
	if (error_r != NULL)
		*error_r = *enrolment->refusal;
	return true;
}

enum mauth_status mauth_enrolments_token(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
					 struct mauth_secret **token_r, unsigned int *generation_r,
					 struct mauth_error *error_r)
{
	const struct mauth_seal_context context = { MAUTH_REFRESH_TOKEN_KIND, tenant, account };
	struct mauth_enrolment *enrolment = find(enrolments, tenant, account);
	struct mauth_secret *sealed = NULL;
	enum mauth_status status;
	char *name;

	if (enrolment == NULL)
		return mauth_fail(error_r, MAUTH_INTERACTION, 0, "not enrolled");
	*generation_r = enrolment->generation;
	if (enrolment->unsaved != NULL) {
		*token_r = mauth_secret_dup(enrolment->unsaved);
		return MAUTH_OK;
	}
	name = mauth_store_name(tenant, account);
	status = mauth_store_get(enrolments->deps.store, MAUTH_REFRESH_TOKEN_KIND, name, &sealed, error_r);
	free(name);
	if (status != MAUTH_OK)
		return status == MAUTH_USER_UNKNOWN ?
			mauth_fail(error_r, MAUTH_CONFIG, 0, "the store has no refresh token for %s", account) : status;
	status = mauth_unseal(*enrolments->deps.keyring, &context, mauth_secret_expose(sealed), mauth_secret_size(sealed),
			      token_r, error_r);
	mauth_secret_free(&sealed);
	return status;
}

bool mauth_enrolments_is_owner(const struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			       const char *upn, const char *oid)
{
	const struct mauth_enrolment *enrolment = find(enrolments, tenant, account);

	if (enrolment == NULL)
		return false;
	/* A UPN may change with a marriage, the object id never does. */
	if (*oid != '\0' && enrolment->oid[0] != '\0')
		return strcmp(oid, enrolment->oid) == 0;
	return *upn == '\0' || strcasecmp(upn, account) == 0;
}

/* -- changes ------------------------------------------------------------------------------------------------ */

static bool is_the_end(int code)
{
	return code == 50173 || code == 700082 || code == 70008 || code == 70000 || code == 70043;
}

static void forget_refusal(struct mauth_enrolment *enrolment)
{
	free(enrolment->refusal);
	enrolment->refusal = NULL;
}

static void write_later(struct mauth_enrolments *enrolments, struct enrolment_write *write)
{
	write->enrolments = enrolments;
	write->next = enrolments->writes;
	write->link = &enrolments->writes;
	if (write->next != NULL)
		write->next->link = &write->next;
	enrolments->writes = write;
}

static void write_free(struct enrolment_write *write)
{
	if (write->enrolments != NULL) {
		*write->link = write->next;
		if (write->next != NULL)
			write->next->link = write->link;
	}
	mauth_secret_free(&write->token);
	free(write->tenant);
	free(write->account);
	free(write);
}

static struct enrolment_write *write_new(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
					 const struct mauth_secret *token, mauth_enrolments_fn *done, void *context)
{
	struct enrolment_write *write = mauth_new(sizeof(*write));

	write->tenant = mauth_strdup(tenant);
	write->account = mauth_strdup(account);
	write->token = mauth_secret_dup(token);
	write->done = done;
	write->context = context;
	write_later(enrolments, write);
	return write;
}

bool mauth_enrolments_writing(const struct mauth_enrolments *enrolments, const char *tenant, const char *account)
{
	for (const struct enrolment_write *write = enrolments->writes; write != NULL; write = write->next) {
		if (strcmp(write->tenant, tenant) == 0 && strcmp(write->account, account) == 0)
			return true;
	}
	return false;
}

/* Is a new enrolment on its way to the disk? What is said of the one before must not be written over it. */
static bool is_being_put(const struct mauth_enrolments *enrolments, const char *tenant, const char *account)
{
	for (const struct enrolment_write *write = enrolments->writes; write != NULL; write = write->next) {
		if (write->put && !write->revoked && strcmp(write->tenant, tenant) == 0 &&
		    strcmp(write->account, account) == 0)
			return true;
	}
	return false;
}

static void nobody_waits(const struct mauth_error *error, void *context)
{
	(void)error;
	(void)context;
}

static void write_done(struct enrolment_write *write, const struct mauth_error *error)
{
	mauth_enrolments_fn *done = write->done;
	void *context = write->context;

	if (error != NULL && write->enrolments != NULL && !write->revoked)
		mauth_log(write->enrolments->deps.log, MAUTH_ERROR, "the enrolment of %s cannot be written: %s%s%s",
			  write->account, error->text, error->advice[0] != '\0' ? "; to do: " : "", error->advice);
	write_free(write);
	done(error, context);
}

static const struct mauth_error revoked_meanwhile = {
	.status = MAUTH_POLICY, .text = "revoked while it was being stored",
};

static void put_done(const struct mauth_error *error, void *context)
{
	struct enrolment_write *write = context;
	struct mauth_enrolment *enrolment;

	if (error == NULL && write->enrolments != NULL && !write->revoked) {
		enrolment = enrolment_get(write->enrolments, write->tenant, write->account);
		memcpy(enrolment->oid, write->oid, sizeof(enrolment->oid));
		memcpy(enrolment->app, write->app, sizeof(enrolment->app));
		enrolment->enrolled_at = enrolment->refreshed_at = write->at;
		enrolment->code = 0;
		enrolment->reason[0] = '\0';
		enrolment->dead_since = enrolment->keep_alive_retry = 0;
		/* What is still said about the token before is about another one. */
		enrolment->generation++;
		mauth_secret_free(&enrolment->unsaved);
		forget_refusal(enrolment);
	}
	write_done(write, error == NULL && write->revoked ? &revoked_meanwhile : error);
}

void mauth_enrolments_put(struct mauth_enrolments *enrolments, const struct mauth_enrolment_new *what,
			  mauth_enrolments_fn *done, void *context)
{
	struct enrolment_write *write = write_new(enrolments, what->tenant->name, what->account, NULL, done, context);
	struct mauth_enrolment *before = find(enrolments, what->tenant->name, what->account);
	struct mauth_enrolment image = { .tenant = what->tenant->name, .account = write->account };

	write->put = true;
	/* From now on nothing that is said about the token before may be written over this one. */
	if (before != NULL)
		before->generation++;
	write->at = mauth_wall_secs(enrolments->deps.loop);
	snprintf(write->oid, sizeof(write->oid), "%s", what->oid);
	mauth_enrolment_app(what->tenant, write->app);
	memcpy(image.oid, write->oid, sizeof(image.oid));
	memcpy(image.app, write->app, sizeof(image.app));
	image.enrolled_at = image.refreshed_at = write->at;
	enrolment_write_rows(enrolments, &image, what->refresh_token, what->rows, what->rows_count, put_done, write);
}

static void rotated_done(const struct mauth_error *error, void *context)
{
	struct enrolment_write *write = context;
	struct mauth_enrolment *enrolment = write->enrolments == NULL || write->revoked ? NULL :
		find(write->enrolments, write->tenant, write->account);

	if (enrolment != NULL && enrolment->generation == write->generation) {
		/* A row alone says nothing of a token that could not be written meanwhile. */
		if (write->token != NULL)
			mauth_secret_free(&enrolment->unsaved);
		if (error == NULL)
			enrolment->refreshed_at = write->at;
		else
			enrolment->unsaved = write->token != NULL ? mauth_secret_dup(write->token) : enrolment->unsaved;
	}
	write_done(write, error);
}

void mauth_enrolments_rotated(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			      unsigned int generation, const struct mauth_secret *token, mauth_enrolments_fn *done,
			      void *context)
{
	struct mauth_enrolment *enrolment = find(enrolments, tenant, account), image;
	struct enrolment_write *write = write_new(enrolments, tenant, account, token, done, context);

	if (enrolment == NULL || enrolment->generation != generation || is_being_put(enrolments, tenant, account)) {
		/* Enrolled again, or revoked, while Entra was asked: the newer one is not to be overwritten. */
		enrolment_write_rows(enrolments, NULL, NULL, NULL, 0, rotated_done, write);
		return;
	}
	forget_refusal(enrolment);
	/* One that could not be written before goes with this chance. */
	if (token == NULL)
		write->token = mauth_secret_dup(enrolment->unsaved);
	write->generation = generation;
	write->at = mauth_wall_secs(enrolments->deps.loop);
	image = *enrolment;
	image.refreshed_at = write->at;
	enrolment_write_rows(enrolments, &image, write->token, NULL, 0, rotated_done, write);
}

static void died(struct mauth_enrolments *enrolments, struct mauth_enrolment *enrolment, const struct mauth_error *error,
		 int code)
{
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", enrolment->tenant), MAUTH_FIELD_STR("user", enrolment->account),
		MAUTH_FIELD_NUM("code", code),
	};
	const struct mauth_log *log = enrolments->deps.log;
	struct enrolment_write *write;

	enrolment->code = code;
	enrolment->dead_since = mauth_wall_secs(enrolments->deps.loop);
	snprintf(enrolment->reason, sizeof(enrolment->reason), "%.159s", error->text);
	mauth_log(log, MAUTH_ERROR, "the enrolment of %s (tenant %s) is dead: %s; to do: doveadm modernauth enroll %s",
		  enrolment->account, enrolment->tenant, error->text, enrolment->account);
	if (log->event != NULL)
		log->event(log->context, "modernauth_enrolment_died", 0, fields, sizeof(fields) / sizeof(fields[0]));
	write = write_new(enrolments, enrolment->tenant, enrolment->account, NULL, nobody_waits, NULL);
	/* No token: the row with the old one stays. */
	enrolment_write_rows(enrolments, enrolment, NULL, NULL, 0, rotated_done, write);
	write->generation = enrolment->generation;
	write->at = enrolment->refreshed_at;
}

void mauth_enrolments_refusal(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
			      unsigned int generation, const struct mauth_error *error, int code)
{
	struct mauth_enrolment *enrolment = find(enrolments, tenant, account);

	if (enrolment == NULL || enrolment->generation != generation || is_being_put(enrolments, tenant, account))
		return;
	if (enrolment->refusal == NULL)
		enrolment->refusal = mauth_new(sizeof(*enrolment->refusal));
	*enrolment->refusal = *error;
	enrolment->refusal_until = mauth_mono_msecs(enrolments->deps.loop) + REFUSAL_MSECS;
	/* With an older token than the one that is there now, perhaps: whose rows they are finds out. */
	if (is_the_end(code) && enrolment->code == 0 && !enrolments->deps.store->follows)
		died(enrolments, enrolment, error, code);
}

static void removed_done(const struct mauth_error *error, void *context)
{
	write_done(context, error);
}

enum mauth_status mauth_enrolments_remove(struct mauth_enrolments *enrolments, const char *tenant, const char *account,
					  mauth_enrolments_fn *done, void *context, struct mauth_error *error_r)
{
	struct mauth_enrolment *enrolment = find(enrolments, tenant, account);
	char *name = mauth_store_name(tenant, account);
	const struct mauth_store_row rows[] = {
		{ .kind = MAUTH_ENROLMENT_KIND, .name = name }, { .kind = MAUTH_REFRESH_TOKEN_KIND, .name = name },
	};
	bool known = enrolment != NULL;

	for (struct enrolment_write *write = enrolments->writes; write != NULL; write = write->next) {
		if (strcmp(write->tenant, tenant) != 0 || strcmp(write->account, account) != 0)
			continue;
		/* The first one of an account is not in the table before it is on disk. */
		known = known || (write->put && !write->revoked);
		write->revoked = true;
	}
	if (!known) {
		free(name);
		return mauth_fail(error_r, MAUTH_USER_UNKNOWN, 0, "%s is not enrolled", account);
	}
	if (enrolment != NULL) {
		mauth_table_remove(&enrolments->table, &enrolment->node);
		enrolment_free(enrolment);
	}
	mauth_store_write(enrolments->deps.store, rows, 2, removed_done,
			  write_new(enrolments, tenant, account, NULL, done, context));
	free(name);
	return MAUTH_OK;
}

/* -- following ---------------------------------------------------------------------------------------------- */

bool mauth_enrolments_follows(const struct mauth_enrolments *enrolments)
{
	return enrolments->deps.store->follows;
}

enum mauth_status mauth_enrolments_follow(struct mauth_enrolments *enrolments, const struct mauth_store_row *row,
					  struct mauth_error *error_r)
{
	struct mauth_enrolment *enrolment;
	int64_t enrolled_at = 0;
	const char *account;
	char *tenant;

	if (!enrolment_split_name(row->name, &tenant, &account))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "the store's enrolment \"%.100s\" cannot be read", row->name);
	enrolment = find(enrolments, tenant, account);
	free(tenant);
	if (row->value == NULL) {
		if (enrolment != NULL) {
			mauth_table_remove(&enrolments->table, &enrolment->node);
			enrolment_free(enrolment);
		}
		return MAUTH_OK;
	}
	if (enrolment == NULL)
		return mauth_enrolments_load(enrolments, row, error_r);
	enrolled_at = enrolment->enrolled_at;
	enrolment->code = 0;
	if (mauth_enrolments_load(enrolments, row, error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	/* There is another refresh token now: what Entra said of the one before is about that. */
	forget_refusal(enrolment);
	if (enrolment->enrolled_at != enrolled_at)
		enrolment->generation++;
	return MAUTH_OK;
}
