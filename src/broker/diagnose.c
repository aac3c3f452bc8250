/* SPDX-License-Identifier: MIT */
#include "broker/diagnose-private.h"

#include "core/account-check.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct diag_check once[] = {
	{ "configuration", 0, diag_configuration },
	{ "files", 0, diag_files },
	{ "store", 0, diag_store },
};

/* In this order: what fails first is nearest to the cause. */
static const struct diag_check per_tenant[] = {
	{ "credential", 0, diag_credentials },
	{ "authority", 0, diag_authority },
	{ "application", DIAG_TENANT, diag_application },
	{ "realm", DIAG_TENANT, diag_realms },
	{ "token", DIAG_TENANT, diag_tokens },
	{ "account", DIAG_TENANT | DIAG_USER, diag_account },
	{ "mail host", 0, diag_hosts },
	{ "mailbox", DIAG_USER, diag_mailboxes },
	{ "protocol", 0, diag_protocols },
};

static void go_on(void *context);

/* -- saying ------------------------------------------------------------------------------------------------- */

static void begin_line(struct diagnosis *diagnosis, const char *verb, const char *check)
{
	struct mauth_session *session = diagnosis->op->session;

	admin_begin(session, diagnosis->op->id, verb);
	mauth_wire_str(&session->out, "check", check);
	if (diagnosis->tenant != NULL)
		mauth_wire_str(&session->out, "tenant", diagnosis->tenant->name);
}

void diagnosis_say(struct diagnosis *diagnosis, const char *check, const char *subject,
		   const struct mauth_diag_row *row)
{
	struct mauth_session *session = diagnosis->op->session;

	begin_line(diagnosis, "ROW", check);
	mauth_wire_str(&session->out, "subject", subject);
	mauth_wire_str(&session->out, "result", mauth_diag_result_name(row->result));
	mauth_wire_str(&session->out, "seen", row->seen);
	mauth_wire_str(&session->out, "fix", row->fix);
	admin_end(session);
	diagnosis->op->rows++;
}

static void say_skipped(struct diagnosis *diagnosis, const struct diag_check *check)
{
	struct mauth_diag_row row;

	if (check->needs & ~diagnosis->have & DIAG_USER) {
		mauth_diag_skip(&row, "no user was named: no mailbox was opened");
		mauth_diag_fix(&row, "doveadm modernauth diagnose --user USER");
	} else {
		mauth_diag_skip(&row, "not tested, see \"authority\" and \"tenant\"");
	}
	diagnosis_say(diagnosis, check->name, NULL, &row);
}

/* -- life --------------------------------------------------------------------------------------------------- */

static void forget_tenant(struct diagnosis *diagnosis)
{
	for (size_t i = 0; i < MAUTH_GRANT_COUNT; i++)
		mauth_secret_free(&diagnosis->tokens[i]);
	memset(diagnosis->rights, 0, sizeof(diagnosis->rights));
	memset(diagnosis->answers, 0, sizeof(diagnosis->answers));
	memset(&diagnosis->found, 0, sizeof(diagnosis->found));
	diagnosis->have &= ~(unsigned int)DIAG_TENANT;
}

static void close_connections(struct diagnosis *diagnosis)
{
	if (diagnosis->http == NULL)
		return;
	mauth_prober_curl_free(&diagnosis->prober);
	mauth_http_curl_free(&diagnosis->http);
}

/* Each tenant has fresh ones: those of mail hosts stay open until then. Not from within a callback of http. */
static void open_connections(struct diagnosis *diagnosis)
{
	const struct mauth_http_curl_settings settings = { .user_agent = "dovecot-modernauth/" MAUTH_VERSION };
	struct mauth_service_state *service = diagnosis->service;

	close_connections(diagnosis);
	diagnosis->http = mauth_http_curl_new(&settings, service->loop, service->log);
	diagnosis->prober = mauth_prober_curl_new(diagnosis->http, service->loop);
}

/* Not from within a callback of http, either. */
static void diagnosis_free(struct diagnosis *diagnosis)
{
	mauth_timer_remove(diagnosis->service->loop, &diagnosis->turn);
	if (diagnosis->http != NULL) {
		mauth_http_cancel(mauth_http_curl_http(diagnosis->http), &diagnosis->call);
		mauth_probe_cancel(mauth_prober_curl_prober(diagnosis->prober), &diagnosis->probe);
	}
	if (diagnosis->waiter != NULL)
		mauth_flight_cancel(&diagnosis->waiter);
	mauth_account_cancel(&diagnosis->account);
	forget_tenant(diagnosis);
	close_connections(diagnosis);
	mauth_secret_free(&diagnosis->password);
	mauth_config_unref(&diagnosis->config);
	free(diagnosis->only_tenant);
	free(diagnosis->login_ca);
	admin_op_free(diagnosis->op);
	free(diagnosis);
}

static void listener_gone(struct admin_op *op)
{
	diagnosis_free(op->work);
}

static void finish(struct diagnosis *diagnosis)
{
	struct mauth_session *session = diagnosis->op->session;

	admin_begin(session, diagnosis->op->id, "OK");
	mauth_wire_num(&session->out, "rows", (int64_t)diagnosis->op->rows);
	admin_end(session);
	diagnosis_free(diagnosis);
}

/* -- from check to check ------------------------------------------------------------------------------------ */

void diagnosis_part(struct diagnosis *diagnosis)
{
	diagnosis->turn = mauth_timer_add(diagnosis->service->loop, 0, go_on, diagnosis);
}

void diagnosis_next(struct diagnosis *diagnosis)
{
	diagnosis->check++;
	diagnosis->part = 0;
	diagnosis_part(diagnosis);
}

/* The next tenant that is asked about; false: there is none. */
static bool next_tenant(struct diagnosis *diagnosis)
{
	const struct mauth_config *config = diagnosis->config;

	forget_tenant(diagnosis);
	while (diagnosis->tenant_at < config->tenants_count) {
		const struct mauth_tenant *tenant = config->tenants[diagnosis->tenant_at++];

		if (diagnosis->have & DIAG_USER ? diagnosis->where.tenant != tenant :
		    diagnosis->only_tenant != NULL && strcmp(diagnosis->only_tenant, tenant->name) != 0)
			continue;
		diagnosis->tenant = tenant;
		open_connections(diagnosis);
		diagnosis->checks = per_tenant;
		diagnosis->checks_count = sizeof(per_tenant) / sizeof(per_tenant[0]);
		diagnosis->check = diagnosis->part = 0;
		return true;
	}
	return false;
}

static void go_on(void *context)
{
	struct diagnosis *diagnosis = context;
	const struct diag_check *check;

	diagnosis->turn = NULL;
	if (diagnosis->check >= diagnosis->checks_count && !next_tenant(diagnosis)) {
		finish(diagnosis);
		return;
	}
	check = &diagnosis->checks[diagnosis->check];
	if (check->needs & ~diagnosis->have) {
		say_skipped(diagnosis, check);
		diagnosis_next(diagnosis);
		return;
	}
	begin_line(diagnosis, "NOTE", check->name);
	admin_end(diagnosis->op->session);
	check->start(diagnosis);
}

static bool tenant_exists(const struct mauth_config *config, const char *name)
{
	for (size_t i = 0; i < config->tenants_count; i++)
		if (strcmp(config->tenants[i]->name, name) == 0)
			return true;
	return false;
}

bool admin_diagnose(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_service_state *service = session->service;
	const struct mauth_wire_field *password = mauth_wire_find(line, "password");
	const char *tenant = mauth_wire_get(line, "tenant"), *login_ca = mauth_wire_get(line, "login_ca");
	const bool has_user = mauth_wire_get(line, "user") != NULL;
	struct diagnosis *diagnosis;
	struct mauth_mailbox where;
	struct mauth_error error;

	if (password != NULL && password->size > MAUTH_PASSWORD_MAX)
		return false;
	if (tenant != NULL && !tenant_exists(service->config, tenant)) {
		mauth_fail(&error, MAUTH_CONFIG, 0, "modernauth.conf has no tenant \"%.64s\"", tenant);
		admin_fail(session, line->id, &error);
		return true;
	}
	if (has_user && !admin_resolve(session, line, &where))
		return true;
	diagnosis = mauth_new(sizeof(*diagnosis));
	diagnosis->op = admin_op_new(session, line->id);
	diagnosis->op->gone = listener_gone;
	diagnosis->op->work = diagnosis;
	diagnosis->service = service;
	diagnosis->config = mauth_config_ref(service->config);
	diagnosis->only_tenant = mauth_strdup(tenant);
	/* Dovecot reads it as root; where we may not, the system's must do. */
	if (login_ca != NULL && access(login_ca, R_OK) == 0)
		diagnosis->login_ca = mauth_strdup(login_ca);
	if (has_user) {
		diagnosis->where = where;
		diagnosis->have = DIAG_USER;
	}
	if (password != NULL && password->size > 0)
		diagnosis->password = mauth_secret_new(password->value, password->size);
	diagnosis->checks = once;
	diagnosis->checks_count = sizeof(once) / sizeof(once[0]);
	diagnosis_part(diagnosis);
	return true;
}
