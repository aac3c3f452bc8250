/* SPDX-License-Identifier: MIT */
#include "core/broker.h"

#include "core/health.h"
#include "core/inventory-privacy.h"
#include "core/hybrid.h"
#include "core/mem.h"
#include "core/notices.h"
#include "core/record.h"
#include "core/request-private.h"
#include "core/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The second refused token in a row is followed by a pause, doubled with each further one: Exchange wants none of them. */
#define REFUSED_PAUSE_SECS 30
#define REFUSED_PAUSE_DOUBLINGS 4
/* Mailboxes in a row that refuse the application's token before it is taken for a bad one. */
#define SHARED_REFUSALS 3
/* Refusals that are no wrong password (MFA, disabled): remembered just long enough to spare Entra a client's retries, as MSAL
 * does (UiRequiredProvider: 120 s). */
#define OTHER_REFUSAL_SECS 60
#define SEND_AS "the identity may not send as this sender: Add-RecipientPermission SENDER -Trustee IDENTITY -AccessRights SendAs"

struct mauth_broker *mauth_broker_new(const struct mauth_host *host, struct mauth_config *config,
				      const struct mauth_verifier_key *key)
{
	struct mauth_broker *broker = mauth_new(sizeof(*broker));
	struct mauth_shield_settings shield = {
		.remember_secs = config->bad_password_secs, .other_secs = OTHER_REFUSAL_SECS,
		.window_secs = config->lockout_window_secs, .lockout_secs = config->lockout_secs,
	};
	struct mauth_flight_deps deps = {
		.loop = host->loop, .http = host->http, .log = host->log, .config = config, .key = &broker->key,
		.enrolments = &broker->enrolments,
	};
	struct mauth_enrols_deps enrols = {
		.loop = host->loop, .http = host->http, .log = host->log, .audit = host->audit, .config = config,
		.vault = &broker->vault,
	};
	struct mauth_hybrid_deps hybrid = {
		.loop = host->loop, .http = host->http, .log = host->log, .files = host->files, .worker = host->worker,
		.config = config, .news = host->map_news,
	};

	broker->host = *host;
	broker->config = mauth_config_ref(config);
	broker->ready_tail = &broker->ready;
	broker->finishing_tail = &broker->finishing;
	if (key != NULL)
		broker->key = *key;
	else
		mauth_verifier_key_new(&broker->key);
	broker->cache = mauth_cache_new(host->loop, &broker->key, config->cache_max);
	broker->shield = mauth_shield_new(host->loop, &broker->key, &shield);
	deps.cache = broker->cache;
	deps.shield = broker->shield;
	broker->flights = mauth_flights_new(&deps);
	enrols.flights = broker->flights;
	broker->accounts = mauth_accounts_new(&(struct mauth_accounts_deps){
		.loop = host->loop, .http = host->http, .log = host->log, .config = config, .key = &broker->key,
		.cache = broker->cache, .flights = broker->flights,
	});
	broker->enrols = mauth_enrols_new(&enrols);
	if (config->inventory)
		broker->inventory = mauth_inventory_new(&(struct mauth_inventory_deps){
			.loop = host->loop, .log = host->log, .process_key = &broker->key, .max = config->inventory_max,
			.keep_secs = config->inventory_keep_secs });
	hybrid.key = &broker->key;
	broker->hybrid = mauth_hybrid_new(&hybrid);
	broker->notices = mauth_notices_new(broker);
	mauth_usage_tell_notices(broker);
	mauth_broker_tend(broker);
	return broker;
}

void mauth_broker_free(struct mauth_broker **broker)
{
	struct mauth_broker *b = *broker;

	if (b == NULL)
		return;
	mauth_timer_remove(b->host.loop, &b->turn);
	mauth_timer_remove(b->host.loop, &b->tend);
	mauth_inventory_free(&b->inventory);
	mauth_hybrid_free(&b->hybrid);
	mauth_notices_free(&b->notices);
	mauth_enrols_free(&b->enrols);
	mauth_accounts_free(&b->accounts);
	mauth_flights_free(&b->flights);
	mauth_shield_free(&b->shield);
	mauth_cache_free(&b->cache);
	mauth_config_unref(&b->config);
	mauth_buf_free(&b->records);
	mauth_buf_free(&b->reported);
	mauth_wipe(&b->key, sizeof(b->key));
	free(b);
	*broker = NULL;
}

static bool list_has(const enum mauth_grant_type *grants, size_t count, enum mauth_grant_type grant)
{
	for (size_t i = 0; i < count; i++) {
		if (grants[i] == grant)
			return true;
	}
	return false;
}

bool mauth_config_has_grant(const struct mauth_config *config, const struct mauth_tenant *tenant,
			    enum mauth_grant_type grant)
{
	for (size_t i = 0; i < config->tenants_count; i++) {
		const struct mauth_tenant *other = config->tenants[i];

		if ((tenant == NULL || other == tenant) && list_has(other->grants, other->grants_count, grant))
			return true;
	}
	for (size_t i = 0; i < config->rules_count; i++) {
		if (list_has(config->rules[i]->grants, config->rules[i]->grants_count, grant))
			return true;
	}
	return false;
}

bool mauth_broker_serves(const struct mauth_broker *broker, const char *user)
{
	struct mauth_hybrid_answer answer;
	struct mauth_mailbox where;

	return mauth_broker_resolve(broker, user, &where, NULL) == MAUTH_OK &&
	       (!mauth_hybrid_peek(broker->hybrid, &where, NULL, &answer) || answer.side != MAUTH_SIDE_ONPREM);
}

enum mauth_status mauth_broker_resolve(const struct mauth_broker *broker, const char *user, struct mauth_mailbox *where_r,
				       struct mauth_error *error_r)
{
	enum mauth_status status = mauth_mailbox_resolve(broker->config, user, where_r, error_r);

	if (status == MAUTH_OK)
		mauth_follow_link(broker, where_r);
	return status;
}

/* What an enrolment has noted about this login, unless the configuration or the user himself says something else. */
void mauth_follow_link(const struct mauth_broker *broker, struct mauth_mailbox *where)
{
	const struct mauth_link *link = broker->vault == NULL || where->map != NULL || where->asked_mailbox ? NULL :
		mauth_vault_link(broker->vault, where->tenant->name, where->login);

	if (link == NULL)
		return;
	snprintf(where->account, sizeof(where->account), "%s", link->account);
	snprintf(where->mailbox, sizeof(where->mailbox), "%s", link->mailbox);
}

static void open_inventory(struct mauth_broker *broker)
{
	struct mauth_error error;

	size_t moved;

	if (broker->inventory == NULL)
		return;
	if (mauth_inventory_open(broker->inventory, mauth_vault_store(broker->vault), &error) == MAUTH_OK) {
		moved = mauth_inventory_make_private(broker->inventory, broker->host.privacy);
		if (moved > 0)
			mauth_log(broker->host.log, MAUTH_INFO, "privacy { users = \"hash\" }: the names in the inventory, %zu rows, are "
				  "pseudonyms from now on", moved);
		return;
	}
	/* A summary: nobody's login depends on it. */
	mauth_log(broker->host.log, MAUTH_ERROR, "the inventory cannot be read from the store, and is kept in memory until the "
		  "next start: %s", error.text);
}

void mauth_broker_set_vault(struct mauth_broker *broker, struct mauth_vault *vault, const struct mauth_error *error)
{
	bool goes = vault == NULL && broker->vault != NULL;

	broker->vault = vault;
	broker->enrolments = vault == NULL ? NULL : mauth_vault_enrolments(vault);
	memset(&broker->vault_error, 0, sizeof(broker->vault_error));
	if (error != NULL)
		broker->vault_error = *error;
	if (goes && broker->inventory != NULL)
		mauth_inventory_close(broker->inventory);
	if (goes) {
		mauth_enrols_stop(broker->enrols);
		mauth_logins_leave_vault(broker);
	}
	/* Of a store that we only follow, these are its owner's. */
	if (vault != NULL && !mauth_vault_follows(vault)) {
		open_inventory(broker);
		mauth_enrols_load(broker->enrols);
	}
	mauth_logins_wake(broker);
}

struct mauth_vault *mauth_broker_vault(struct mauth_broker *broker)
{
	return broker->vault;
}

struct mauth_inventory *mauth_broker_inventory(const struct mauth_broker *broker)
{
	return broker->inventory;
}

struct mauth_enrols *mauth_broker_enrols(struct mauth_broker *broker)
{
	return broker->enrols;
}

struct mauth_notices *mauth_broker_notices(struct mauth_broker *broker)
{
	return broker->notices;
}

const struct mauth_error *mauth_broker_vault_error(const struct mauth_broker *broker)
{
	return &broker->vault_error;
}

static unsigned int drop_token(struct mauth_broker *broker, uint32_t key, const char *account)
{
	struct mauth_cache_entry *entry = mauth_cache_find(broker->cache, key, account);

	if (entry == NULL)
		return 0;
	mauth_cache_drop(broker->cache, &entry);
	return 1;
}

void mauth_broker_forget(struct mauth_broker *broker, const struct mauth_mailbox *where, unsigned int *tokens_r,
			 unsigned int *refusals_r)
{
	/* The application's token is the tenant's: it stays. */
	static const enum mauth_grant_type grants[] = { MAUTH_GRANT_PASSWORD, MAUTH_GRANT_ENROLLED };

	*tokens_r = *refusals_r = 0;
	for (size_t i = 0; i < sizeof(grants) / sizeof(grants[0]); i++)
		*tokens_r += drop_token(broker, where->tenant->keys[grants[i]], where->account);
	mauth_account_forget(broker->accounts, where->tenant, where->login);
	*refusals_r = mauth_shield_forget(broker->shield, where->tenant->key, where->account);
}

void mauth_broker_pause(struct mauth_broker *broker, bool paused)
{
	broker->paused = paused;
	if (!paused)
		mauth_logins_wake(broker);
}

void mauth_broker_stop(struct mauth_broker *broker)
{
	broker->paused = true;
	mauth_timer_remove(broker->host.loop, &broker->tend);
	mauth_enrols_stop(broker->enrols);
	mauth_accounts_stop(broker->accounts);
	mauth_flights_stop(broker->flights);
	mauth_hybrid_stop(broker->hybrid);
}

unsigned int mauth_broker_flying(const struct mauth_broker *broker)
{
	struct mauth_flight_stats stats;

	mauth_flights_stats(broker->flights, &stats);
	return (unsigned int)stats.flying;
}

/* The cached token that the report is about; a report about an older one says nothing of today's. */
static struct mauth_cache_entry *reported_entry(struct mauth_broker *broker, const struct mauth_mailbox *where,
						const struct mauth_upstream_report *report, bool *shared_r)
{
	char id[MAUTH_TOKEN_ID_SIZE];

	for (enum mauth_grant_type grant = 0; report->token_id != NULL && grant < MAUTH_GRANT_COUNT; grant++) {
		struct mauth_cache_entry *entry = mauth_cache_find(broker->cache, where->tenant->keys[grant],
								   grant == MAUTH_GRANT_APP ? "" : where->account);

		*shared_r = grant == MAUTH_GRANT_APP;
		if (entry == NULL)
			continue;
		mauth_cache_token_id(entry, id);
		if (strcmp(id, report->token_id) == 0)
			return entry;
	}
	return NULL;
}

static void learn(struct mauth_broker *broker, const struct mauth_mailbox *where, const struct mauth_upstream_report *report)
{
	bool shared;
	struct mauth_cache_entry *entry = reported_entry(broker, where, report, &shared);
	int64_t pause = 0;

	if (entry == NULL)
		return;
	switch (report->result) {
	case MAUTH_UPSTREAM_ACCEPTED:
		entry->refused = false;
		entry->refusals = 0;
		return;
	case MAUTH_UPSTREAM_REFUSED:
		if (entry->refused)
			return;
		if (report->relay != NULL && relay_learn_refused(broker, entry, shared))
			return;
		/* The tenant's own token: one mailbox that it may not open says nothing against it, several in a row do. */
		if (shared && ++entry->refusals < SHARED_REFUSALS)
			return;
		entry->refused = true;
		if (entry->refusals > 0)
			pause = REFUSED_PAUSE_SECS << (entry->refusals - 1);
		if (!shared && entry->refusals <= REFUSED_PAUSE_DOUBLINGS)
			entry->refusals++;
		if (shared)
			entry->refusals = 0;
		entry->refused_until = mauth_mono_msecs(broker->host.loop) / 1000 + pause;
		return;
	case MAUTH_UPSTREAM_FAILED:
	case MAUTH_UPSTREAM_COUNT:
		return;
	}
}

void mauth_broker_relay_learn(struct mauth_broker *broker, const struct mauth_mailbox *where, const char *token_id,
			      enum mauth_upstream_result result)
{
	static const struct mauth_relay_client anybody;
	const struct mauth_upstream_report report = { .result = result, .token_id = token_id, .relay = &anybody };

	learn(broker, where, &report);
}

/* What Exchange's words usually mean (entra.md's sources: Microsoft's OAuth page for IMAP/POP/SMTP and public threads). For
 * people only: nothing is decided by text. */
const char *mauth_upstream_advice(const char *reply)
{
	static const struct {
		const char *needle, *advice;
	} known[] = {
		{ "SmtpClientAuthentication is disabled for the Tenant",
		  "SMTP AUTH is off for the tenant: Set-TransportConfig -SmtpClientAuthenticationDisabled $false, or "
		  "per mailbox Set-CASMailbox -SmtpClientAuthenticationDisabled $false" },
		{ "SmtpClientAuthentication is disabled for the Mailbox",
		  "SMTP AUTH is off for this mailbox: Set-CASMailbox -SmtpClientAuthenticationDisabled $false" },
		{ "security defaults", "security defaults block SMTP AUTH: turn them off and use conditional access" },
		{ "did not meet the criteria", "a conditional access policy refused it: see the sign-in log" },
		{ "Concurrent connections limit", "more than 3 SMTP connections of one mailbox: lower the concurrency" },
		{ MAUTH_NOT_CONNECTED,
		  "IMAP or POP is off for the mailbox, it has no licence, or it is not in Exchange Online" },
		{ "SendAsDenied", SEND_AS },
		{ "permissions to send as this sender", SEND_AS },
		{ "Protocol error", "Exchange wants AUTH XOAUTH2 in two lines: the login plugin is not loaded" },
	};

	if (reply == NULL)
		return NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcasestr(reply, known[i].needle) != NULL)
			return known[i].advice;
	}
	return NULL;
}

const char *mauth_upstream_advice_for(enum mauth_service service)
{
	if (service == MAUTH_SERVICE_SUBMISSION)
		return "check that SMTP AUTH is enabled for the mailbox (Get-CASMailbox) and that the app has SMTP.Send, or for app-only "
		       "access SMTP.SendAsApp and its service principal full access to the mailbox (Add-MailboxPermission)";
	return "check that the protocol is enabled for the mailbox (Get-CASMailbox), that it is licensed, and that the app's "
	       "permissions are of Office 365 Exchange Online and consented";
}

static void tell(struct mauth_broker *broker, const struct mauth_upstream_report *report, const struct mauth_mailbox *where,
		 const char *advice)
{
	const struct mauth_log *log = broker->host.log;
	char user[MAUTH_USER_MAX + 1];
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("service", mauth_service_name(report->service)),
		MAUTH_FIELD_STR("result", mauth_upstream_result_name(report->result)),
		MAUTH_FIELD_STR("tenant", where->tenant == NULL ? "-" : where->tenant->name),
		MAUTH_FIELD_STR("user", user),
		MAUTH_FIELD_STR("session", report->session == NULL ? "-" : report->session),
	};

	mauth_clean_copy(user, sizeof(user), report->user, strlen(report->user));
	if (log->event != NULL)
		log->event(log->context, "modernauth_upstream_finished", 0, fields, sizeof(fields) / sizeof(fields[0]));
	mauth_log(log, report->result == MAUTH_UPSTREAM_ACCEPTED ? MAUTH_DEBUG : MAUTH_WARNING,
		  "upstream %s: user=%.320s protocol=%s host=%s session=%s: %.256s%s%s",
		  mauth_upstream_result_name(report->result), report->user, mauth_service_name(report->service),
		  report->host == NULL ? "-" : report->host, report->session == NULL ? "-" : report->session,
		  report->reply == NULL ? "-" : report->reply, advice == NULL ? "" : "; to do: ",
		  advice == NULL ? "" : advice);
}

void mauth_broker_upstream(struct mauth_broker *broker, const struct mauth_upstream_report *report)
{
	struct mauth_upstream_record record = {
		.wall_usecs = mauth_wall_usecs(broker->host.loop), .report = report,
	};
	struct mauth_mailbox where = { .tenant = NULL };

	if (mauth_upstream_record_fill(broker, &record, &where)) {
		learn(broker, &where, report);
		if (report->result == MAUTH_UPSTREAM_REFUSED && report->reply != NULL &&
		    strcasestr(report->reply, MAUTH_NOT_CONNECTED) != NULL)
			mauth_hybrid_doubt(broker->hybrid, &where);
	}
	if (report->relay != NULL)
		broker->stats.relay_tokens_refused++;
	else if (report->result == MAUTH_UPSTREAM_ACCEPTED)
		broker->stats.upstream_accepted++;
	else if (report->result == MAUTH_UPSTREAM_REFUSED)
		broker->stats.upstream_refused++;
	else
		broker->stats.upstream_failed++;
	if (report->result == MAUTH_UPSTREAM_REFUSED)
		record.advice = mauth_upstream_advice(report->reply);
	if (report->result == MAUTH_UPSTREAM_REFUSED && record.advice == NULL)
		record.advice = mauth_upstream_advice_for(report->service);
	if (broker->inventory != NULL && report->relay == NULL)
		mauth_inventory_note_upstream_private(broker->inventory, broker->host.privacy, record.tenant_name, where.login, report);
	tell(broker, report, &where, record.advice);
	mauth_record_upstream(&broker->reported, &record);
}

enum mauth_status mauth_broker_record_reports(struct mauth_broker *broker, struct mauth_error *error_r)
{
	enum mauth_status status;

	if (broker->reported.size == 0)
		return MAUTH_OK;
	status = broker->host.audit->append(broker->host.audit->context, broker->reported.data,
					    broker->reported.size, error_r);
	mauth_buf_clear(&broker->reported);
	mauth_health_audit(broker, "reports", status);
	return status;
}

bool mauth_broker_commit(const struct mauth_broker *broker, mauth_audit_commit_fn *done, void *context)
{
	return mauth_audit_commit(broker->host.audit, done, context);
}

void mauth_broker_stats(const struct mauth_broker *broker, struct mauth_broker_stats *stats_r)
{
	*stats_r = broker->stats;
}

struct mauth_cache *mauth_broker_cache(struct mauth_broker *broker)
{
	return broker->cache;
}

struct mauth_shield *mauth_broker_shield(struct mauth_broker *broker)
{
	return broker->shield;
}

struct mauth_accounts *mauth_broker_accounts(struct mauth_broker *broker)
{
	return broker->accounts;
}

struct mauth_flights *mauth_broker_lend_flights(struct mauth_broker *broker)
{
	return broker->flights;
}

const struct mauth_flights *mauth_broker_flights(const struct mauth_broker *broker)
{
	return broker->flights;
}

struct mauth_hybrid *mauth_broker_hybrid(struct mauth_broker *broker)
{
	return broker->hybrid;
}

const struct mauth_verifier_key *mauth_broker_key(const struct mauth_broker *broker)
{
	return &broker->key;
}

const struct mauth_config *mauth_broker_config(const struct mauth_broker *broker)
{
	return broker->config;
}
