/* SPDX-License-Identifier: MIT */
#include "core/record.h"

#include <string.h>
#include <time.h>

/* Written by hand: a record is on the way of every login, and a tree of JSON objects would cost ten times as much. */

#define USER_MAX MAUTH_USER_MAX
#define CLIENT_ID_MAX 512u
#define OTHER_MAX 256u

/* -- JSON -- */

/* mauth_buf_append() for the case that there is room, which a buffer that is used again always has. */
static inline void put(struct mauth_buf *buf, const void *data, size_t size)
{
	if (buf->alloc - buf->size <= size) {
		mauth_buf_append(buf, data, size);
		return;
	}
	memcpy(buf->data + buf->size, data, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
}

static inline void put_char(struct mauth_buf *buf, char c)
{
	put(buf, &c, 1);
}

/* The size of the UTF-8 sequence at text, which ends with a NUL; 0 if it is not one. */
static size_t sequence(const char *text)
{
	unsigned char c = (unsigned char)*text;
	size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return strnlen(text, size) == size && mauth_is_utf8(text, size) ? size : 0;
}

static bool is_plain(char c)
{
	unsigned char u = (unsigned char)c;

	return u >= 0x20 && u < 0x7f && u != '"' && u != '\\';
}

static void put_escape(struct mauth_buf *buf, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char escape[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

	put(buf, escape, sizeof(escape));
}

/* A string of at most max octets of text, cut between characters. What is not UTF-8 becomes U+FFFD, control
 * characters are escaped: also C1, for those who read the file in a terminal. */
static void put_string(struct mauth_buf *buf, const char *text, size_t max)
{
	const char *end = text + strnlen(text, max);

	put_char(buf, '"');
	while (text < end) {
		const char *begin = text;
		size_t size;

		while (text < end && is_plain(*text))
			text++;
		put(buf, begin, (size_t)(text - begin));
		if (text == end)
			break;
		size = sequence(text);
		if (size > (size_t)(end - text))
			break;
		if (size == 0)
			put(buf, "\xef\xbf\xbd", 3);
		else if (*text == '"' || *text == '\\')
			put(buf, (char[]){ '\\', *text }, 2);
		else if (size == 1)
			put_escape(buf, (unsigned char)*text);
		else if ((unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0)
			put_escape(buf, (unsigned char)text[1]);
		else
			put(buf, text, size);
		text += size > 0 ? size : 1;
	}
	put_char(buf, '"');
}

#define KEY_MAX 24u

/* name: one of ours, shorter than KEY_MAX. */
static void put_key(struct mauth_buf *buf, const char *name)
{
	char key[KEY_MAX + 4], *at = key;

	if (buf->data[buf->size - 1] != '{')
		*at++ = ',';
	*at++ = '"';
	while (*name != '\0' && at < key + KEY_MAX)
		*at++ = *name++;
	*at++ = '"';
	*at++ = ':';
	put(buf, key, (size_t)(at - key));
}

/* Nothing is known about NULL and "". */
static void put_text(struct mauth_buf *buf, const char *name, const char *text, size_t max)
{
	if (text == NULL || *text == '\0')
		return;
	put_key(buf, name);
	put_string(buf, text, max);
}

static void put_str(struct mauth_buf *buf, const char *name, const char *text)
{
	put_text(buf, name, text, OTHER_MAX);
}

/* text: JSON already. */
static void put_raw(struct mauth_buf *buf, const char *name, const char *text)
{
	put_key(buf, name);
	put(buf, text, strlen(text));
}

/* The decimal digits of number, at least width of them, at the end of digits. */
#define DIGITS_SIZE 24u
static char *digits(char scratch[static DIGITS_SIZE], uint64_t number, unsigned int width)
{
	char *at = scratch + DIGITS_SIZE - 1;

	*at = '\0';
	while (number > 0 || width > 0) {
		*--at = (char)('0' + number % 10);
		number /= 10;
		width -= width > 0;
	}
	return at;
}

static void put_num(struct mauth_buf *buf, const char *name, int64_t number)
{
	char scratch[DIGITS_SIZE];

	put_raw(buf, name, digits(scratch, number < 0 ? 0 : (uint64_t)number, 1));
}

static void put_num_if(struct mauth_buf *buf, const char *name, int64_t number)
{
	if (number > 0)
		put_num(buf, name, number);
}

/* RFC 3339 in UTC; usecs < 0: without them. */
static void put_time(struct mauth_buf *buf, const char *name, int64_t secs, int64_t usecs)
{
	static const char separators[] = "--T::";
	char scratch[DIGITS_SIZE], text[40], *at = text;
	time_t when = (time_t)secs;
	struct tm tm = { 0 };
	int parts[6];

	/* A year that needs more than four digits is nobody's clock. */
	if (secs < 0 || secs > 253402300799 || gmtime_r(&when, &tm) == NULL)
		return;
	parts[0] = tm.tm_year + 1900;
	parts[1] = tm.tm_mon + 1;
	parts[2] = tm.tm_mday;
	parts[3] = tm.tm_hour;
	parts[4] = tm.tm_min;
	parts[5] = tm.tm_sec;
	for (size_t i = 0; i < 6; i++) {
		at = stpcpy(at, digits(scratch, (uint64_t)parts[i], i == 0 ? 4 : 2));
		if (i < 5)
			*at++ = separators[i];
	}
	if (usecs >= 0) {
		*at++ = '.';
		at = stpcpy(at, digits(scratch, (uint64_t)usecs, 6));
	}
	stpcpy(at, "Z");
	put_str(buf, name, text);
}

/* Opens an object; put_close() takes it back if nothing was put into it. */
static size_t put_open(struct mauth_buf *buf, const char *name)
{
	size_t mark = buf->size;

	put_key(buf, name);
	put_char(buf, '{');
	return mark;
}

static void put_close(struct mauth_buf *buf, size_t mark)
{
	if (buf->data[buf->size - 1] != '{') {
		put_char(buf, '}');
		return;
	}
	buf->size = mark;
	buf->data[mark] = '\0';
}

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

/* The object stays open. */
static size_t put_event(struct mauth_buf *buf, const char *action, const char *outcome)
{
	size_t event = put_open(buf, "event");

	put_raw(buf, "kind", "\"event\",\"category\":[\"authentication\"],\"type\":[\"start\"]");
	put_str(buf, "action", action);
	put_str(buf, "outcome", outcome);
	put_raw(buf, "provider", "\"dovecot-modernauth\",\"dataset\":\"dovecot.modernauth\"");
	put_event_id(buf);
	return event;
}

static void put_user(struct mauth_buf *buf, const char *name, const char *email, const char *domain)
{
	size_t user = put_open(buf, "user");

	put_text(buf, "name", name, USER_MAX);
	put_text(buf, "email", email, USER_MAX);
	put_text(buf, "domain", domain, USER_MAX);
	put_close(buf, user);
}

static void put_address(struct mauth_buf *buf, const char *name, const char *ip, unsigned int port)
{
	size_t address = put_open(buf, name);

	put_str(buf, "ip", ip);
	put_num_if(buf, "port", port);
	put_close(buf, address);
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

static void put_end(struct mauth_buf *buf)
{
	put(buf, "}\n", 2);
}

/* -- what the client calls itself -- */

/* The next quoted string of an IMAP ID list: its octets in out, which has room for OTHER_MAX + 1. */
static const char *next_quoted(const char *text, char *out)
{
	size_t size = 0;

	while (*text != '\0' && *text != '"')
		text++;
	if (*text == '\0')
		return NULL;
	for (text++; *text != '\0' && *text != '"'; text++) {
		if (*text == '\\' && text[1] != '\0')
			text++;
		if (size < OTHER_MAX)
			out[size++] = *text;
	}
	out[size] = '\0';
	return *text == '"' ? text + 1 : NULL;
}

/* Dovecot hands on IMAP's ID as '"name" "Thunderbird" "version" "115.1"'. Only these two become fields: the client
 * chooses the names, and names of its choice in an index are a way to fill it. */
static void put_user_agent(struct mauth_buf *buf, const char *client_id)
{
	char key[OTHER_MAX + 1], value[OTHER_MAX + 1] = "", name[OTHER_MAX + 1] = "", version[OTHER_MAX + 1] = "";
	size_t agent;

	if (client_id == NULL || strnlen(client_id, CLIENT_ID_MAX + 1) > CLIENT_ID_MAX)
		return;
	while ((client_id = next_quoted(client_id, key)) != NULL) {
		client_id = next_quoted(client_id, value);
		if (client_id == NULL)
			break;
		if (strcasecmp(key, "name") == 0)
			memcpy(name, value, sizeof(name));
		else if (strcasecmp(key, "version") == 0)
			memcpy(version, value, sizeof(version));
	}
	agent = put_open(buf, "user_agent");
	put_str(buf, "name", name);
	put_str(buf, "version", version);
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

static void put_attempt_event(struct mauth_buf *buf, const struct mauth_attempt_record *record)
{
	char scratch[DIGITS_SIZE];
	size_t event = put_event(buf, "basic-auth-intercepted", attempt_outcome(record->status));

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
	put_str(buf, "verified_by", mauth_verified_by_name(record->verified_by));
	put_str(buf, "grant", record->grant);
	put_text(buf, "grants_skipped", record->skipped, CLIENT_ID_MAX);
	put_text(buf, "account", record->account, USER_MAX);
	put_text(buf, "mailbox", record->mailbox, USER_MAX);
	put_device(buf, record->device_id, record->device_name);
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
	put_raw(buf, "tls", record->tls ? "{\"established\":true}" : "{\"established\":false}");
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

static void put_tls(struct mauth_buf *buf, const struct mauth_upstream_report *report)
{
	static const char prefix[] = "TLSv";
	const char *protocol = report->tls_protocol;
	size_t tls = put_open(buf, "tls");

	put_raw(buf, "established", protocol != NULL && *protocol != '\0' ? "true" : "false");
	if (protocol != NULL && strncmp(protocol, prefix, sizeof(prefix) - 1) == 0) {
		/* ECS wants "1.3" and "tls" where OpenSSL says "TLSv1.3". */
		put_str(buf, "version", protocol + sizeof(prefix) - 1);
		put_raw(buf, "version_protocol", "\"tls\"");
	} else {
		put_str(buf, "version", protocol);
	}
	put_str(buf, "cipher", report->tls_cipher);
	put_close(buf, tls);
}

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
	put_user(buf, report->user, record->upn, record->domain);
	put_address(buf, "source", report->client_ip, report->client_port);
	put_address(buf, "destination", report->local_ip, report->local_port);
	put_service(buf, report->service);
	put_tls(buf, report);
	put_account(buf, record->tenant_id);
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
	put_upstream(buf, report->host, report->host_ip, report->port);
	put_close(buf, own);
	put_end(buf);
}

/* -- changes ------------------------------------------------------------------------------------------------ */

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
	put_str(buf, "reason", record->error == NULL ? NULL : record->error->text);
	put_close(buf, event);
	put_user(buf, record->login, NULL, record->login == NULL || strrchr(record->login, '@') == NULL ? NULL :
		 strrchr(record->login, '@') + 1);
	put_address(buf, "source", record->client_ip, 0);
	put_account(buf, record->tenant_id);
	if (record->error != NULL)
		put_error(buf, record->error->code, record->error->text);
	own = put_open(buf, "modernauth");
	put_str(buf, "actor", record->actor);
	put_str(buf, "tenant", record->tenant_name);
	put_text(buf, "account", record->account, USER_MAX);
	put_text(buf, "mailbox", record->mailbox, USER_MAX);
	put_device(buf, record->device_id, record->device_name);
	put_close(buf, own);
	put_end(buf);
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
	mauth_log(log, error == NULL ? MAUTH_INFO : MAUTH_WARNING, "%s by %s: user=%.320s tenant=%s%s%s%s%s%s%s", record->action,
		  record->actor, record->login == NULL ? "-" : record->login,
		  record->tenant_name == NULL ? "-" : record->tenant_name,
		  record->device_name != NULL ? " device=" : "", record->device_name != NULL ? record->device_name : "",
		  error != NULL ? ": " : "", error != NULL ? error->text : "",
		  error != NULL && error->advice[0] != '\0' ? "; to do: " : "", error != NULL ? error->advice : "");
}
