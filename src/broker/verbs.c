/* SPDX-License-Identifier: MIT */
#include "broker/session.h"

#include "broker/handover.h"
#include "broker/relay.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define OPEN_MAX 20000u
/* A broken configuration refuses every login; the log says so no more often than this. */
#define CONFIG_ERROR_LOG_MSECS 10000
/* A century: no session lasts so long. */
#define DURATION_MAX_USECS (100LL * 366 * 86400 * 1000000)

struct open_login {
	struct open_login *next, **link;
	struct mauth_session *session;
	uint32_t id;
	struct mauth_login *login;
};

static struct open_login **bucket(struct mauth_session *session, uint32_t id)
{
	if (session->open == NULL)
		session->open = mauth_new_array(MAUTH_OPEN_BUCKETS, sizeof(*session->open));
	return &session->open[id % MAUTH_OPEN_BUCKETS];
}

static struct open_login *open_find(struct mauth_session *session, uint32_t id)
{
	struct open_login *open = *bucket(session, id);

	while (open != NULL && open->id != id)
		open = open->next;
	return open;
}

static void open_free(struct open_login *open)
{
	*open->link = open->next;
	if (open->next != NULL)
		open->next->link = open->link;
	open->session->open_count--;
	free(open);
}

void mauth_verbs_cancel_all(struct mauth_session *session, bool abandon)
{
	if (session->open == NULL)
		return;
	for (size_t i = 0; i < MAUTH_OPEN_BUCKETS; i++) {
		while (session->open[i] != NULL) {
			struct open_login *open = session->open[i];

			if (abandon)
				mauth_login_abandon(&open->login);
			else
				mauth_login_cancel(&open->login);
			open_free(open);
		}
	}
}

static void reply_fail(struct mauth_session *session, uint32_t id, enum mauth_status status, const char *reason)
{
	mauth_wire_begin(&session->out, "FAIL");
	mauth_wire_id(&session->out, id);
	mauth_wire_str(&session->out, "code", mauth_status_name(status));
	mauth_wire_str(&session->out, "reason", reason);
	mauth_wire_end(&session->out);
}

/* What the user reads. Details are for the log: whether a password was right, and why a policy said no, is nobody's business
 * who only guesses. */
static const char *reason_for_user(const struct mauth_config *config, enum mauth_status status)
{
	if (!config->explain_to_client)
		return NULL;
	switch (status) {
	case MAUTH_LOCKED:
		return "Too many failed logins. Wait a quarter of an hour, or ask your administrator.";
	case MAUTH_DISABLED:
		return "This account is disabled. Ask your administrator.";
	case MAUTH_EXPIRED:
		return "The password has expired. Change it on the web, then log in again.";
	case MAUTH_INTERACTION:
		return "This account cannot log in with a password alone. Ask your administrator.";
	case MAUTH_OK:
	case MAUTH_BAD_CREDENTIALS:
	case MAUTH_USER_UNKNOWN:
	case MAUTH_POLICY:
	case MAUTH_NOT_OURS:
	case MAUTH_CONFIG:
	case MAUTH_TEMPORARY:
	case MAUTH_TIMEOUT:
	case MAUTH_PROTOCOL:
	case MAUTH_AUDIT:
	case MAUTH_CANCELLED:
	case MAUTH_STATUS_COUNT:
		return NULL;
	}
	return NULL;
}

/* With replies = "uniform" a client learns no more than "wrong" or "later". */
static enum mauth_status code_for_client(const struct mauth_config *config, enum mauth_status status)
{
	if (!config->explain_to_client && (status == MAUTH_LOCKED || status == MAUTH_DISABLED || status == MAUTH_EXPIRED ||
					   status == MAUTH_INTERACTION || status == MAUTH_USER_UNKNOWN))
		return MAUTH_BAD_CREDENTIALS;
	return status;
}

/* What an admin has switched on to be told is told also where answers are uniform otherwise. */
static void refuse_login(struct mauth_session *session, uint32_t id, const struct mauth_error *error)
{
	const struct mauth_config *config = session->service->config;

	bool told = error->tell[0] != '\0';

	mauth_wire_begin(&session->out, "FAIL");
	mauth_wire_id(&session->out, id);
	mauth_wire_str(&session->out, "code",
		       mauth_status_name(told ? error->status : code_for_client(config, error->status)));
	mauth_wire_str(&session->out, "reason", told ? error->tell : reason_for_user(config, error->status));
	if (error->tell_is_secret)
		mauth_wire_str(&session->out, "secret", "yes");
	if (error->is_final)
		mauth_wire_str(&session->out, "final", "yes");
	mauth_wire_end(&session->out);
}

static void login_done(const struct mauth_grant *grant, const struct mauth_error *error, void *context)
{
	struct open_login *open = context;
	struct mauth_session *session = open->session;
	uint32_t id = open->id;

	open_free(open);
	if (error != NULL) {
		refuse_login(session, id, error);
	} else if (grant->checked) {
		mauth_wire_begin(&session->out, "OK");
		mauth_wire_id(&session->out, id);
		mauth_wire_str(&session->out, "checked", "yes");
		mauth_wire_end(&session->out);
	} else {
		mauth_wire_begin(&session->out, "OK");
		mauth_wire_id(&session->out, id);
		mauth_wire_str(&session->out, "host", grant->endpoint->host);
		mauth_wire_num(&session->out, "port", grant->endpoint->port);
		mauth_wire_str(&session->out, "tls",
			       grant->endpoint->tls == MAUTH_TLS_STARTTLS ? "starttls" : "implicit");
		mauth_wire_str(&session->out, "mailbox", grant->mailbox);
		if (grant->token == NULL)
			mauth_wire_str(&session->out, "basic", "yes");
		else
			mauth_wire_data(&session->out, "token", mauth_secret_expose(grant->token),
					mauth_secret_size(grant->token));
		mauth_wire_str(&session->out, "token_id", grant->token_id);
		mauth_wire_str(&session->out, "cached", grant->cached ? "yes" : "no");
		mauth_wire_end(&session->out);
	}
	mauth_session_flush(session);
}

static void begin_login(struct mauth_session *session, const struct mauth_wire_line *line,
			struct mauth_attempt *attempt)
{
	const struct mauth_wire_field *pass = mauth_wire_find(line, "pass");
	struct mauth_secret *password = mauth_secret_new(pass->value, pass->size);
	struct open_login *open = mauth_new(sizeof(*open)), **to = bucket(session, line->id);
	const char *verified = mauth_wire_get(line, "verified");

	attempt->password = password;
	attempt->mechanism = mauth_wire_get(line, "mech");
	attempt->client_ip = mauth_wire_get(line, "rip");
	attempt->local_ip = mauth_wire_get(line, "lip");
	attempt->client_port = mauth_wire_get_num(line, "rport", 65535, 0);
	attempt->local_port = mauth_wire_get_num(line, "lport", 65535, 0);
	attempt->tls = mauth_wire_is_yes(line, "tls");
	attempt->tls_protocol = mauth_wire_get(line, "tls_protocol");
	attempt->session = mauth_wire_get(line, "session");
	attempt->client_id = mauth_wire_get(line, "client_id");
	attempt->verified_by_dovecot = verified != NULL && strcmp(verified, "dovecot") == 0;
	attempt->check_only = mauth_wire_is_yes(line, "check");
	attempt->password_is_token = mauth_wire_is_yes(line, "token");
	attempt->mailbox_side = mauth_wire_get(line, "side");
	attempt->timeout_msecs = mauth_wire_get_num(line, "timeout", 600000, 0);
	open->session = session;
	open->id = line->id;
	open->next = *to;
	open->link = to;
	if (open->next != NULL)
		open->next->link = &open->next;
	*to = open;
	session->open_count++;
	open->login = mauth_login_start(session->service->broker, attempt, login_done, open);
	mauth_secret_free(&password);
}

/* A service without a configuration answers, but only with "not now". */
static bool refuse_without_config(struct mauth_session *session, uint32_t id)
{
	struct mauth_service_state *service = session->service;
	int64_t now = mauth_mono_msecs(service->loop);

	if (service->broker != NULL && !session->other_config)
		return false;
	if (service->broker == NULL && now >= service->config_error_logged + CONFIG_ERROR_LOG_MSECS) {
		mauth_log(service->log, MAUTH_ERROR, "logins get temporary failures, there is no usable configuration: %s",
			  service->config_error.text);
		service->config_error_logged = now;
	}
	reply_fail(session, id, MAUTH_CONFIG, NULL);
	return true;
}

static bool verb_login(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_attempt attempt = { .user = mauth_wire_get(line, "user") };
	const char *service = mauth_wire_get(line, "service");

	if (attempt.user == NULL || service == NULL || mauth_wire_find(line, "pass") == NULL ||
	    !mauth_service_parse(service, &attempt.service))
		return false;
	if (refuse_without_config(session, line->id))
		return true;
	if (session->open_count >= OPEN_MAX) {
		reply_fail(session, line->id, MAUTH_TEMPORARY, NULL);
		return true;
	}
	if (open_find(session, line->id) != NULL)
		return false;
	begin_login(session, line, &attempt);
	return true;
}

static bool verb_lookup(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *user = mauth_wire_get(line, "user");

	if (user == NULL)
		return false;
	if (refuse_without_config(session, line->id))
		return true;
	if (!mauth_broker_serves(session->service->broker, user)) {
		reply_fail(session, line->id, MAUTH_NOT_OURS, NULL);
		return true;
	}
	mauth_wire_begin(&session->out, "OK");
	mauth_wire_id(&session->out, line->id);
	mauth_wire_end(&session->out);
	return true;
}

static bool verb_cancel(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct open_login *open = open_find(session, line->id);

	if (open != NULL) {
		mauth_login_cancel(&open->login);
		open_free(open);
	}
	return true;
}

/* What every report says about its session. false: what it cannot do without is missing. */
static bool take_report(const struct mauth_wire_line *line, struct mauth_upstream_report *report_r)
{
	const char *service = mauth_wire_get(line, "service");

	*report_r = (struct mauth_upstream_report){
		.user = mauth_wire_get(line, "user"), .mailbox = mauth_wire_get(line, "mailbox"),
		.reply = mauth_wire_get(line, "reply"), .token_id = mauth_wire_get(line, "token_id"),
		.session = mauth_wire_get(line, "session"), .client_ip = mauth_wire_get(line, "rip"),
		.local_ip = mauth_wire_get(line, "lip"),
		.client_port = mauth_wire_get_num(line, "rport", 65535, 0),
		.local_port = mauth_wire_get_num(line, "lport", 65535, 0),
		.host = mauth_wire_get(line, "host"), .host_ip = mauth_wire_get(line, "host_ip"),
		.port = mauth_wire_get_num(line, "port", 65535, 0),
		.tls_protocol = mauth_wire_get(line, "tls_protocol"), .tls_cipher = mauth_wire_get(line, "tls_cipher"),
	};
	return report_r->user != NULL && service != NULL && mauth_service_parse(service, &report_r->service);
}

/* A service without a configuration has nobody who could record it. */
static bool has_broker(struct mauth_session *session, uint32_t id)
{
	if (session->service->broker != NULL)
		return true;
	reply_fail(session, id, MAUTH_CONFIG, NULL);
	return false;
}

/* Answered with all that were read with it. */
static void add_report(struct mauth_session *session, uint32_t id)
{
	session->reports[session->reports_count++] = id;
	if (session->reports_count == MAUTH_REPORTS_TOGETHER)
		mauth_verbs_confirm(session);
}

static bool verb_upstream(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *result = mauth_wire_get(line, "result");
	struct mauth_upstream_report report;

	if (!take_report(line, &report) || result == NULL || !mauth_upstream_result_parse(result, &report.result))
		return false;
	if (!has_broker(session, line->id))
		return true;
	mauth_broker_upstream(session->service->broker, &report);
	add_report(session, line->id);
	return true;
}

static bool verb_ended(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *by = mauth_wire_get(line, "by");
	struct mauth_session_end end = {
		.at_usecs = mauth_wire_get_count(line, "at"), .duration_usecs = mauth_wire_get_count(line, "duration"),
		.bytes_in = (uint64_t)mauth_wire_get_count(line, "in"),
		.bytes_out = (uint64_t)mauth_wire_get_count(line, "out"),
		.reason = mauth_wire_get(line, "reason"), .said = mauth_wire_get(line, "said"),
	};
	struct mauth_upstream_report report;

	if (!take_report(line, &report) || by == NULL || !mauth_ended_by_parse(by, &end.by))
		return false;
	/* Nanoseconds of it go into the record. */
	if (end.duration_usecs > DURATION_MAX_USECS)
		end.duration_usecs = DURATION_MAX_USECS;
	if (!has_broker(session, line->id))
		return true;
	mauth_broker_session_ended(session->service->broker, &report, &end);
	add_report(session, line->id);
	return true;
}

static bool verb_unconnected(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_upstream_report report;

	if (!take_report(line, &report))
		return false;
	if (!has_broker(session, line->id))
		return true;
	mauth_broker_unconnected(session->service->broker, &report);
	add_report(session, line->id);
	return true;
}

/* Reports that are in the file, but not on disk yet. */
struct mauth_confirmation {
	struct mauth_confirmation *next, **link;
	struct mauth_session *session;       /* NULL: nobody listens any more */
	unsigned int count;
	uint32_t ids[MAUTH_REPORTS_TOGETHER];
};

static void confirm(struct mauth_session *session, const uint32_t *ids, unsigned int count, enum mauth_status status)
{
	for (unsigned int i = 0; i < count; i++) {
		if (status != MAUTH_OK) {
			reply_fail(session, ids[i], status, NULL);
			continue;
		}
		mauth_wire_begin(&session->out, "DONE");
		mauth_wire_id(&session->out, ids[i]);
		mauth_wire_end(&session->out);
	}
}

static void unlink_confirmation(struct mauth_confirmation *waiting)
{
	*waiting->link = waiting->next;
	if (waiting->next != NULL)
		waiting->next->link = waiting->link;
	waiting->session = NULL;
}

static void reports_committed(const struct mauth_error *error, void *context)
{
	struct mauth_confirmation *waiting = context;
	struct mauth_session *session = waiting->session;

	if (session != NULL) {
		unlink_confirmation(waiting);
		confirm(session, waiting->ids, waiting->count, error == NULL ? MAUTH_OK : error->status);
		mauth_session_flush(session);
	}
	free(waiting);
}

/* false: there is nothing to wait for. */
static bool confirm_later(struct mauth_session *session)
{
	struct mauth_confirmation *waiting = mauth_new(sizeof(*waiting));

	if (!mauth_broker_commit(session->service->broker, reports_committed, waiting)) {
		free(waiting);
		return false;
	}
	waiting->session = session;
	waiting->count = session->reports_count;
	memcpy(waiting->ids, session->reports, sizeof(waiting->ids));
	waiting->next = session->confirmations;
	waiting->link = &session->confirmations;
	if (waiting->next != NULL)
		waiting->next->link = &waiting->next;
	session->confirmations = waiting;
	return true;
}

void mauth_verbs_forget_reports(struct mauth_session *session)
{
	while (session->confirmations != NULL)
		unlink_confirmation(session->confirmations);
}

void mauth_verbs_confirm(struct mauth_session *session)
{
	struct mauth_error error;
	enum mauth_status status;

	if (session->reports_count == 0)
		return;
	status = mauth_broker_record_reports(session->service->broker, &error);
	if (status != MAUTH_OK || !confirm_later(session))
		confirm(session, session->reports, session->reports_count, status);
	session->reports_count = 0;
}

bool mauth_verb_handle(struct mauth_session *session, struct mauth_wire_line *line)
{
	static const struct {
		enum mauth_role role;
		const char *verb;
		bool (*handle)(struct mauth_session *session, const struct mauth_wire_line *line);
	} verbs[] = {
		{ MAUTH_ROLE_AUTH, "LOGIN", verb_login },
		{ MAUTH_ROLE_AUTH, "LOOKUP", verb_lookup },
		{ MAUTH_ROLE_AUTH, "CANCEL", verb_cancel },
		{ MAUTH_ROLE_LOGIN, "UPSTREAM", verb_upstream },
		{ MAUTH_ROLE_LOGIN, "ENDED", verb_ended },
		{ MAUTH_ROLE_LOGIN, "UNCONNECTED", verb_unconnected },
		{ MAUTH_ROLE_HANDOVER, "TAKE", mauth_handover_verb },
	};

	if (session->role == MAUTH_ROLE_ADMIN)
		return mauth_admin_handle(session, line);
	if (session->role == MAUTH_ROLE_RELAY)
		return mauth_relay_handle(session, line);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (verbs[i].role == session->role && strcmp(verbs[i].verb, line->verb) == 0)
			return verbs[i].handle(session, line);
	}
	return false;
}
