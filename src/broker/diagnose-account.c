/* SPDX-License-Identifier: MIT */
#include "broker/diagnose-private.h"

#include "core/account-check.h"

/* Is Graph asked about the user who was named, because the application's token lies behind a device password? */
static bool is_asked(const struct diagnosis *diagnosis)
{
	const struct mauth_tenant *tenant = diagnosis->tenant;
	const struct mauth_policy_question question = {
		.user = diagnosis->where.login, .service = MAUTH_SERVICE_IMAP, .tls = true,
		.now = mauth_wall_secs(diagnosis->service->loop),
	};
	const struct mauth_rule *rule = mauth_policy_find(diagnosis->config, &question);
	size_t count;
	const enum mauth_grant_type *grants = mauth_rule_grants(rule, tenant, &count);
	bool app = false;

	for (size_t i = 0; i < count; i++)
		app = app || grants[i] == MAUTH_GRANT_APP;
	return app && tenant->verified_by_device && mauth_rule_checks_accounts(rule, tenant);
}

static void account_answered(const struct mauth_error *error, void *context)
{
	struct diagnosis *diagnosis = context;
	struct mauth_diag_row row;

	diagnosis->account = NULL;
	if (error != NULL)
		mauth_diag_error(&row, error);
	else
		mauth_diag_pass(&row, "Microsoft Graph says that %s is enabled", diagnosis->where.login);
	diagnosis_say(diagnosis, "account", NULL, &row);
	diagnosis_next(diagnosis);
}

void diag_account(struct diagnosis *diagnosis)
{
	struct mauth_accounts *accounts = mauth_broker_accounts(diagnosis->service->broker);
	struct mauth_error error;

	if (!is_asked(diagnosis)) {
		diagnosis_next(diagnosis);
		return;
	}
	/* What was learnt before somebody mended something is not what is asked for. */
	mauth_account_forget(accounts, diagnosis->tenant, diagnosis->where.login);
	diagnosis->account = mauth_account_ask(accounts, diagnosis->tenant, diagnosis->where.login, account_answered, diagnosis,
					       &error);
	if (diagnosis->account == NULL)
		account_answered(&error, diagnosis);
}
