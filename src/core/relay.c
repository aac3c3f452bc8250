/* SPDX-License-Identifier: MIT */
#include "core/relay.h"

#include "core/record.h"
#include "core/request-private.h"

#include <stdio.h>
#include <string.h>

/* A token is fetched anew, because the one that is there would not do, no more often than this. */
#define FORCED_SECS 60
/* With each one that is refused, too, twice as long: Exchange wants none of them. */
#define FORCED_DOUBLINGS 5
/* Tokens of Exchange Online live an hour or more; whoever asks for nearly that would have one fetched with each request. */
#define MIN_LIFE_MAX_SECS 1800u

/* -- the request -------------------------------------------------------------------------------------------- */

static const char *copy_text(char *to, size_t size, const char *from)
{
	if (from == NULL || *from == '\0')
		return NULL;
	mauth_clean_copy(to, size, from, strlen(from));
	return to;
}

struct login_relay *login_relay_new(const struct mauth_relay_client *client)
{
	struct login_relay *relay = mauth_new(sizeof(*relay));

	relay->client = *client;
	relay->client.program = copy_text(relay->program, sizeof(relay->program), client->program);
	relay->client.host = copy_text(relay->host, sizeof(relay->host), client->host);
	relay->client.key_id = relay->client.key_name = NULL;
	if (relay->client.min_life_secs > MIN_LIFE_MAX_SECS)
		relay->client.min_life_secs = MIN_LIFE_MAX_SECS;
	return relay;
}

static void note_key(struct login_relay *relay, const struct mauth_relay_key *key)
{
	snprintf(relay->key_id, sizeof(relay->key_id), "%s", key->id);
	snprintf(relay->key_name, sizeof(relay->key_name), "%s", key->name);
	relay->client.key_id = relay->key_id;
	relay->client.key_name = relay->key_name;
}

/* Before anything else is said about the identity. */
enum step login_relay_verify(struct mauth_login *login)
{
	struct mauth_broker *broker = login->broker;
	const struct mauth_relay_key *key = NULL;
	enum mauth_status status;
	struct mauth_error error;
	const char *rule;

	if (broker->vault == NULL && broker->paused)
		return login_wait(login);
	if (broker->vault == NULL) {
		rule = login_without_vault(login, &error);
		return login_refuse(login, rule, &error);
	}
	status = mauth_relay_keys_check(mauth_vault_relay_keys(broker->vault), login->password, login->where.login, &key, &error);
	if (key != NULL)
		note_key(login->relay, key);
	if (status != MAUTH_OK)
		return login_refuse(login, "relay key", &error);
	login->verified = MAUTH_VERIFIED_RELAY;
	login_decide(login);
	return STEP_SIDE;
}

bool login_relay_life_serves(struct mauth_login *login, struct mauth_cache_entry *entry)
{
	int64_t now = mauth_mono_msecs(login->broker->host.loop) / 1000;

	if (mauth_cache_life(login->broker->cache, entry) >= login->relay->client.min_life_secs)
		return true;
	if (now - entry->forced_mono < FORCED_SECS)
		return true;
	entry->forced_mono = now;
	return false;
}

bool login_relay_falls_back(const struct mauth_login *login, const struct mauth_cache_entry *entry)
{
	return mauth_cache_life(login->broker->cache, entry) >= login->relay->client.min_life_secs;
}

bool mauth_relay_is_temporary(const struct mauth_error *error)
{
	return !error->is_final;
}

/* -- its end ------------------------------------------------------------------------------------------------ */

void login_relay_counted(const struct mauth_login *login)
{
	struct mauth_broker_stats *stats = &login->broker->stats;

	stats->relay_requests++;
	if (login->token != NULL && strcmp(login->source, "cache") == 0)
		stats->relay_cached++;
	else if (login->token != NULL)
		stats->relay_fetched++;
	else if (login->verified == MAUTH_VERIFIED_NONE && login->error.status == MAUTH_BAD_CREDENTIALS)
		stats->relay_wrong_keys++;
	else if (mauth_login_is_outage(login->error.status) || login->error.status == MAUTH_AUDIT)
		stats->relay_failed++;
	else
		stats->relay_refused++;
}

static const char *or_dash(const char *str)
{
	return str == NULL || *str == '\0' ? "-" : str;
}

void login_relay_logged(const struct mauth_login *login)
{
	const struct mauth_relay_client *client = &login->relay->client;
	const struct mauth_log *log = login->broker->host.log;

	if (login->token != NULL) {
		mauth_log(log, MAUTH_DEBUG, "relay: token given: identity=%.320s key=%s client=%s pid=%d session=%s token=%s",
			  login->user, or_dash(client->key_name), or_dash(client->program), (int)client->pid,
			  or_dash(login->session), login->source);
		return;
	}
	/* Queued mail waits for this, and nobody sits there to see it fail. */
	mauth_log(log, login_level(login->error.status) == MAUTH_INFO ? MAUTH_WARNING : login_level(login->error.status),
		  "relay: no token (%s): identity=%.320s key=%s client=%s pid=%d uid=%d session=%s: %s%s%s%s%s",
		  mauth_status_name(login->error.status), login->user, or_dash(client->key_name), or_dash(client->program),
		  (int)client->pid, (int)client->uid, or_dash(login->session), login->error.text,
		  login->error.advice[0] != '\0' ? "; to do: " : "", login->error.advice,
		  login->ids.correlation_id[0] != '\0' ? "; correlation id " : "", login->ids.correlation_id);
}

/* -- what the upstream said --------------------------------------------------------------------------------- */

const char *mauth_relay_result_name(enum mauth_relay_result result)
{
	switch (result) {
	case MAUTH_RELAY_ACCEPTED:
		return "accepted";
	case MAUTH_RELAY_REFUSED:
		return "refused";
	case MAUTH_RELAY_DEFERRED:
		break;
	}
	return "deferred";
}

bool relay_learn_refused(struct mauth_broker *broker, struct mauth_cache_entry *entry, bool shared)
{
	int64_t now = mauth_mono_msecs(broker->host.loop) / 1000;
	unsigned int doublings = entry->refusals < FORCED_DOUBLINGS ? entry->refusals : FORCED_DOUBLINGS;
	int64_t next = entry->forced_mono + (shared ? FORCED_SECS : FORCED_SECS << doublings);

	/* One mailbox that it may not open says little against the tenant's own token. */
	if (shared && now < next)
		return false;
	entry->refused = true;
	if (now < next) {
		entry->refused_until = next;
		return true;
	}
	entry->refused_until = entry->forced_mono = now;
	if (!shared && entry->refusals < FORCED_DOUBLINGS)
		entry->refusals++;
	return true;
}

static void tell(struct mauth_broker *broker, const struct mauth_relay_record *record)
{
	const struct mauth_relay_outcome *outcome = record->outcome;
	const struct mauth_relay_client *client = outcome->client;
	const struct mauth_log *log = broker->host.log;
	char identity[MAUTH_USER_MAX + 1];
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("result", mauth_relay_result_name(outcome->result)),
		MAUTH_FIELD_STR("token_refused", outcome->token_refused ? "yes" : "no"),
		MAUTH_FIELD_STR("dsn", or_dash(outcome->dsn)),
		MAUTH_FIELD_STR("tenant", or_dash(record->tenant_name)),
		MAUTH_FIELD_STR("key", or_dash(client->key_name)),
		MAUTH_FIELD_STR("user", identity),
		MAUTH_FIELD_STR("session", or_dash(outcome->session)),
	};

	mauth_clean_copy(identity, sizeof(identity), outcome->identity, strlen(outcome->identity));
	if (log->event != NULL)
		log->event(log->context, "modernauth_relay_finished", 0, fields, sizeof(fields) / sizeof(fields[0]));
	mauth_log(log, outcome->result == MAUTH_RELAY_ACCEPTED ? MAUTH_DEBUG : MAUTH_WARNING,
		  "relay: mail %s: identity=%.320s key=%s client=%s pid=%d session=%s: %.256s%s%s",
		  mauth_relay_result_name(outcome->result), identity, or_dash(client->key_name), or_dash(client->program),
		  (int)client->pid, or_dash(outcome->session), or_dash(outcome->reply),
		  record->advice == NULL ? "" : "; to do: ", record->advice == NULL ? "" : record->advice);
}

const char *mauth_broker_relay_outcome(struct mauth_broker *broker, const struct mauth_relay_outcome *outcome)
{
	struct mauth_relay_record record = { .wall_usecs = mauth_wall_usecs(broker->host.loop), .outcome = outcome };
	struct mauth_mailbox where = { .tenant = NULL };

	if (mauth_broker_resolve(broker, outcome->identity, &where, NULL) == MAUTH_OK) {
		if (outcome->token_refused || outcome->result == MAUTH_RELAY_ACCEPTED)
			mauth_broker_relay_learn(broker, &where, outcome->token_id,
						 outcome->token_refused ? MAUTH_UPSTREAM_REFUSED : MAUTH_UPSTREAM_ACCEPTED);
		record.upn = where.login;
		record.domain = strrchr(where.login, '@') + 1;
		record.tenant_name = where.tenant->name;
		record.tenant_id = where.tenant->tenant_id;
		record.cloud = where.tenant->cloud;
	}
	if (outcome->token_refused)
		broker->stats.relay_tokens_refused++;
	if (outcome->result == MAUTH_RELAY_ACCEPTED)
		broker->stats.relay_accepted++;
	else if (outcome->result == MAUTH_RELAY_REFUSED)
		broker->stats.relay_rejected++;
	else
		broker->stats.relay_deferred++;
	if (outcome->result != MAUTH_RELAY_ACCEPTED)
		record.advice = mauth_upstream_advice(outcome->reply);
	if (record.advice == NULL && outcome->token_refused)
		record.advice = mauth_upstream_advice_for(MAUTH_SERVICE_SUBMISSION);
	tell(broker, &record);
	mauth_record_relay(&broker->reported, &record);
	return record.advice;
}
