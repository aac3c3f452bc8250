/* SPDX-License-Identifier: MIT */
/* Whose pseudonyms are whose: REVEAL, and ERASE, which makes that nobody knows any more. Both are on record before they are answered. */
#include "broker/admin-private.h"

#include "core/inventory-privacy.h"
#include "core/mem.h"
#include "core/pseudonyms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REVEAL_MAX 500u
#define REASON_MAX 200u

/* Only root: others may administer, too, but not look behind pseudonyms. */
static bool may(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *reason = mauth_wire_get(line, "reason");
	struct mauth_error error;

	if (session->uid == 0 && reason != NULL && *reason != '\0')
		return true;
	if (session->uid != 0)
		mauth_fail(&error, MAUTH_POLICY, 0, "only root may do that");
	else
		mauth_fail(&error, MAUTH_CONFIG, 0, "a reason was expected: it goes into the audit");
	admin_fail(session, line->id, &error);
	return false;
}

static const char *by(const struct mauth_wire_line *line)
{
	const char *name = mauth_wire_get(line, "by");

	return name == NULL || *name == '\0' ? "unknown" : name;
}

/* -- REVEAL ------------------------------------------------------------------------------------------------- */

struct revealing {
	struct mauth_session *session;
	const struct mauth_wire_line *line;
	struct mauth_buf records;
	struct {
		char pseudonym[MAUTH_PSEUDONYM_SIZE];
		char *name;                  /* NULL: nobody knows */
		struct mauth_error error;
	} *rows;
	size_t count;
};

static void put_record(struct revealing *revealing, const char *pseudonym, const char *name, const struct mauth_error *error)
{
	const struct mauth_service_state *service = revealing->session->service;
	const struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(service->loop), .action = "pseudonym-revealed", .actor = "doveadm", .login = name,
		.pseudonym = pseudonym, .reason = mauth_wire_get(revealing->line, "reason"), .by = by(revealing->line),
		.uid = revealing->session->uid, .error = error,
	};

	mauth_record_change(&revealing->records, &change);
}

static bool look_up(struct revealing *revealing, char *list)
{
	struct mauth_pseudonyms *pseudonyms = revealing->session->service->pseudonyms;
	char *pseudonym;

	while ((pseudonym = strsep(&list, ",")) != NULL) {
		size_t i = revealing->count;

		if (strlen(pseudonym) != MAUTH_PSEUDONYM_SIZE - 1 || !mauth_is_pseudonym(pseudonym, MAUTH_PSEUDONYM_SIZE - 1) ||
		    i == REVEAL_MAX)
			return false;
		memcpy(revealing->rows[i].pseudonym, pseudonym, MAUTH_PSEUDONYM_SIZE);
		if (pseudonyms == NULL)
			mauth_fail(&revealing->rows[i].error, MAUTH_USER_UNKNOWN, 0, "with users = \"hash\" nobody knows whose it is");
		else if (mauth_pseudonyms_find(pseudonyms, pseudonym, &revealing->rows[i].name, &revealing->rows[i].error) == MAUTH_OK)
			revealing->rows[i].error = (struct mauth_error){ 0 };
		revealing->count++;
	}
	return revealing->count > 0;
}

static void answer(struct revealing *revealing)
{
	struct mauth_session *session = revealing->session;

	for (size_t i = 0; i < revealing->count; i++) {
		admin_begin(session, revealing->line->id, "ROW");
		mauth_wire_str(&session->out, "pseudonym", revealing->rows[i].pseudonym);
		mauth_wire_str(&session->out, "name", revealing->rows[i].name);
		if (revealing->rows[i].name == NULL)
			mauth_wire_str(&session->out, "why", revealing->rows[i].error.text);
		admin_end(session);
	}
	admin_begin(session, revealing->line->id, "OK");
	mauth_wire_num(&session->out, "rows", (int64_t)revealing->count);
	admin_end(session);
}

/* On record, or it is not told. */
static void record_and_answer(struct revealing *revealing)
{
	struct mauth_session *session = revealing->session;
	const struct mauth_service_state *service = session->service;
	struct mauth_error error;

	for (size_t i = 0; i < revealing->count; i++)
		put_record(revealing, revealing->rows[i].pseudonym, revealing->rows[i].name,
			   revealing->rows[i].name == NULL ? &revealing->rows[i].error : NULL);
	if (service->sink->append(service->sink->context, revealing->records.data, revealing->records.size, &error) != MAUTH_OK) {
		admin_fail(session, revealing->line->id, &error);
		return;
	}
	mauth_log(service->log, MAUTH_INFO, "%zu pseudonyms revealed to %.64s (uid %ld): %.200s", revealing->count, by(revealing->line),
		  (long)session->uid, mauth_wire_get(revealing->line, "reason"));
	answer(revealing);
}

bool admin_reveal(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_service_state *service = session->service;
	const char *user = mauth_wire_get(line, "user"), *list = mauth_wire_get(line, "pseudonyms");
	struct revealing revealing = { .session = session, .line = line };
	struct mauth_error error;
	bool good = true;

	if ((user == NULL) == (list == NULL) || (user != NULL && (*user == '\0' || strlen(user) > MAUTH_USER_MAX)))
		return false;
	if (!may(session, line))
		return true;
	if (service->config->privacy_users == MAUTH_USERS_CLEAR) {
		mauth_fail(&error, MAUTH_CONFIG, 0, "there are no pseudonyms: users = \"clear\" in privacy { }");
		admin_fail(session, line->id, &error);
		return true;
	}
	revealing.rows = mauth_new_array(REVEAL_MAX, sizeof(*revealing.rows));
	if (user != NULL) {
		mauth_privacy_pseudonym(service->privacy, user, revealing.rows[0].pseudonym);
		revealing.rows[0].name = mauth_strdup(user);
		revealing.count = 1;
	} else {
		char *copy = mauth_strdup(list);

		good = look_up(&revealing, copy);
		free(copy);
	}
	if (good)
		record_and_answer(&revealing);
	for (size_t i = 0; i < revealing.count; i++)
		free(revealing.rows[i].name);
	free(revealing.rows);
	mauth_buf_free(&revealing.records);
	return good;
}

/* -- ERASE -------------------------------------------------------------------------------------------------- */

struct erasing {
	struct admin_op *op;
	unsigned int waiting;
	char person[MAUTH_USER_MAX + 1], pseudonym[MAUTH_PSEUDONYM_SIZE], reason[REASON_MAX + 1];
	bool named;                          /* the broker knew whose pseudonym it was */
	struct mauth_buf left;               /* what is still there, for the admin */
	struct mauth_error error;
};

/* What is there because somebody wants the account to work, and is taken away by the commands for that. */
static void look_what_is_left(struct erasing *erasing, struct mauth_vault *vault)
{
	const struct mauth_exception *exception = NULL;
	const struct mauth_config *config = erasing->op->service->config;
	struct mauth_mailbox where;

	if (mauth_mailbox_resolve(config, erasing->person, &where, NULL) == MAUTH_OK) {
		if (mauth_enrolments_find(mauth_vault_enrolments(vault), where.tenant->name, where.login) != NULL)
			mauth_buf_puts(&erasing->left, "enrolment,");
		if (mauth_devices_has(mauth_vault_devices(vault), where.tenant->name, where.login))
			mauth_buf_puts(&erasing->left, "device passwords,");
		if (mauth_vault_link(vault, where.tenant->name, where.login) != NULL)
			mauth_buf_puts(&erasing->left, "mailbox,");
	}
	while ((exception = mauth_exceptions_next(mauth_vault_exceptions(vault), exception)) != NULL) {
		if (exception->user != NULL && strcasecmp(exception->user, erasing->person) == 0)
			mauth_buf_printf(&erasing->left, "exception %s,", exception->id);
	}
	if (erasing->left.size > 0)
		erasing->left.data[erasing->left.size - 1] = '\0';
}

static void erased_again(const struct mauth_error *error, void *context)
{
	(void)error;
	(void)context;
}

/* Under the pseudonym, as everything else of that person. Where names are clear there is none, and the record of the erasure must not be
 * the one that names him: then the reason (a ticket, say) is what it says. */
static void record_erased(struct erasing *erasing)
{
	struct mauth_service_state *service = erasing->op->service;
	const bool clear = service->config->privacy_users == MAUTH_USERS_CLEAR;
	const struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(service->loop), .action = "person-erased", .actor = "doveadm",
		.login = clear ? NULL : erasing->person, .pseudonym = clear ? NULL : erasing->pseudonym, .reason = erasing->reason,
		.by = erasing->op->by, .uid = erasing->op->uid, .error = erasing->error.status == MAUTH_OK ? NULL : &erasing->error,
	};

	mauth_record_and_log_change(service->sink, service->log, &change);
	/* The record has just brought the name back. */
	if (service->pseudonyms != NULL && erasing->error.status == MAUTH_OK)
		(void)mauth_pseudonyms_forget(service->pseudonyms, erasing->pseudonym, erased_again, NULL);
}

static void erased(const struct mauth_error *error, void *context)
{
	struct erasing *erasing = context;
	struct admin_op *op = erasing->op;

	if (error != NULL && erasing->error.status == MAUTH_OK)
		erasing->error = *error;
	if (--erasing->waiting > 0)
		return;
	record_erased(erasing);
	if (op->session != NULL && erasing->error.status != MAUTH_OK) {
		admin_fail(op->session, op->id, &erasing->error);
	} else if (op->session != NULL) {
		admin_begin(op->session, op->id, "OK");
		mauth_wire_str(&op->session->out, "pseudonym", erasing->pseudonym);
		mauth_wire_str(&op->session->out, "name", erasing->named ? "erased" : "unknown");
		mauth_wire_num(&op->session->out, "inventory", (int64_t)op->rows);
		mauth_wire_str(&op->session->out, "left", erasing->left.data);
		admin_end(op->session);
	}
	mauth_buf_free(&erasing->left);
	mauth_wipe(erasing->person, sizeof(erasing->person));
	free(erasing);
	admin_op_free(op);
}

static bool is_known(struct mauth_pseudonyms *pseudonyms, const char *pseudonym)
{
	struct mauth_error error;
	char *name = NULL;
	bool known = mauth_pseudonyms_find(pseudonyms, pseudonym, &name, &error) == MAUTH_OK;

	if (name != NULL)
		mauth_wipe(name, strlen(name));
	free(name);
	return known;
}

static void erase(struct erasing *erasing, struct mauth_vault *vault)
{
	struct mauth_service_state *service = erasing->op->service;
	struct mauth_inventory *inventory = mauth_broker_inventory(service->broker);
	char scratch[MAUTH_PSEUDONYM_SIZE];

	look_what_is_left(erasing, vault);
	erasing->waiting = 1;
	if (inventory != NULL &&
	    mauth_inventory_forget(inventory, NULL, mauth_inventory_user(service->privacy, erasing->person, scratch), erased, erasing,
				   &erasing->op->rows))
		erasing->waiting++;
	if (service->pseudonyms != NULL) {
		/* What has not been written yet is forgotten at once. */
		erasing->named = is_known(service->pseudonyms, erasing->pseudonym);
		erasing->waiting += mauth_pseudonyms_forget(service->pseudonyms, erasing->pseudonym, erased, erasing);
	}
	erased(NULL, erasing);
}

bool admin_erase(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_service_state *service = session->service;
	const char *user = mauth_wire_get(line, "user");
	struct mauth_vault *vault;
	struct erasing *erasing;

	if (user == NULL || *user == '\0' || strlen(user) > MAUTH_USER_MAX)
		return false;
	if (!may(session, line))
		return true;
	vault = admin_vault(session, line->id);
	if (vault == NULL)
		return true;
	erasing = mauth_new(sizeof(*erasing));
	erasing->op = admin_op_new(session, line->id);
	erasing->op->by = mauth_strdup(by(line));
	mauth_privacy_person(service->config, user, erasing->person);
	if (service->config->privacy_users != MAUTH_USERS_CLEAR)
		mauth_privacy_pseudonym(service->privacy, user, erasing->pseudonym);
	mauth_clean_copy(erasing->reason, sizeof(erasing->reason), mauth_wire_get(line, "reason"), strlen(mauth_wire_get(line, "reason")));
	erase(erasing, vault);
	return true;
}
