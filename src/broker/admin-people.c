/* SPDX-License-Identifier: MIT */
#include "broker/admin-private.h"

#include "core/account-check.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_DEFAULT "first device"

/* -- LIST --------------------------------------------------------------------------------------------------- */

static void put_enrolment(struct mauth_session *session, uint32_t id, const char *item, const char *user,
			  const struct mauth_enrolment *enrolment, const char *mailbox)
{
	struct mauth_devices *devices = mauth_vault_devices(mauth_broker_vault(session->service->broker));
	struct mauth_buf *out = &session->out;
	unsigned int count = 0;

	for (const struct mauth_device *device = mauth_devices_of(devices, enrolment->tenant, user); device != NULL;
	     device = device->next)
		count++;
	admin_begin(session, id, "ROW");
	mauth_wire_str(out, "item", item);
	mauth_wire_str(out, "user", user);
	mauth_wire_str(out, "tenant", enrolment->tenant);
	mauth_wire_str(out, "account", enrolment->account);
	mauth_wire_str(out, "mailbox", mailbox);
	mauth_wire_str(out, "state", enrolment->code != 0 ? "dead" : "active");
	if (enrolment->code != 0)
		mauth_wire_str(out, "reason", enrolment->reason);
	else if (enrolment->refusal != NULL)
		mauth_wire_str(out, "reason", enrolment->refusal->text);
	admin_time(session, "enrolled_at", enrolment->enrolled_at);
	admin_time(session, "refreshed_at", enrolment->refreshed_at);
	admin_time(session, "expires_at", mauth_enrolment_expires_at(enrolment));
	mauth_wire_num(out, "devices", count);
	admin_end(session);
}

struct listing {
	struct mauth_session *session;
	uint32_t id;
	const char *tenant, *login;          /* NULL: any */
	const char *item;
	unsigned int rows;
};

static void put_pending(const char *tenant, const char *login, const struct mauth_enrol_news *news, void *context)
{
	struct listing *listing = context;
	struct mauth_buf *out = &listing->session->out;

	if ((listing->tenant != NULL && strcmp(listing->tenant, tenant) != 0) ||
	    (listing->login != NULL && strcmp(listing->login, login) != 0))
		return;
	admin_begin(listing->session, listing->id, "ROW");
	mauth_wire_str(out, "item", listing->item);
	mauth_wire_str(out, "user", login);
	mauth_wire_str(out, "tenant", tenant);
	mauth_wire_str(out, "account", news->account);
	mauth_wire_str(out, "mailbox", news->mailbox);
	mauth_wire_str(out, "state", "pending");
	admin_time(listing->session, "expires_at", news->expires_at);
	admin_end(listing->session);
	listing->rows++;
}

static void end_rows(struct mauth_session *session, uint32_t id, unsigned int rows)
{
	admin_begin(session, id, "OK");
	mauth_wire_num(&session->out, "rows", rows);
	admin_end(session);
}

bool admin_list(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct listing listing = { .session = session, .id = line->id, .tenant = mauth_wire_get(line, "tenant") };
	unsigned int expiring = mauth_wire_get_num(line, "expiring", 366u * 86400u, 0);
	struct mauth_vault *vault = admin_vault(session, line->id);
	int64_t until = mauth_wall_secs(session->service->loop) + expiring;
	const struct mauth_enrolment *enrolment = NULL;
	const struct mauth_link *link = NULL;

	if (vault == NULL)
		return true;
	while ((enrolment = mauth_enrolments_next(mauth_vault_enrolments(vault), enrolment)) != NULL) {
		if ((listing.tenant != NULL && strcmp(listing.tenant, enrolment->tenant) != 0) ||
		    (expiring > 0 && enrolment->code == 0 && mauth_enrolment_expires_at(enrolment) > until))
			continue;
		put_enrolment(session, line->id, NULL, enrolment->account, enrolment, enrolment->account);
		listing.rows++;
	}
	while (expiring == 0 && (link = mauth_vault_next_link(vault, link)) != NULL) {
		enrolment = mauth_enrolments_find(mauth_vault_enrolments(vault), link->tenant, link->account);
		if (enrolment == NULL || (listing.tenant != NULL && strcmp(listing.tenant, link->tenant) != 0))
			continue;
		put_enrolment(session, line->id, NULL, link->login, enrolment, link->mailbox);
		listing.rows++;
	}
	if (expiring == 0)
		mauth_enrols_each(mauth_broker_enrols(session->service->broker), put_pending, &listing);
	end_rows(session, line->id, listing.rows);
	return true;
}

/* -- SHOW --------------------------------------------------------------------------------------------------- */

static void put_route(struct mauth_session *session, uint32_t id, const struct mauth_mailbox *where)
{
	const struct mauth_tenant *tenant = where->tenant;
	char grants[64] = "";

	for (size_t i = 0; i < tenant->grants_count; i++) {
		size_t used = strlen(grants);

		snprintf(grants + used, sizeof(grants) - used, "%s%s", i > 0 ? "," : "", mauth_grant_name(tenant->grants[i]));
	}
	admin_begin(session, id, "ROW");
	mauth_wire_str(&session->out, "item", "route");
	mauth_wire_str(&session->out, "tenant", tenant->name);
	mauth_wire_str(&session->out, "account", where->account);
	mauth_wire_str(&session->out, "mailbox", where->mailbox);
	mauth_wire_str(&session->out, "grants", grants);
	if (where->map != NULL)
		mauth_wire_str(&session->out, "rule", where->map->name);
	admin_end(session);
}

static void put_tokens(struct mauth_session *session, uint32_t id, const struct mauth_mailbox *where)
{
	struct mauth_cache *cache = mauth_broker_cache(session->service->broker);
	char token_id[MAUTH_TOKEN_ID_SIZE];

	for (enum mauth_grant_type grant = 0; grant < MAUTH_GRANT_COUNT; grant++) {
		struct mauth_cache_entry *entry = mauth_cache_find(cache, where->tenant->keys[grant],
								   grant == MAUTH_GRANT_APP ? "" : where->account);

		if (entry == NULL)
			continue;
		mauth_cache_token_id(entry, token_id);
		admin_begin(session, id, "ROW");
		mauth_wire_str(&session->out, "item", "token");
		mauth_wire_str(&session->out, "grant", mauth_grant_name(grant));
		mauth_wire_str(&session->out, "token_id", token_id);
		admin_time(session, "expires_at", entry->expires_wall);
		mauth_wire_str(&session->out, "refused", entry->refused ? "yes" : "no");
		admin_end(session);
	}
}

static void put_refusal(struct mauth_session *session, uint32_t id, const struct mauth_mailbox *where)
{
	unsigned int left = mauth_shield_locked(mauth_broker_shield(session->service->broker), where->tenant->key, where->account);

	if (left == 0)
		return;
	admin_begin(session, id, "ROW");
	mauth_wire_str(&session->out, "item", "refusal");
	mauth_wire_str(&session->out, "reason", "too many bad passwords: not forwarded to Entra");
	admin_time(session, "until", mauth_wall_secs(session->service->loop) + left);
	admin_end(session);
}

/* What Microsoft Graph has said of the account, if that keeps the login out. */
static void put_account(struct mauth_session *session, uint32_t id, const struct mauth_mailbox *where)
{
	struct mauth_accounts *accounts = mauth_broker_accounts(session->service->broker);
	enum mauth_status status;
	struct mauth_error error;

	if (!mauth_account_known(accounts, where->tenant, where->login, &status, &error) || status == MAUTH_OK)
		return;
	admin_begin(session, id, "ROW");
	mauth_wire_str(&session->out, "item", "refusal");
	mauth_wire_str(&session->out, "reason", error.text);
	admin_end(session);
}

bool admin_show(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_vault *vault = mauth_broker_vault(session->service->broker);
	const struct mauth_enrolment *enrolment;
	struct mauth_mailbox where;
	struct listing listing = { .session = session, .id = line->id, .login = where.login, .item = "enrolment" };

	if (mauth_wire_get(line, "user") == NULL)
		return false;
	if (!admin_resolve(session, line, &where))
		return true;
	listing.tenant = where.tenant->name;
	put_route(session, line->id, &where);
	if (vault != NULL) {
		enrolment = mauth_enrolments_find(mauth_vault_enrolments(vault), where.tenant->name, where.account);
		if (enrolment != NULL)
			put_enrolment(session, line->id, "enrolment", where.login, enrolment, where.mailbox);
		mauth_enrols_each(mauth_broker_enrols(session->service->broker), put_pending, &listing);
		for (const struct mauth_device *device = mauth_devices_of(mauth_vault_devices(vault), where.tenant->name,
									  where.login);
		     device != NULL; device = device->next)
			admin_device_row(session, line->id, "device", where.tenant->name, where.login, device);
	}
	put_tokens(session, line->id, &where);
	put_refusal(session, line->id, &where);
	put_account(session, line->id, &where);
	admin_begin(session, line->id, "OK");
	admin_end(session);
	return true;
}

/* -- FORGET, REVOKE ----------------------------------------------------------------------------------------- */

bool admin_forget(struct mauth_session *session, const struct mauth_wire_line *line)
{
	unsigned int tokens, refusals;
	struct mauth_mailbox where;

	if (mauth_wire_get(line, "user") == NULL)
		return false;
	if (!admin_resolve(session, line, &where))
		return true;
	mauth_broker_forget(session->service->broker, &where, &tokens, &refusals);
	admin_record(session->service, admin_who(session), "cache-forgotten", &where, NULL, NULL, NULL);
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "tokens", tokens);
	mauth_wire_num(&session->out, "refusals", refusals);
	admin_end(session);
	return true;
}

/* Device passwords and relay keys that are being removed, and the enrolment: the answer comes when all of it is on disk. */
struct revocation {
	struct admin_op *op;
	unsigned int tokens, refusals, enrolments, devices, relay_keys, waiting;
	struct mauth_buf left;               /* names of relay keys that are for others as well */
	struct mauth_error error;            /* the first one */
};

static void revocation_done(struct revocation *revocation, const struct mauth_error *error)
{
	struct admin_op *op = revocation->op;
	struct mauth_session *session = op->session;

	if (error != NULL && revocation->error.status == MAUTH_OK)
		revocation->error = *error;
	if (--revocation->waiting > 0)
		return;
	error = revocation->error.status == MAUTH_OK ? NULL : &revocation->error;
	admin_record(op->service, (struct admin_who){ op->asked_by, op->uid }, "revoked", &op->where, NULL, NULL, error);
	if (session != NULL && error != NULL) {
		admin_fail(session, op->id, error);
	} else if (session != NULL) {
		admin_begin(session, op->id, "OK");
		mauth_wire_num(&session->out, "tokens", revocation->tokens);
		mauth_wire_num(&session->out, "refusals", revocation->refusals);
		mauth_wire_num(&session->out, "enrolments", revocation->enrolments);
		mauth_wire_num(&session->out, "devices", revocation->devices);
		mauth_wire_num(&session->out, "relay_keys", revocation->relay_keys);
		mauth_wire_str(&session->out, "relay_keys_left", revocation->left.data);
		admin_end(session);
	}
	admin_op_free(op);
	mauth_buf_free(&revocation->left);
	free(revocation);
}

static void enrolment_removed(const struct mauth_error *error, void *context)
{
	revocation_done(context, error);
}

static void device_removed(const char *id, const struct mauth_error *error, void *context)
{
	(void)id;
	revocation_done(context, error);
}

static void revoke_devices(struct revocation *revocation, struct mauth_devices *devices)
{
	const struct mauth_mailbox *where = &revocation->op->where;
	const struct mauth_device *device;
	char id[MAUTH_DEVICE_ID_SIZE];

	while ((device = mauth_devices_of(devices, where->tenant->name, where->login)) != NULL) {
		snprintf(id, sizeof(id), "%s", device->id);
		if (mauth_devices_remove(devices, where->tenant->name, where->login, id, device_removed, revocation, NULL) !=
		    MAUTH_OK)
			return;
		revocation->waiting++;
		revocation->devices++;
	}
}

static void relay_key_removed(const struct mauth_relay_key *key, const struct mauth_error *error, void *context)
{
	(void)key;
	revocation_done(context, error);
}

/* Those that are for this login alone. Of the others it can only be said that they still give its tokens. */
static void revoke_relay_keys(struct revocation *revocation, struct mauth_relay_keys *keys)
{
	const char *login = revocation->op->where.login;
	const struct mauth_relay_key *key, *next;
	char id[MAUTH_RELAY_KEY_ID_SIZE];

	for (key = mauth_relay_keys_next(keys, NULL); key != NULL; key = next) {
		next = mauth_relay_keys_next(keys, key);
		if (!mauth_relay_key_is_for(key, login))
			continue;
		if (key->identities[1] != NULL || strcmp(key->identities[0], login) != 0) {
			mauth_buf_printf(&revocation->left, "%s%s", revocation->left.size > 0 ? ", " : "", key->name);
			continue;
		}
		memcpy(id, key->id, sizeof(id));
		if (mauth_relay_keys_remove(keys, id, relay_key_removed, revocation, NULL) != MAUTH_OK)
			continue;
		revocation->waiting++;
		revocation->relay_keys++;
	}
}

static void link_removed(const struct mauth_error *error, void *context)
{
	revocation_done(context, error);
}

/* Whose account and mailbox the login stood for. */
static void revoke_link(struct revocation *revocation, struct mauth_vault *vault)
{
	const struct mauth_mailbox *where = &revocation->op->where;
	struct mauth_store_row row = { .kind = MAUTH_LINK_KIND };
	char *name;

	if (mauth_vault_link(vault, where->tenant->name, where->login) == NULL)
		return;
	mauth_vault_set_link(vault, where->tenant->name, where->login, NULL, NULL);
	name = mauth_store_name(where->tenant->name, where->login);
	row.name = name;
	revocation->waiting++;
	mauth_store_write(mauth_vault_store(vault), &row, 1, link_removed, revocation);
	free(name);
}

bool admin_revoke(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_vault *vault;
	struct revocation *revocation;
	struct mauth_mailbox where;

	if (mauth_wire_get(line, "user") == NULL)
		return false;
	vault = admin_vault(session, line->id);
	if (vault == NULL || !admin_resolve(session, line, &where))
		return true;
	revocation = mauth_new(sizeof(*revocation));
	revocation->op = admin_op_new(session, line->id);
	revocation->op->where = where;
	/* Held until everything has been begun. */
	revocation->waiting = 1;
	mauth_enrol_forget(mauth_broker_enrols(session->service->broker), where.tenant, where.login);
	revoke_devices(revocation, mauth_vault_devices(vault));
	revoke_relay_keys(revocation, mauth_vault_relay_keys(vault));
	revoke_link(revocation, vault);
	/* An account that others use, too, is revoked by its own name. */
	if (strcmp(where.account, where.login) == 0 &&
	    mauth_enrolments_remove(mauth_vault_enrolments(vault), where.tenant->name, where.account, enrolment_removed, revocation,
				    NULL) == MAUTH_OK) {
		revocation->waiting++;
		revocation->enrolments++;
	}
	mauth_broker_forget(session->service->broker, &where, &revocation->tokens, &revocation->refusals);
	revocation_done(revocation, NULL);
	return true;
}

/* -- ENROLL ------------------------------------------------------------------------------------------------- */

static void put_code(struct mauth_session *session, uint32_t id, const struct mauth_enrol_news *news)
{
	admin_begin(session, id, "CODE");
	mauth_wire_str(&session->out, "user_code", news->user_code);
	mauth_wire_str(&session->out, "uri", news->uri);
	admin_time(session, "expires_at", news->expires_at);
	mauth_wire_num(&session->out, "interval", news->interval);
	mauth_wire_str(&session->out, "account", news->account);
	admin_end(session);
}

static void put_done(struct mauth_session *session, uint32_t id, const struct mauth_enrol_news *news)
{
	admin_begin(session, id, "OK");
	mauth_wire_str(&session->out, "account", news->account);
	mauth_wire_str(&session->out, "mailbox", news->mailbox);
	if (news->device_password != NULL && news->device_id != NULL) {
		mauth_wire_str(&session->out, "device_id", news->device_id);
		mauth_wire_data(&session->out, "device_password", mauth_secret_expose(news->device_password),
				mauth_secret_size(news->device_password));
	}
	admin_end(session);
}

/* Only called while somebody listens: the session is there. */
static void enrol_news(const struct mauth_enrol_news *news, void *context)
{
	struct admin_op *op = context;

	switch (news->event) {
	case MAUTH_ENROL_CODE:
		put_code(op->session, op->id, news);
		return;
	case MAUTH_ENROL_PENDING:
		admin_begin(op->session, op->id, "NOTE");
		mauth_wire_str(&op->session->out, "state", "pending");
		mauth_wire_num(&op->session->out, "polls", news->polls);
		admin_end(op->session);
		return;
	case MAUTH_ENROL_DONE:
		op->service->changes++;
		put_done(op->session, op->id, news);
		break;
	case MAUTH_ENROL_FAILED:
		admin_fail(op->session, op->id, news->error);
		break;
	}
	op->listener = NULL;
	admin_op_free(op);
}

/* The address called key as a UPN of the same tenant; fallback if it is not given. */
static enum mauth_status take_address(struct mauth_session *session, const struct mauth_wire_line *line, const char *key,
				      const struct mauth_tenant *tenant, const char *fallback, char *address_r,
				      struct mauth_error *error_r)
{
	const char *address = mauth_wire_get(line, key);

	if (address == NULL) {
		snprintf(address_r, MAUTH_USER_MAX + 1, "%s", fallback);
		return MAUTH_OK;
	}
	return mauth_mailbox_address(session->service->config, tenant, address, address_r, error_r);
}

bool admin_enroll(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_config *config = session->service->config;
	const char *device = mauth_wire_get(line, "device");
	char account[MAUTH_USER_MAX + 1], mailbox[MAUTH_USER_MAX + 1];
	struct mauth_mailbox where, plain;
	struct mauth_error error = { .status = MAUTH_OK };
	struct admin_op *op;

	if (mauth_wire_get(line, "user") == NULL)
		return false;
	if (admin_vault(session, line->id) == NULL || !admin_resolve(session, line, &where))
		return true;
	/* What an earlier enrolment has noted does not decide where this one goes. */
	(void)mauth_mailbox_resolve(config, mauth_wire_get(line, "user"), &plain, NULL);
	if (!mauth_config_has_grant(config, where.tenant, MAUTH_GRANT_ENROLLED))
		mauth_fail(&error, MAUTH_CONFIG, 0, "\"grants\" of tenant %s, and of the rules, do not have \"enrolled\"",
			   where.tenant->name);
	if (error.status != MAUTH_OK ||
	    take_address(session, line, "account", where.tenant, plain.account, account, &error) != MAUTH_OK ||
	    take_address(session, line, "mailbox", where.tenant, plain.mailbox, mailbox, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		return true;
	}
	const struct mauth_enrol_want want = {
		.tenant = where.tenant, .login = where.login, .account = account, .mailbox = mailbox,
		.device = device != NULL && *device != '\0' ? device : DEVICE_DEFAULT,
	};
	op = admin_op_new(session, line->id);
	op->where = where;
	op->listener = mauth_enrol_start(mauth_broker_enrols(session->service->broker), &want, enrol_news, op, &error);
	if (op->listener == NULL) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	return true;
}
