/* SPDX-License-Identifier: MIT */
#include "broker/admin-private.h"

#include "core/inventory.h"
#include "core/mem.h"
#include "store/sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- replies ------------------------------------------------------------------------------------------------ */

void admin_begin(struct mauth_session *session, uint32_t id, const char *verb)
{
	mauth_wire_begin(&session->out, verb);
	mauth_wire_id(&session->out, id);
}

void admin_end(struct mauth_session *session)
{
	mauth_wire_end(&session->out);
	mauth_session_flush(session);
}

void admin_fail(struct mauth_session *session, uint32_t id, const struct mauth_error *error)
{
	admin_begin(session, id, "FAIL");
	mauth_wire_str(&session->out, "code", mauth_status_name(error->status));
	mauth_wire_str(&session->out, "reason", error->text);
	mauth_wire_str(&session->out, "advice", error->advice);
	admin_end(session);
}

void admin_time(struct mauth_session *session, const char *key, int64_t at)
{
	if (at > 0)
		mauth_wire_num(&session->out, key, at);
}

/* -- requests that end later -------------------------------------------------------------------------------- */

struct admin_op *admin_op_new(struct mauth_session *session, uint32_t id)
{
	struct admin_op *op = mauth_new(sizeof(*op));

	op->session = session;
	op->service = session->service;
	op->id = id;
	op->uid = session->uid;
	memcpy(op->asked_by, session->by, sizeof(op->asked_by));
	op->next = session->ops;
	op->link = &session->ops;
	if (op->next != NULL)
		op->next->link = &op->next;
	session->ops = op;
	return op;
}

static void unlink_op(struct admin_op *op)
{
	if (op->session == NULL)
		return;
	*op->link = op->next;
	if (op->next != NULL)
		op->next->link = op->link;
	op->session = NULL;
}

void admin_op_free(struct admin_op *op)
{
	unlink_op(op);
	mauth_enrol_unlisten(&op->listener);
	mauth_secret_free(&op->password);
	admin_report_free(op);
	free(op->device_name);
	free(op->user);
	free(op->by);
	free(op);
}

void mauth_admin_forget_all(struct mauth_session *session)
{
	struct admin_op *op;

	mauth_import_free(&session->import);
	while ((op = session->ops) != NULL) {
		/* Whoever only listens is of no use any more; whoever waits for a write frees itself. */
		bool listens = op->listener != NULL || op->report != NULL;

		unlink_op(op);
		if (op->gone != NULL)
			op->gone(op);
		else if (listens)
			admin_op_free(op);
	}
}

void mauth_admin_drained(struct mauth_session *session)
{
	for (struct admin_op *op = session->ops; op != NULL; op = op->next) {
		if (op->report != NULL)
			admin_report_drained(op);
	}
}

/* -- who and what ------------------------------------------------------------------------------------------- */

bool admin_resolve(struct mauth_session *session, const struct mauth_wire_line *line, struct mauth_mailbox *where_r)
{
	const char *user = mauth_wire_get(line, "user"), *tenant = mauth_wire_get(line, "tenant");
	struct mauth_error error;
	enum mauth_status status = mauth_broker_resolve(session->service->broker, user, where_r, &error);

	if (status == MAUTH_OK && tenant != NULL && strcmp(tenant, where_r->tenant->name) != 0)
		status = mauth_fail(&error, MAUTH_USER_UNKNOWN, 0, "%.320s belongs to tenant %s, not to %.64s", user,
				    where_r->tenant->name, tenant);
	if (status == MAUTH_OK)
		return true;
	if (status == MAUTH_NOT_OURS)
		error.status = MAUTH_USER_UNKNOWN;
	admin_fail(session, line->id, &error);
	return false;
}

struct mauth_vault *admin_vault(struct mauth_session *session, uint32_t id)
{
	struct mauth_vault *vault = mauth_broker_vault(session->service->broker);
	struct mauth_error error = *mauth_broker_vault_error(session->service->broker);
	char text[MAUTH_TEXT_MAX];

	if (vault != NULL)
		return vault;
	snprintf(text, sizeof(text), "%s", error.status == MAUTH_OK ? "it is being opened" : error.text);
	error.status = error.status == MAUTH_OK ? MAUTH_TEMPORARY : MAUTH_CONFIG;
	snprintf(error.text, sizeof(error.text), "the store is not open: %.480s", text);
	admin_fail(session, id, &error);
	return NULL;
}

struct admin_who admin_who(const struct mauth_session *session)
{
	return (struct admin_who){ session->by, session->uid };
}

void admin_record(struct mauth_service_state *service, struct admin_who who, const char *action, const struct mauth_mailbox *where,
		  const char *device_id, const char *device_name, const struct mauth_error *error)
{
	struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(service->loop), .action = action, .actor = "doveadm",
		.device_id = device_id, .device_name = device_name, .by = who.by, .uid = who.uid, .error = error,
	};

	if (where != NULL && where->tenant != NULL) {
		change.login = where->login;
		change.tenant_name = where->tenant->name;
		change.tenant_id = where->tenant->tenant_id;
	}
	service->changes++;
	/* Without an audit there is no broker, and without a broker nothing has changed. */
	if (service->sink != NULL)
		mauth_record_and_log_change(service->sink, service->log, &change);
}

/* -- STATUS ------------------------------------------------------------------------------------------------- */

static void put_numbers(struct mauth_session *session)
{
	struct mauth_broker *broker = session->service->broker;
	const struct mauth_inventory *inventory = mauth_broker_inventory(broker);
	struct mauth_broker_stats stats;
	struct mauth_flight_stats flights;
	struct mauth_cache_stats cache;

	mauth_broker_stats(broker, &stats);
	mauth_flights_stats(mauth_broker_flights(broker), &flights);
	mauth_cache_stats(mauth_broker_cache(broker), &cache);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "logins", stats.logins }, { "open", stats.open }, { "granted_cached", stats.granted_cached },
		{ "granted_fetched", stats.granted_fetched }, { "granted_joined", stats.granted_joined },
		{ "verified", stats.verified }, { "passed_client_token", stats.passed },
		{ "refused", stats.refused }, { "refused_from_memory", stats.from_memory }, { "failed", stats.failed },
		{ "not_ours", stats.not_ours }, { "monitored", stats.monitored }, { "denied", stats.denied },
		{ "basic", stats.basic }, { "local", stats.local }, { "upstream_accepted", stats.upstream_accepted },
		{ "upstream_refused", stats.upstream_refused }, { "upstream_failed", stats.upstream_failed },
		{ "relay_requests", stats.relay_requests }, { "relay_cached", stats.relay_cached },
		{ "relay_fetched", stats.relay_fetched }, { "relay_wrong_keys", stats.relay_wrong_keys },
		{ "relay_refused", stats.relay_refused }, { "relay_failed", stats.relay_failed },
		{ "relay_tokens_refused", stats.relay_tokens_refused }, { "relay_mails_accepted", stats.relay_accepted },
		{ "relay_mails_refused", stats.relay_rejected }, { "relay_mails_deferred", stats.relay_deferred },
		{ "sessions_ended", stats.sessions_ended }, { "mailboxes_not_connected", stats.unconnected },
		{ "token_requests", flights.requests }, { "token_requests_retried", flights.retried },
		{ "token_requests_failed", flights.failed }, { "token_requests_open", flights.flying },
		{ "cached_identities", cache.entries }, { "cache_octets", cache.octets },
		{ "cache_evicted", cache.evicted },
		{ "inventory_rows", inventory == NULL ? 0 : mauth_inventory_count(inventory) },
		{ "shielded_users", mauth_shield_count(mauth_broker_shield(broker)) },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		mauth_wire_num(&session->out, rows[i].name, (int64_t)rows[i].value);
}

static void put_store(struct mauth_session *session)
{
	struct mauth_broker *broker = session->service->broker;
	struct mauth_vault *vault = mauth_broker_vault(broker);
	const struct mauth_enrolment *enrolment = NULL;
	size_t dead = 0;

	if (vault == NULL) {
		mauth_wire_str(&session->out, "store", mauth_broker_vault_error(broker)->text);
		return;
	}
	while ((enrolment = mauth_enrolments_next(mauth_vault_enrolments(vault), enrolment)) != NULL)
		dead += enrolment->code != 0;
	mauth_wire_str(&session->out, "store", mauth_vault_follows(vault) ? "follows another front end's" : "open");
	mauth_wire_str(&session->out, "key_id", mauth_vault_key_id(vault));
	mauth_wire_num(&session->out, "enrolments", (int64_t)mauth_enrolments_count(mauth_vault_enrolments(vault)));
	mauth_wire_num(&session->out, "enrolments_dead", (int64_t)dead);
	mauth_wire_num(&session->out, "enrolments_pending", (int64_t)mauth_enrols_count(mauth_broker_enrols(broker)));
	mauth_wire_num(&session->out, "exceptions", (int64_t)mauth_exceptions_count(mauth_vault_exceptions(vault)));
	mauth_wire_num(&session->out, "relay_keys", (int64_t)mauth_relay_keys_count(mauth_vault_relay_keys(vault)));
	mauth_wire_num(&session->out, "device_passwords", (int64_t)mauth_devices_count(mauth_vault_devices(vault)));
}

/* "contoso: /etc/...pem in use, ends 2027-03-01" */
static void put_credentials(struct mauth_session *session)
{
	const struct mauth_config *config = session->service->config;
	const struct mauth_flights *flights = mauth_broker_flights(session->service->broker);
	struct mauth_buf text = { 0 };

	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *tenant = config->tenants[i];

		for (size_t j = 0; j < tenant->credentials_count && text.size < 2048; j++) {
			const struct mauth_credential *credential = &tenant->credentials[j];
			int64_t left = (credential->not_after - mauth_wall_secs(session->service->loop)) / 86400;
			struct mauth_credential_state state;

			mauth_flights_credential(flights, tenant, j, &state);
			mauth_buf_printf(&text, "%s%s: %s%s", text.size > 0 ? "; " : "", tenant->name, credential->path,
					 state.in_use ? " (in use)" : "");
			if (credential->not_after > 0)
				mauth_buf_printf(&text, ", %lld days left", (long long)left);
			if (state.refused_code != 0)
				mauth_buf_printf(&text, ", refused with AADSTS%d", state.refused_code);
		}
	}
	if (text.size > 0)
		mauth_wire_str(&session->out, "credentials", text.data);
	mauth_buf_free(&text);
}

static bool verb_status(struct mauth_session *session, const struct mauth_wire_line *line)
{
	admin_begin(session, line->id, "OK");
	put_numbers(session);
	mauth_wire_str(&session->out, "audit_durability", session->service->config->audit_group ? "group" : "os");
	put_store(session);
	put_credentials(session);
	admin_end(session);
	return true;
}

/* Which domains have their mailboxes in which map: for "move-batch". */
static bool verb_maps(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_config *config = session->service->config;
	int64_t rows = 0;

	for (size_t i = 0; i < config->domains_count; i++) {
		const struct mauth_tenant *tenant = config->domains[i].tenant;

		admin_begin(session, line->id, "ROW");
		mauth_wire_str(&session->out, "domain", config->domains[i].name);
		mauth_wire_str(&session->out, "tenant", tenant->name);
		mauth_wire_str(&session->out, "map", tenant->mailbox_map);
		mauth_wire_str(&session->out, "in_force", tenant->side_by_map ? "yes" : "no");
		admin_end(session);
		rows++;
	}
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "rows", rows);
	admin_end(session);
	return true;
}

/* Refuses what has to be done at another front end. */
static bool is_followed(struct mauth_session *session, uint32_t id)
{
	const struct mauth_vault *vault = mauth_broker_vault(session->service->broker);
	struct mauth_error error;

	if (vault == NULL || !mauth_vault_follows(vault))
		return false;
	mauth_fail(&error, MAUTH_CONFIG, 0, "the store belongs to another front end, which this one follows; only exceptions can be "
		   "changed here");
	snprintf(error.advice, sizeof(error.advice), "%s", MAUTH_SQLITE_FOLLOWS_ADVICE);
	admin_fail(session, id, &error);
	return true;
}

bool mauth_admin_handle(struct mauth_session *session, const struct mauth_wire_line *line)
{
	static const struct {
		const char *verb;
		bool (*handle)(struct mauth_session *session, const struct mauth_wire_line *line);
		bool owner_only;             /* changes what only the store's owner writes */
	} verbs[] = {
		{ "STATUS", verb_status }, { "LIST", admin_list }, { "SHOW", admin_show }, { "FORGET", admin_forget },
		{ "REVOKE", admin_revoke, true }, { "ENROLL", admin_enroll, true }, { "DEVICE-ADD", admin_device_add, true },
		{ "DEVICE-LIST", admin_device_list }, { "DEVICE-REMOVE", admin_device_remove, true },
		{ "DEVICE-EXPIRE", admin_device_expire, true }, { "REKEY", admin_rekey, true }, { "EXPORT", admin_export },
		{ "IMPORT-LINE", admin_import_line, true }, { "IMPORT", admin_import, true }, { "REPORT", admin_report },
		{ "INVENTORY-FORGET", admin_inventory_forget, true },
		{ "MAPS", verb_maps },
		{ "EXPLAIN", admin_explain },
		{ "ALLOW", admin_allow }, { "DISALLOW", admin_disallow }, { "POLICY", admin_policy },
		{ "RELAY-ADD", admin_relay_add, true }, { "RELAY-LIST", admin_relay_list }, { "RELAY-REMOVE", admin_relay_remove, true },
		{ "DIAGNOSE", admin_diagnose },
		{ "AUDIT", admin_audit },
		{ "REVEAL", admin_reveal }, { "ERASE", admin_erase, true },
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].verb, line->verb) != 0)
			continue;
		if (session->service->broker == NULL) {
			admin_fail(session, line->id, &session->service->config_error);
			return true;
		}
		if (verbs[i].owner_only && is_followed(session, line->id))
			return true;
		return verbs[i].handle(session, line);
	}
	return false;
}
