/* SPDX-License-Identifier: MIT */
#include "core/request-private.h"

#include "core/health.h"
#include "core/inventory-privacy.h"
#include "core/record.h"

#include <stdlib.h>
#include <string.h>

/* Those whose records are on their way to the disk. */
struct batch {
	struct mauth_login *logins;
};

bool mauth_login_is_outage(enum mauth_status status)
{
	return status == MAUTH_TEMPORARY || status == MAUTH_TIMEOUT || status == MAUTH_PROTOCOL || status == MAUTH_CONFIG;
}

static bool is_let_in(const struct mauth_login *login)
{
	return login->token != NULL || login->basic || login->checked;
}

/* The grant that the record is about: the one that gave the token, or the last one that was tried. */
static const char *grant_name(const struct mauth_login *login)
{
	if (login->password_is_token)
		return "client-token";
	if ((login->token == NULL && (!login->asked || login->checked)) || login->grants_at >= login->grants_count)
		return NULL;
	return mauth_grant_name(login->grants[login->grants_at]);
}

static enum mauth_verified_by verified_by(const struct mauth_login *login)
{
	if (login->verified != MAUTH_VERIFIED_NONE || login->token == NULL)
		return login->verified;
	return MAUTH_VERIFIED_ENTRA;
}

static void fill_where(const struct mauth_login *login, struct mauth_attempt_record *record)
{
	const struct mauth_mailbox *where = &login->where;
	const struct mauth_tenant *tenant = where->tenant;

	if (tenant == NULL)
		return;
	record->upn = where->login;
	record->domain = strrchr(where->login, '@') + 1;
	record->tenant_name = tenant->name;
	record->tenant_id = tenant->tenant_id;
	record->cloud = tenant->cloud;
	if (strcmp(where->account, where->login) != 0)
		record->account = where->account;
	if (strcmp(where->mailbox, where->login) != 0)
		record->mailbox = where->mailbox;
	if (is_let_in(login) && !login->checked) {
		record->upstream_host = tenant->endpoints[login->service].host;
		record->upstream_port = tenant->endpoints[login->service].port;
	}
}

static void fill_record(const struct mauth_login *login, struct mauth_attempt_record *record)
{
	bool granted = login->token != NULL && !login->checked;

	*record = (struct mauth_attempt_record){
		.started_usecs = login->started_wall,
		.duration_usecs = mauth_mono_usecs(login->broker->host.loop) - login->started_mono,
		.session = login->session, .user = login->user, .service = login->service,
		.mechanism = login->mechanism, .client_ip = login->client_ip, .client_port = login->client_port,
		.local_ip = login->local_ip, .local_port = login->local_port, .tls = login->tls,
		.tls_protocol = login->tls_protocol,
		.client_id = login->client_id, .decision = login->decision, .rule = login->rule,
		.verified_by = verified_by(login), .grant = grant_name(login), .skipped = login->skipped,
		.device_id = login->device_id, .device_name = login->device_name,
		.token_source = granted ? login->source : NULL,
		.token_id = granted ? login->token_id : NULL, .token_expires_at = granted ? login->expires_at : 0,
		.status = login->error.status, .code = login->ids.code, .reason = login->error.text,
		.http_status = login->ids.http_status,
	};
	if (login->verdict.action == MAUTH_ACTION_MONITOR && strcmp(login->decision, "monitor") == 0) {
		record->would = mauth_action_name(login->verdict.would);
		record->would_rule = login->verdict.would_rule == NULL ? "tenant" : login->verdict.would_rule->name;
	}
	if (login->verdict.exception[0] != '\0')
		record->exception = login->verdict.exception;
	if (login->relay != NULL)
		record->relay = &login->relay->client;
	if (login->basic)
		record->token_id = login->token_id;
	/* The rule of the configuration that matched says more than that the tenant's settings let it pass. */
	if (login->policy != NULL && login->rule != NULL && strcmp(login->rule, "tenant") == 0)
		record->rule = login->policy->name;
	if (login->ids.correlation_id[0] != '\0') {
		record->correlation_id = login->ids.correlation_id;
		record->trace_id = login->ids.trace_id;
		record->suberror = login->ids.suberror;
		record->policy_id = login->ids.policy_id;
	}
	/* Where nobody was asked there is nothing to tell. */
	if (login->side != MAUTH_SIDE_UNKNOWN && mauth_hybrid_is_set_up(login->where.tenant, login->side_source)) {
		record->mailbox_side = mauth_side_name(login->side);
		record->mailbox_source = mauth_side_source_name(login->side_source);
	}
	fill_where(login, record);
}

static enum mauth_status append_records(struct mauth_broker *broker, struct mauth_error *error_r)
{
	enum mauth_status status = broker->host.audit->append(broker->host.audit->context, broker->records.data,
							      broker->records.size, error_r);

	mauth_buf_clear(&broker->records);
	mauth_health_audit(broker, "attempts", status);
	return status;
}

static void write_record(struct mauth_login *login)
{
	struct mauth_attempt_record record;

	fill_record(login, &record);
	mauth_record_attempt(&login->broker->records, &record);
	login->recorded = true;
	login->recorded_grant = is_let_in(login);
}

/* Its record says what nobody has been told, since it is not on disk, or there is nobody to tell any more. */
static void write_withdrawal(const struct mauth_login *login)
{
	struct mauth_attempt_record record;

	fill_record(login, &record);
	record.withdrawn = true;
	mauth_record_attempt(&login->broker->records, &record);
}

/* What is not on record is not answered with a token. */
static void refuse_unrecorded(struct mauth_login *login, const struct mauth_error *error)
{
	/* Whoever is denied remains denied. */
	bool is_final = login->error.is_final;

	/* Whoever is not ours gets nothing from us: a full disk must not lock out the users of other passdbs. */
	if (!login->broker->config->audit_required || login->error.status == MAUTH_NOT_OURS)
		return;
	login->error = *error;
	login->error.is_final = is_final;
	login->error.status = MAUTH_AUDIT;
	login->rule = "audit required";
	login->basic = login->checked = false;
	mauth_secret_free(&login->token);
}

static void count_outcome(struct mauth_login *login)
{
	struct mauth_broker_stats *stats = &login->broker->stats;

	if (login->relay != NULL) {
		login_relay_counted(login);
	} else if (login->checked) {
		stats->verified++;
	} else if (login->basic) {
		stats->basic++;
	} else if (login->token == NULL) {
		if (strcmp(login->decision, "monitor") == 0)
			stats->monitored++;
		else if (strcmp(login->decision, "local") == 0)
			stats->local++;
		else if (strcmp(login->decision, "deny") == 0 && login->error.status == MAUTH_POLICY)
			stats->denied++;
		else if (login->error.status == MAUTH_NOT_OURS)
			stats->not_ours++;
		else if (mauth_login_is_outage(login->error.status) || login->error.status == MAUTH_AUDIT)
			stats->failed++;
		else
			stats->refused++;
	} else if (login->password_is_token) {
		stats->passed++;
	} else if (strcmp(login->source, "cache") == 0) {
		stats->granted_cached++;
	} else if (login->joined) {
		stats->granted_joined++;
	} else {
		stats->granted_fetched++;
	}
}

/* After the audit, whose failure may have turned the outcome. */
static void note_in_inventory(const struct mauth_login *login)
{
	struct mauth_attempt_record record;

	/* Whoever has a relay key is none of those who still use passwords. */
	if (login->broker->inventory == NULL || login->where.tenant == NULL || login->relay != NULL)
		return;
	fill_record(login, &record);
	mauth_inventory_note_private(login->broker->inventory, login->broker->host.privacy, &record);
}

enum mauth_level login_level(enum mauth_status status)
{
	switch (status) {
	case MAUTH_OK:
	case MAUTH_NOT_OURS:
	case MAUTH_CANCELLED:
		return MAUTH_DEBUG;
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
	case MAUTH_POLICY:
		return MAUTH_INFO;
	case MAUTH_LOCKED:
	case MAUTH_DISABLED:
	case MAUTH_EXPIRED:
	case MAUTH_INTERACTION:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
		return MAUTH_WARNING;
	case MAUTH_CONFIG:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_STATUS_COUNT:
		return MAUTH_ERROR;
	}
	return MAUTH_ERROR;
}

static const char *or_dash(const char *str)
{
	return str == NULL || *str == '\0' ? "-" : str;
}

static void log_outcome(const struct mauth_login *login)
{
	const struct mauth_log *log = login->broker->host.log;
	enum mauth_level level = login_level(login->error.status);

	if (level == MAUTH_DEBUG && !log->debug)
		return;
	if (login->relay != NULL) {
		login_relay_logged(login);
		return;
	}
	if (is_let_in(login)) {
		mauth_log(log, level, "login %s: user=%.320s protocol=%s ip=%s session=%s token=%s",
			  login->checked ? "verified" : login->basic ? "passed on with its password" : "upgraded", login->user,
			  mauth_service_name(login->service), or_dash(login->client_ip), or_dash(login->session), or_dash(login->source));
		return;
	}
	mauth_log(log, level, "login refused (%s): user=%.320s protocol=%s ip=%s session=%s: %s%s%s%s%s%s%s",
		  mauth_status_name(login->error.status), login->user, mauth_service_name(login->service),
		  or_dash(login->client_ip), or_dash(login->session), login->error.text,
		  login->error.advice[0] != '\0' ? "; to do: " : "", login->error.advice,
		  login->ids.policy_id[0] != '\0' ? "; conditional access policy " : "", login->ids.policy_id,
		  login->ids.correlation_id[0] != '\0' ? "; correlation id " : "", login->ids.correlation_id);
}

static void emit_event(const struct mauth_login *login)
{
	const struct mauth_log *log = login->broker->host.log;
	char user[MAUTH_USER_MAX + 1];
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("service", login->relay != NULL ? "relay" : mauth_service_name(login->service)),
		MAUTH_FIELD_STR("outcome", is_let_in(login) ? "ok" : "failed"),
		MAUTH_FIELD_STR("status", mauth_status_name(login->error.status)),
		MAUTH_FIELD_STR("decision", login->decision),
		MAUTH_FIELD_STR("cached", login->source != NULL && strcmp(login->source, "cache") == 0 ? "yes" : "no"),
		MAUTH_FIELD_NUM("code", login->ids.code),
		MAUTH_FIELD_STR("tenant", login->where.tenant == NULL ? "-" : login->where.tenant->name),
		MAUTH_FIELD_STR("user", user),
		MAUTH_FIELD_STR("session", or_dash(login->session)),
	};

	if (log->event == NULL)
		return;
	mauth_clean_copy(user, sizeof(user), login->user, strlen(login->user));
	log->event(log->context, "modernauth_attempt_finished", login->started_wall, fields,
		   sizeof(fields) / sizeof(fields[0]));
}

static void note_device_use(struct mauth_login *login)
{
	const struct mauth_device_question question = {
		.tenant = login->where.tenant == NULL ? NULL : login->where.tenant->name, .user = login->where.login,
		.service = login->service, .client_ip = login->client_ip,
	};

	if (login->token != NULL && login->relay != NULL && login->broker->vault != NULL)
		mauth_relay_keys_used(mauth_vault_relay_keys(login->broker->vault), login->relay->key_id);
	if (is_let_in(login) && login->verified == MAUTH_VERIFIED_DEVICE && login->broker->vault != NULL)
		mauth_devices_used(mauth_vault_devices(login->broker->vault), &question, login->device_id);
}

static void answer(struct mauth_login *login)
{
	mauth_login_fn *done = login->done;
	const struct mauth_tenant *tenant = login->where.tenant;
	struct mauth_grant grant;

	login->done = NULL;
	if (!is_let_in(login)) {
		done(NULL, &login->error, login->context);
		return;
	}
	if (login->checked) {
		done(&(struct mauth_grant){ .checked = true }, NULL, login->context);
		return;
	}
	grant = (struct mauth_grant){
		.token = login->token, .token_id = login->token_id, .mailbox = login->where.mailbox,
		.endpoint = &tenant->endpoints[login->service], .expires_at = login->expires_at,
		.cached = strcmp(login->source, "cache") == 0, .verified_by = verified_by(login),
		.relay_key_id = login->relay == NULL ? NULL : login->relay->key_id,
		.relay_key_name = login->relay == NULL ? NULL : login->relay->key_name,
	};
	done(&grant, NULL, login->context);
}

/* Counted, told, answered. A callback may cancel others of the list. */
static void end_logins(struct mauth_login **first)
{
	struct mauth_login *login;

	while ((login = *first) != NULL) {
		mauth_login_unlink(login);
		count_outcome(login);
		note_in_inventory(login);
		log_outcome(login);
		emit_event(login);
		note_device_use(login);
		answer(login);
		mauth_login_free(login);
	}
}

/* The records are in the file, perhaps, but not on disk: what they say does not become true. */
static void withdraw(struct mauth_login *first, const struct mauth_error *error)
{
	struct mauth_broker *broker = first->broker;

	for (struct mauth_login *login = first; login != NULL; login = login->next) {
		enum mauth_status before = login->error.status;

		refuse_unrecorded(login, error);
		if (login->error.status != before)
			write_withdrawal(login);
	}
	if (broker->records.size > 0)
		(void)append_records(broker, NULL);
}

static void batch_committed(const struct mauth_error *error, void *context)
{
	struct batch *batch = context;

	if (error != NULL && batch->logins != NULL)
		withdraw(batch->logins, error);
	end_logins(&batch->logins);
	free(batch);
}

/* The only exit: all that was decided in this turn is recorded in one write, and only then, or once that is on disk, counted,
 * told, answered. */
void mauth_logins_finish(struct mauth_broker *broker)
{
	struct batch *batch;
	struct mauth_login *login;
	struct mauth_error error;

	if (broker->finishing == NULL)
		return;
	for (login = broker->finishing; login != NULL; login = login->next)
		write_record(login);
	if (append_records(broker, &error) != MAUTH_OK) {
		for (login = broker->finishing; login != NULL; login = login->next) {
			login->recorded_grant = false;
			refuse_unrecorded(login, &error);
		}
		end_logins(&broker->finishing);
		return;
	}
	batch = mauth_new(sizeof(*batch));
	if (!mauth_audit_commit(broker->host.audit, batch_committed, batch)) {
		free(batch);
		end_logins(&broker->finishing);
		return;
	}
	batch->logins = broker->finishing;
	batch->logins->link = &batch->logins;
	broker->finishing = NULL;
	broker->finishing_tail = &broker->finishing;
}

void mauth_login_finish_gone(struct mauth_login *login)
{
	/* While its record goes to disk, or in the turn in which it is being answered, it has been written already. */
	if (!login->recorded)
		write_record(login);
	else if (login->recorded_grant)
		write_withdrawal(login);
	if (login->broker->records.size > 0)
		(void)append_records(login->broker, NULL);
	count_outcome(login);
	note_in_inventory(login);
	emit_event(login);
	mauth_login_free(login);
}
