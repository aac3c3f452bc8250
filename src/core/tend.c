/* SPDX-License-Identifier: MIT */
/* What has to be done without anybody asking: enrolments are kept alive, ends of credentials and rules are announced. */
#include "core/health.h"
#include "core/notices.h"
#include "core/record.h"
#include "core/request.h"
#include "core/vault.h"

#include <string.h>

#define TEND_MSECS 10000u
/* Two a second: ten thousand enrolments that are all due have their turn within an hour and a half. */
#define KEEP_ALIVE_MAX 20u
#define DAY_SECS 86400

static void keep_alive(const struct mauth_enrolment *enrolment, void *context)
{
	struct mauth_broker *broker = context;
	const struct mauth_flight_want want = {
		.tenant = mauth_config_tenant_named(broker->config, enrolment->tenant,
						    strlen(enrolment->tenant)), .grant = MAUTH_GRANT_ENROLLED,
		.account = enrolment->account,
	};

	/* Of a tenant that the configuration has no more, or of another application: nobody can refresh it. */
	if (want.tenant != NULL &&
	    mauth_enrolments_usable(broker->enrolments, want.tenant, want.account, NULL) == MAUTH_OK)
		mauth_flight_refresh(broker->flights, &want);
}

static void warn_credential(struct mauth_broker *broker, const struct mauth_tenant *tenant,
			    const struct mauth_credential *credential, int64_t left)
{
	const struct mauth_log *log = broker->host.log;
	const char *what = credential->key != NULL ? "certificate" : "client secret";
	int days = left <= 0 ? 0 : (int)(left / DAY_SECS);
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", tenant->name), MAUTH_FIELD_STR("credential", what),
		MAUTH_FIELD_NUM("days_left", days),
	};

	if (left <= 0)
		mauth_log(log, MAUTH_ERROR, "tenant %s: the %s %s has ended; to do: make a new one in Entra (App registrations > "
			  "Certificates & secrets), name it beside the old one, doveadm reload", tenant->name, what,
			  credential->path);
	else
		mauth_log(log, MAUTH_WARNING, "tenant %s: the %s %s ends in %d days; to do: make a new one in Entra (App "
			  "registrations > Certificates & secrets), name it beside the old one, doveadm reload", tenant->name,
			  what, credential->path, days);
	if (log->event != NULL)
		log->event(log->context, "modernauth_credential_expiring", 0, fields, sizeof(fields) / sizeof(fields[0]));
}

/* Once a day, and at the start. */
static void tend_credentials(struct mauth_broker *broker)
{
	int64_t now = mauth_wall_secs(broker->host.loop);

	if (now / DAY_SECS == broker->credentials_day)
		return;
	broker->credentials_day = now / DAY_SECS;
	for (size_t i = 0; i < broker->config->tenants_count; i++) {
		const struct mauth_tenant *tenant = broker->config->tenants[i];

		for (size_t j = 0; j < tenant->credentials_count; j++) {
			const struct mauth_credential *credential = &tenant->credentials[j];

			if (credential->not_after > 0 && credential->not_after - now < broker->config->credential_warning_secs)
				warn_credential(broker, tenant, credential, credential->not_after - now);
		}
	}
}

static void exception_ended(const struct mauth_exception *exception, const struct mauth_error *error, void *context)
{
	struct mauth_broker *broker = context;
	const struct mauth_change_record record = {
		.wall_usecs = mauth_wall_usecs(broker->host.loop), .action = "exception-ended", .actor = "expiry",
		.exception = exception, .error = error,
	};

	mauth_record_and_log_change(broker->host.audit, broker->host.log, &record);
}

static void tend(void *context)
{
	struct mauth_broker *broker = context;
	bool follows = broker->vault != NULL && mauth_vault_follows(broker->vault);

	broker->tend = NULL;
	tend_credentials(broker);
	mauth_health_tend(broker);
	/* Front ends that share a store do not all say, or renew, the same. */
	if (!follows)
		mauth_notices_tend(broker->notices);
	if (broker->enrolments != NULL && !broker->paused && !follows)
		mauth_enrolments_tend(broker->enrolments, KEEP_ALIVE_MAX, keep_alive, broker);
	if (broker->vault != NULL && !broker->paused)
		mauth_exceptions_tend(mauth_vault_exceptions(broker->vault), exception_ended, broker);
	if (broker->vault != NULL && !broker->paused)
		mauth_relay_keys_tend(mauth_vault_relay_keys(broker->vault));
	mauth_broker_tend(broker);
}

void mauth_broker_tend(struct mauth_broker *broker)
{
	broker->tend = mauth_timer_add(broker->host.loop, TEND_MSECS, tend, broker);
}
