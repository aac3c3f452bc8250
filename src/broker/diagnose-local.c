/* SPDX-License-Identifier: MIT */
#include "broker/diagnose-private.h"

#include "core/mem.h"
#include "core/usage.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Checks of what is on this machine. They are done at once. */

void diag_configuration(struct diagnosis *diagnosis)
{
	const struct mauth_service_state *service = diagnosis->service;
	const char *path = service->settings.config_path;
	struct mauth_diag_row row;
	struct stat st;

	if (service->config_error.status != MAUTH_OK) {
		mauth_diag_fail(&row, "the file is broken, what was in force before it still is: %s",
				service->config_error.text);
		mauth_diag_fix(&row, "mend %s; doveadm reload", path);
	} else if (stat(path, &st) == 0 && (int64_t)st.st_mtime > service->config_read_at) {
		mauth_diag_warn(&row, "%s has been changed since it was read", path);
		mauth_diag_fix(&row, "doveadm reload");
	} else {
		mauth_diag_pass(&row, "%s: %zu tenants, %zu rules, %zu maps", path, diagnosis->config->tenants_count,
				diagnosis->config->rules_count, diagnosis->config->maps_count);
	}
	diagnosis_say(diagnosis, "configuration", NULL, &row);
	diagnosis_next(diagnosis);
}

/* -- files -------------------------------------------------------------------------------------------------- */

/* True if a row was said. A file that we may not even look at is well kept. */
static bool say_file(struct diagnosis *diagnosis, const char *path, bool secret)
{
	struct mauth_diag_row row;
	struct stat st;

	if (stat(path, &st) < 0 && (errno == EACCES || errno == EPERM))
		return false;
	if (stat(path, &st) < 0) {
		mauth_diag_fail(&row, "%s: %s", path, strerror(errno));
		mauth_diag_fix(&row, "put the file into place, or name another one in modernauth.conf; doveadm reload");
	} else {
		mauth_diag_file(&row, path, (unsigned int)st.st_mode, secret);
	}
	if (row.result == MAUTH_DIAG_PASS)
		return false;
	diagnosis_say(diagnosis, "files", NULL, &row);
	return true;
}

static bool say_state_dir(struct diagnosis *diagnosis)
{
	const char *path = diagnosis->config->state_dir;
	struct mauth_diag_row row;
	struct stat st;

	if (stat(path, &st) < 0)
		mauth_diag_fail(&row, "state_dir %s: %s", path, strerror(errno));
	else if (access(path, W_OK | X_OK) < 0)
		mauth_diag_fail(&row, "state_dir %s: the broker may not write there", path);
	else if ((st.st_mode & 077) != 0)
		mauth_diag_fail(&row, "state_dir %s may be entered by others (mode %04o): keys and tokens are in it",
				path, (unsigned int)st.st_mode & 07777);
	else
		return false;
	mauth_diag_fix(&row, "install -d -m 0700 -o modernauth -g modernauth %s", path);
	diagnosis_say(diagnosis, "files", NULL, &row);
	return true;
}

static bool say_audit(struct diagnosis *diagnosis)
{
	char *path = mauth_strdup(diagnosis->config->audit_path), *directory = dirname(path);
	struct mauth_diag_row row;
	bool bad;

	if (access(diagnosis->config->audit_path, F_OK) == 0)
		bad = access(diagnosis->config->audit_path, W_OK) < 0;
	else
		bad = access(directory, W_OK | X_OK) < 0;
	if (bad) {
		mauth_diag_fail(&row, "the audit %s cannot be written: %s", diagnosis->config->audit_path,
				strerror(errno));
		mauth_diag_fix(&row, "install -d -m 0750 -o modernauth -g adm %s; chown modernauth %s", directory,
			       diagnosis->config->audit_path);
		diagnosis_say(diagnosis, "files", NULL, &row);
	}
	free(path);
	return bad;
}

void diag_files(struct diagnosis *diagnosis)
{
	const struct mauth_config *config = diagnosis->config;
	struct mauth_diag_row row;
	bool bad = false;

	for (size_t i = 0; i < config->files_count; i++)
		bad = say_file(diagnosis, config->files[i].path, config->files[i].secret) || bad;
	bad = say_state_dir(diagnosis) || bad;
	bad = say_audit(diagnosis) || bad;
	if (!bad) {
		mauth_diag_pass(&row, "%zu files, state_dir and audit have the right permissions", config->files_count);
		diagnosis_say(diagnosis, "files", NULL, &row);
	}
	diagnosis_next(diagnosis);
}

void diag_store(struct diagnosis *diagnosis)
{
	struct mauth_broker *broker = diagnosis->service->broker;
	const struct mauth_error *error = mauth_broker_vault_error(broker);
	struct mauth_diag_row row;

	if (mauth_broker_vault(broker) != NULL) {
		mauth_diag_pass(&row, "open, sealed with key %s", mauth_vault_key_id(mauth_broker_vault(broker)));
	} else if (error->status != MAUTH_OK) {
		mauth_diag_error(&row, error);
		if (row.fix[0] == '\0')
			mauth_diag_fix(
				&row, "see state_dir %s: owner modernauth, mode 0700, disk not full, key file in place",
				diagnosis->config->state_dir);
	} else {
		mauth_diag_skip(&row, "not open: nothing in modernauth.conf needs it, or it is being opened");
	}
	diagnosis_say(diagnosis, "store", NULL, &row);
	diagnosis_next(diagnosis);
}

/* -- of a tenant -------------------------------------------------------------------------------------------- */

void diag_credentials(struct diagnosis *diagnosis)
{
	const struct mauth_tenant *tenant = diagnosis->tenant;
	const struct mauth_flights *flights = mauth_broker_flights(diagnosis->service->broker);
	struct mauth_diag_row row;

	for (size_t i = 0; i < tenant->credentials_count; i++) {
		struct mauth_credential_state state;

		mauth_flights_credential(flights, tenant, i, &state);
		mauth_diag_credential(&row, &tenant->credentials[i], mauth_wall_secs(diagnosis->service->loop),
				      diagnosis->config->credential_warning_secs, state.refused_code);
		diagnosis_say(diagnosis, "credential", NULL, &row);
	}
	if (tenant->credentials_count == 0) {
		mauth_diag_pass(&row, "none: the app is a public client");
		diagnosis_say(diagnosis, "credential", NULL, &row);
	}
	diagnosis_next(diagnosis);
}

/* What is known of a protocol. */
static const char *action_word(enum mauth_action action)
{
	switch (action) {
	case MAUTH_ACTION_UPGRADE:
	case MAUTH_ACTION_COUNT:
		break;
	case MAUTH_ACTION_MONITOR:
		return "only watched";
	case MAUTH_ACTION_BASIC:
		return "passed on with its password";
	case MAUTH_ACTION_DENY:
		return "denied";
	case MAUTH_ACTION_LOCAL:
		return "left to the next passdb";
	}
	return "upgraded";
}

/* Without a user: by rules that are for everybody. */
static void fill_protocol(const struct diagnosis *diagnosis, enum mauth_service service,
			  struct mauth_diag_protocol *facts_r)
{
	struct mauth_broker *broker = diagnosis->service->broker;
	const struct mauth_policy_question question = {
		.user = diagnosis->have & DIAG_USER ? diagnosis->where.login : "", .service = service,
		.now = mauth_wall_secs(diagnosis->service->loop), .tls = true,
	};
	struct mauth_vault *vault = mauth_broker_vault(broker);
	struct mauth_inventory_counts counts;
	struct mauth_verdict verdict;

	mauth_policy_decide(diagnosis->config, &question, &verdict);
	mauth_exceptions_apply(vault == NULL ? NULL : mauth_vault_exceptions(vault), &question, &verdict);
	mauth_usage_of_service(broker, service, diagnosis->tenant == NULL ? NULL : diagnosis->tenant->name, &counts);
	*facts_r = (struct mauth_diag_protocol){
		.service = service,
		.now = question.now,
		.action = action_word(verdict.action),
		.days_left = -1,
		.users = diagnosis->config->inventory ? (int64_t)counts.users : -1,
		.clients = diagnosis->config->inventory ? (int64_t)counts.clients : -1,
		.rule = verdict.rule == NULL ? NULL : verdict.rule->name,
	};
	if (verdict.rule != NULL && verdict.rule->until > question.now)
		facts_r->days_left = (int)mauth_policy_days_left(verdict.rule->until, question.now);
}

void diag_protocols(struct diagnosis *diagnosis)
{
	struct mauth_diag_protocol facts;
	struct mauth_diag_row row;

	for (enum mauth_service service = 0; service < MAUTH_SERVICE_COUNT; service++) {
		fill_protocol(diagnosis, service, &facts);
		mauth_diag_protocol(&row, &facts);
		diagnosis_say(diagnosis, "protocol", mauth_service_name(service), &row);
	}
	diagnosis_next(diagnosis);
}
