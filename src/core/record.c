/* SPDX-License-Identifier: MIT */
#include "core/record.h"

#include "core/client-id.h"
#include "core/exceptions.h"
#include "core/record-json.h"
#include "core/relay.h"
#include "core/relay-keys.h"
#include "core/record-parts.h"

#include <stdlib.h>

#define USER_MAX MAUTH_USER_MAX
#define CLIENT_ID_MAX MAUTH_CLIENT_ID_MAX

/* -- what both kinds of records have -- */

const char *mauth_record_protocol(enum mauth_service service)
{
	switch (service) {
	case MAUTH_SERVICE_IMAP:
		return "IMAP4";
	case MAUTH_SERVICE_POP3:
		return "POP3";
	case MAUTH_SERVICE_SUBMISSION:
		return "Authenticated SMTP";
	case MAUTH_SERVICE_COUNT:
		break;
	}
	return "Other clients";
}

/* ECS' word for the protocol on the wire. */
static const char *network_protocol(enum mauth_service service)
{
	return service == MAUTH_SERVICE_SUBMISSION ? "smtp" : mauth_service_name(service);
}

/* Tells records apart when a collector delivers one twice: random per process, then counted. */
static void put_event_id(struct mauth_buf *buf)
{
	static const char hex[] = "0123456789abcdef";
	static unsigned char process[12];
	static uint64_t count;
	char id[2 * sizeof(process) + 17], *at = id;

	if (count++ == 0)
		mauth_random(process, sizeof(process));
	for (size_t i = 0; i < sizeof(process); i++) {
		*at++ = hex[process[i] >> 4];
		*at++ = hex[process[i] & 15];
	}
	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = hex[(count >> shift) & 15];
	*at = '\0';
	put_str(buf, "id", id);
}

static void put_begin(struct mauth_buf *buf, int64_t wall_usecs)
{
	put_char(buf, '{');
	put_time(buf, "@timestamp", wall_usecs / 1000000, wall_usecs % 1000000);
	put_raw(buf, "ecs", "{\"version\":\"9.0.0\"}");
}

/* The object stays open. kind: JSON of that field and of "category" and "type", which every record of its sort has. */
static size_t put_event_of(struct mauth_buf *buf, const char *kind, const char *action, const char *outcome)
{
	size_t event = put_open(buf, "event");

	put_raw(buf, "kind", kind);
	put_str(buf, "action", action);
	put_str(buf, "outcome", outcome);
	put_raw(buf, "provider", "\"dovecot-modernauth\",\"dataset\":\"dovecot.modernauth\"");
	put_event_id(buf);
	return event;
}

static size_t put_event(struct mauth_buf *buf, const char *action, const char *outcome)
{
	return put_event_of(buf, "\"event\",\"category\":[\"authentication\"],\"type\":[\"start\"]", action, outcome);
}

static void put_user(struct mauth_buf *buf, const char *name, const char *email, const char *domain)
{
	size_t user = put_open(buf, "user");

	put_text(buf, "name", name, USER_MAX);
	put_text(buf, "email", email, USER_MAX);
	put_text(buf, "domain", domain, USER_MAX);
	put_close(buf, user);
}

/* octets: what came from there, < 0: not counted. */
static void put_party(struct mauth_buf *buf, const char *name, const char *ip, unsigned int port, int64_t octets)
{
	size_t address = put_open(buf, name);

	put_str(buf, "ip", ip);
	put_num_if(buf, "port", port);
	if (octets >= 0)
		put_num(buf, "bytes", octets);
	put_close(buf, address);
}

static void put_address(struct mauth_buf *buf, const char *name, const char *ip, unsigned int port)
{
	put_party(buf, name, ip, port, -1);
}

static void put_service(struct mauth_buf *buf, enum mauth_service service)
{
	size_t network = put_open(buf, "network");

	put_str(buf, "protocol", network_protocol(service));
	put_raw(buf, "transport", "\"tcp\"");
	put_close(buf, network);
	put_raw(buf, "service", "{\"type\":\"dovecot\"");
	put_str(buf, "name", mauth_service_name(service));
	put_char(buf, '}');
}

static void put_account(struct mauth_buf *buf, const char *tenant_id)
{
	size_t cloud = put_open(buf, "cloud"), account = put_open(buf, "account");

	put_str(buf, "id", tenant_id);
	put_close(buf, account);
	put_close(buf, cloud);
}

static void put_id(struct mauth_buf *buf, const char *name, const char *id)
{
	size_t object = put_open(buf, name);

	put_str(buf, "id", id);
	put_close(buf, object);
}

static void put_error(struct mauth_buf *buf, int code, const char *message)
{
	char scratch[DIGITS_SIZE];
	size_t error = put_open(buf, "error");

	if (code > 0)
		put_str(buf, "code", digits(scratch, (uint64_t)code, 1));
	put_str(buf, "message", message);
	put_close(buf, error);
}

static void put_upstream(struct mauth_buf *buf, const char *host, const char *ip, unsigned int port)
{
	size_t upstream = put_open(buf, "upstream");

	put_str(buf, "host", host);
	put_str(buf, "ip", ip);
	put_num_if(buf, "port", port);
	put_close(buf, upstream);
}

static void put_device(struct mauth_buf *buf, const char *id, const char *name)
{
	size_t device = put_open(buf, "device");

	put_str(buf, "id", id);
	put_str(buf, "name", name);
	put_close(buf, device);
}

/* Who the MTA is, and by which key of ours it asks. */
static void put_relay(struct mauth_buf *buf, const struct mauth_relay_client *relay, const char *identity)
{
	size_t object;

	if (relay == NULL)
		return;
	object = put_open(buf, "relay");
	put_str(buf, "key_id", relay->key_id);
	put_str(buf, "key_name", relay->key_name);
	put_text(buf, "identity", identity, USER_MAX);
	put_num_if(buf, "pid", relay->pid);
	put_num(buf, "uid", relay->uid);
	put_str(buf, "program", relay->program);
	put_str(buf, "host", relay->host);
	put_close(buf, object);
}

static void put_tls(struct mauth_buf *buf, bool established, const char *protocol, const char *cipher)
{
	static const char prefix[] = "TLSv";
	size_t tls = put_open(buf, "tls");

	put_raw(buf, "established", established ? "true" : "false");
	if (protocol != NULL && strncmp(protocol, prefix, sizeof(prefix) - 1) == 0) {
		/* ECS wants "1.3" and "tls" where OpenSSL says "TLSv1.3". */
		put_str(buf, "version", protocol + sizeof(prefix) - 1);
		put_raw(buf, "version_protocol", "\"tls\"");
	} else {
		put_str(buf, "version", protocol);
	}
	put_str(buf, "cipher", cipher);
	put_close(buf, tls);
}

static void put_end(struct mauth_buf *buf)
{
	put(buf, "}\n", 2);
}

/* -- what the client calls itself -- */

/* Only these two become fields: the client chooses the names, and names of its choice in an index are a way to fill it. */
static void put_user_agent(struct mauth_buf *buf, const char *client_id)
{
	struct mauth_client_id id;
	size_t agent;

	if (!mauth_client_id_parse(client_id, &id))
		return;
	agent = put_open(buf, "user_agent");
	put_str(buf, "name", id.name);
	put_str(buf, "version", id.version);
	put_close(buf, agent);
}

/* -- the first leg -- */

static const char *attempt_outcome(enum mauth_status status)
{
	switch (status) {
	case MAUTH_OK:
		return "success";
	case MAUTH_NOT_OURS:    /* the next passdb decides */
	case MAUTH_CANCELLED:
		return "unknown";
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
	case MAUTH_LOCKED:
	case MAUTH_DISABLED:
	case MAUTH_EXPIRED:
	case MAUTH_INTERACTION:
	case MAUTH_POLICY:
	case MAUTH_CONFIG:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_STATUS_COUNT:
		break;
	}
	return "failure";
}

static const char *attempt_action(const struct mauth_attempt_record *record)
{
	if (record->relay != NULL)
		return record->withdrawn ? "relay-token-withdrawn" : "relay-token-requested";
	return record->withdrawn ? "basic-auth-withdrawn" : "basic-auth-intercepted";
}

static void put_attempt_event(struct mauth_buf *buf, const struct mauth_attempt_record *record)
{
	char scratch[DIGITS_SIZE];
	size_t event = put_event(buf, attempt_action(record), attempt_outcome(record->status));

	if (record->code > 0)
		put_str(buf, "code", digits(scratch, (uint64_t)record->code, 1));
	put_str(buf, "reason", record->reason);
	put_num(buf, "duration", record->duration_usecs * 1000);
	put_close(buf, event);
}

static void put_attempt_own(struct mauth_buf *buf, const struct mauth_attempt_record *record)
{
	size_t own = put_open(buf, "modernauth");

	put_str(buf, "session", record->session);
	put_str(buf, "protocol", mauth_record_protocol(record->service));
	put_str(buf, "mechanism", record->mechanism);
	put_text(buf, "client_id", record->client_id, CLIENT_ID_MAX);
	put_str(buf, "tenant", record->tenant_name);
	put_str(buf, "cloud", record->cloud);
	put_str(buf, "decision", record->decision);
	put_str(buf, "rule", record->rule);
	put_str(buf, "exception", record->exception);
	put_str(buf, "would", record->would);
	put_str(buf, "would_rule", record->would_rule);
	put_str(buf, "verified_by", mauth_verified_by_name(record->verified_by));
	put_str(buf, "grant", record->grant);
	put_text(buf, "grants_skipped", record->skipped, CLIENT_ID_MAX);
	put_text(buf, "account", record->account, USER_MAX);
	put_text(buf, "mailbox", record->mailbox, USER_MAX);
	put_str(buf, "mailbox_side", record->mailbox_side);
	put_str(buf, "mailbox_source", record->mailbox_source);
	put_device(buf, record->device_id, record->device_name);
	put_relay(buf, record->relay, record->user);
	put_str(buf, "token_source", record->token_source);
	put_str(buf, "token_id", record->token_id);
	if (record->token_expires_at > 0)
		put_time(buf, "token_expires_at", record->token_expires_at, -1);
	put_str(buf, "correlation_id", record->correlation_id);
	put_str(buf, "status", mauth_status_name(record->status));
	put_str(buf, "suberror", record->suberror);
	put_str(buf, "policy_id", record->policy_id);
	put_upstream(buf, record->upstream_host, NULL, record->upstream_port);
	put_close(buf, own);
}

void mauth_record_attempt(struct mauth_buf *buf, const struct mauth_attempt_record *record)
{
	put_begin(buf, record->started_usecs);
	put_attempt_event(buf, record);
	put_user(buf, record->user, record->upn, record->domain);
	put_address(buf, "source", record->client_ip, record->client_port);
	put_address(buf, "destination", record->local_ip, record->local_port);
	put_service(buf, record->service);
	put_tls(buf, record->tls, record->tls_protocol, NULL);
	put_user_agent(buf, record->client_id);
	put_account(buf, record->tenant_id);
	put_id(buf, "trace", record->trace_id);
	if (record->http_status > 0) {
		put_raw(buf, "http", "{\"response\":{");
		put_num(buf, "status_code", record->http_status);
		put(buf, "}}", 2);
	}
	if (record->status != MAUTH_OK)
		put_error(buf, record->code, record->reason);
	put_attempt_own(buf, record);
	put_end(buf);
}

/* -- the second leg -- */

static const char *upstream_action(enum mauth_upstream_result result)
{
	switch (result) {
	case MAUTH_UPSTREAM_ACCEPTED:
		return "upstream-session-opened";
	case MAUTH_UPSTREAM_REFUSED:
		return "upstream-session-refused";
	case MAUTH_UPSTREAM_FAILED:
	case MAUTH_UPSTREAM_COUNT:
		break;
	}
	return "upstream-session-failed";
}

void mauth_record_upstream(struct mauth_buf *buf, const struct mauth_upstream_record *record)
{
	const struct mauth_upstream_report *report = record->report;
	bool accepted = report->result == MAUTH_UPSTREAM_ACCEPTED;
	size_t event, own;

	put_begin(buf, record->wall_usecs);
	event = put_event(buf, upstream_action(report->result), accepted ? "success" : "failure");
	put_str(buf, "reason", record->advice);
	put_close(buf, event);
	mauth_record_put_session(buf, record, -1, -1);
	if (!accepted)
		put_error(buf, 0, report->reply);
	own = put_open(buf, "modernauth");
	put_str(buf, "session", report->session);
	put_str(buf, "protocol", mauth_record_protocol(report->service));
	put_text(buf, "mailbox", report->mailbox, USER_MAX);
	put_str(buf, "tenant", record->tenant_name);
	put_str(buf, "cloud", record->cloud);
	put_str(buf, "token_id", report->token_id);
	put_str(buf, "status", mauth_upstream_result_name(report->result));
	put_str(buf, "reply", report->reply);
	put_relay(buf, report->relay, report->user);
	put_upstream(buf, report->host, report->host_ip, report->port);
	put_close(buf, own);
	put_end(buf);
}

/* -- what became of a mail ---------------------------------------------------------------------------------- */

void mauth_record_relay(struct mauth_buf *buf, const struct mauth_relay_record *record)
{
	static const char *const actions[] = {
		[MAUTH_RELAY_ACCEPTED] = "relay-mail-accepted", [MAUTH_RELAY_REFUSED] = "relay-mail-refused",
		[MAUTH_RELAY_DEFERRED] = "relay-mail-deferred",
	};
	const struct mauth_relay_outcome *outcome = record->outcome;
	bool accepted = outcome->result == MAUTH_RELAY_ACCEPTED;
	size_t event, own;

	put_begin(buf, record->wall_usecs);
	event = put_event_of(buf, "\"event\",\"category\":[\"email\"],\"type\":[\"info\"]", actions[outcome->result],
			     accepted ? "success" : "failure");
	put_str(buf, "reason", record->advice);
	put_close(buf, event);
	put_user(buf, outcome->identity, record->upn, record->domain);
	put_service(buf, MAUTH_SERVICE_SUBMISSION);
	put_account(buf, record->tenant_id);
	if (!accepted)
		put_error(buf, 0, outcome->reply);
	own = put_open(buf, "modernauth");
	put_str(buf, "session", outcome->session);
	put_str(buf, "protocol", mauth_record_protocol(MAUTH_SERVICE_SUBMISSION));
	put_str(buf, "tenant", record->tenant_name);
	put_str(buf, "cloud", record->cloud);
	put_str(buf, "token_id", outcome->token_id);
	put_str(buf, "status", mauth_relay_result_name(outcome->result));
	put_str(buf, "dsn", outcome->dsn);
	put_str(buf, "reply", outcome->reply);
	put_raw(buf, "token_refused", outcome->token_refused ? "true" : "false");
	put_relay(buf, outcome->client, outcome->identity);
	put_close(buf, own);
	put_end(buf);
}

/* -- parts for records of other files -- */

size_t mauth_record_begin(struct mauth_buf *buf, int64_t wall_usecs, const char *kind, const char *action, const char *outcome)
{
	put_begin(buf, wall_usecs);
	return put_event_of(buf, kind, action, outcome);
}

void mauth_record_put_session(struct mauth_buf *buf, const struct mauth_upstream_record *record, int64_t octets_in,
			      int64_t octets_out)
{
	const struct mauth_upstream_report *report = record->report;

	put_user(buf, report->user, record->upn, record->domain);
	put_party(buf, "source", report->client_ip, report->client_port, octets_in);
	put_party(buf, "destination", report->local_ip, report->local_port, octets_out);
	put_service(buf, report->service);
	put_tls(buf, report->tls_protocol != NULL && *report->tls_protocol != '\0', report->tls_protocol, report->tls_cipher);
	put_account(buf, record->tenant_id);
}

void mauth_record_put_own_session(struct mauth_buf *buf, const struct mauth_upstream_record *record)
{
	const struct mauth_upstream_report *report = record->report;

	put_str(buf, "session", report->session);
	put_str(buf, "protocol", mauth_record_protocol(report->service));
	put_text(buf, "mailbox", report->mailbox, USER_MAX);
	put_str(buf, "tenant", record->tenant_name);
	put_str(buf, "cloud", record->cloud);
	put_str(buf, "token_id", report->token_id);
	put_upstream(buf, report->host, report->host_ip, report->port);
}

void mauth_record_end(struct mauth_buf *buf)
{
	put_end(buf);
}

/* -- changes ------------------------------------------------------------------------------------------------ */

/* "exception" is its id, as in records of attempts. */
static void put_exception(struct mauth_buf *buf, const struct mauth_exception *exception)
{
	char services[MAUTH_SERVICES_TEXT_SIZE], network[MAUTH_NETWORK_TEXT_SIZE];
	size_t allowed;

	mauth_services_text(exception->services, services);
	put_str(buf, "exception", exception->id);
	allowed = put_open(buf, "allowed");
	put_str(buf, "services", services);
	put_text(buf, "users", exception->user, USER_MAX);
	if (exception->has_network) {
		mauth_network_format(&exception->network, network);
		put_str(buf, "network", network);
	}
	put_str(buf, "action", mauth_action_name(exception->action));
	put_time(buf, "until", exception->until, -1);
	put_str(buf, "by", exception->by);
	put_str(buf, "reason", exception->reason);
	put_close(buf, allowed);
}

static void put_relay_key(struct mauth_buf *buf, const struct mauth_relay_key *key)
{
	struct mauth_buf identities = { 0 };
	size_t object = put_open(buf, "relay");

	put_str(buf, "key_id", key->id);
	put_str(buf, "key_name", key->name);
	for (char *const *identity = key->identities; *identity != NULL; identity++)
		mauth_buf_printf(&identities, "%s%s", identities.size > 0 ? "," : "", *identity);
	put_text(buf, "identities", identities.data, CLIENT_ID_MAX);
	if (key->expires_at > 0)
		put_time(buf, "until", key->expires_at, -1);
	put_close(buf, object);
	mauth_buf_free(&identities);
}

void mauth_record_change(struct mauth_buf *buf, const struct mauth_change_record *record)
{
	size_t event, own;

	put_begin(buf, record->wall_usecs);
	event = put_open(buf, "event");
	put_raw(buf, "kind", "\"event\",\"category\":[\"iam\",\"configuration\"],\"type\":[\"change\"]");
	put_str(buf, "action", record->action);
	put_str(buf, "outcome", record->error == NULL ? "success" : "failure");
	put_raw(buf, "provider", "\"dovecot-modernauth\",\"dataset\":\"dovecot.modernauth\"");
	put_event_id(buf);
	if (record->reason != NULL)
		put_str(buf, "reason", record->reason);
	else if (record->error != NULL)
		put_str(buf, "reason", record->error->text);
	else if (record->exception != NULL)
		put_str(buf, "reason", record->exception->reason);
	put_close(buf, event);
	put_user(buf, record->login, NULL, record->login == NULL || strrchr(record->login, '@') == NULL ? NULL :
		 strrchr(record->login, '@') + 1);
	put_address(buf, "source", record->client_ip, 0);
	put_account(buf, record->tenant_id);
	if (record->error != NULL)
		put_error(buf, record->error->code, record->error->text);
	own = put_open(buf, "modernauth");
	put_str(buf, "actor", record->actor);
	put_str(buf, "pseudonym", record->pseudonym);
	put_str(buf, "tenant", record->tenant_name);
	put_text(buf, "account", record->account, USER_MAX);
	put_text(buf, "mailbox", record->mailbox, USER_MAX);
	put_device(buf, record->device_id, record->device_name);
	if (record->by != NULL) {
		put_str(buf, "by", record->by);
		put_num(buf, "uid", record->uid);
	}
	if (record->exception != NULL)
		put_exception(buf, record->exception);
	if (record->relay_key != NULL)
		put_relay_key(buf, record->relay_key);
	put_close(buf, own);
	put_end(buf);
}

static char *describe_relay_key(const struct mauth_change_record *record)
{
	const struct mauth_relay_key *key = record->relay_key;
	struct mauth_buf identities = { 0 };
	char *text;

	for (char *const *identity = key->identities; *identity != NULL && identities.size < MAUTH_TEXT_MAX / 2; identity++)
		mauth_buf_printf(&identities, "%s%s", identities.size > 0 ? "," : "", *identity);
	text = mauth_printf("relay key=%s id=%s identities=%.300s admin=%s", key->name, key->id,
			    identities.data == NULL ? "-" : identities.data, record->by == NULL ? "-" : record->by);
	mauth_buf_free(&identities);
	return text;
}

/* For the log: which one, of whom and why. */
static char *describe(const struct mauth_change_record *record)
{
	const struct mauth_exception *exception = record->exception;
	char services[MAUTH_SERVICES_TEXT_SIZE], network[MAUTH_NETWORK_TEXT_SIZE] = "-", day[MAUTH_DAY_TEXT_SIZE];

	mauth_services_text(exception->services, services);
	mauth_policy_last_day(exception->until, day);
	if (exception->has_network)
		mauth_network_format(&exception->network, network);
	return mauth_printf("exception=%s protocols=%s users=%.320s network=%s action=%s until=%s admin=%s: %s",
			    exception->id, services, exception->user == NULL ? "-" : exception->user, network,
			    mauth_action_name(exception->action), day, record->by == NULL ? "-" : record->by,
			    exception->reason);
}

static void log_described(const struct mauth_log *log, const struct mauth_change_record *record)
{
	const struct mauth_error *error = record->error;
	char *text = record->relay_key != NULL ? describe_relay_key(record) : describe(record);

	mauth_log(log, error == NULL ? MAUTH_INFO : MAUTH_WARNING, "%s by %s: %s%s%s%s%s", record->action,
		  record->actor, text, error != NULL ? ": " : "", error != NULL ? error->text : "",
		  error != NULL && error->advice[0] != '\0' ? "; to do: " : "", error != NULL ? error->advice : "");
	free(text);
}

void mauth_record_and_log_change(const struct mauth_audit_sink *audit, const struct mauth_log *log,
				 const struct mauth_change_record *record)
{
	const struct mauth_error *error = record->error;
	struct mauth_buf line = { 0 };
	struct mauth_error failure;

	mauth_record_change(&line, record);
	if (audit->append(audit->context, line.data, line.size, &failure) != MAUTH_OK)
		mauth_log(log, MAUTH_ERROR, "no record of %s could be written: %s", record->action, failure.text);
	mauth_buf_free(&line);
	if (record->exception != NULL || record->relay_key != NULL) {
		log_described(log, record);
		return;
	}
	mauth_log(log, error == NULL ? MAUTH_INFO : MAUTH_WARNING, "%s by %s: user=%.320s tenant=%s%s%s%s%s%s%s", record->action,
		  record->actor, record->login == NULL ? "-" : record->login,
		  record->tenant_name == NULL ? "-" : record->tenant_name,
		  record->device_name != NULL ? " device=" : "", record->device_name != NULL ? record->device_name : "",
		  error != NULL ? ": " : "", error != NULL ? error->text : "",
		  error != NULL && error->advice[0] != '\0' ? "; to do: " : "", error != NULL ? error->advice : "");
}
