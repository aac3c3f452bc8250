/* SPDX-License-Identifier: MIT */
/* Events about the broker itself. Dovecot's metrics count events and know no gauges: what is a state is told once a minute,
 * and counted by what it was. */
#include "core/health.h"

#include <stdint.h>

#define HEARTBEAT_SECS 60

static void emit(const struct mauth_broker *broker, const char *name, const struct mauth_field *fields, size_t count)
{
	const struct mauth_log *log = broker->host.log;

	if (log->event != NULL)
		log->event(log->context, name, 0, fields, count);
}

void mauth_health_audit(struct mauth_broker *broker, const char *what, enum mauth_status status)
{
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("what", what), MAUTH_FIELD_STR("required", broker->config->audit_required ? "yes" : "no"),
	};
	size_t count = sizeof(fields) / sizeof(fields[0]);

	if (status != MAUTH_OK)
		emit(broker, "modernauth_audit_failed", fields, count);
	else if (broker->audit_failing)
		emit(broker, "modernauth_audit_recovered", fields, count);
	broker->audit_failing = status != MAUTH_OK;
}

static const char *store_state(const struct mauth_broker *broker)
{
	if (broker->vault == NULL)
		return "closed";
	return mauth_vault_follows(broker->vault) ? "follows" : "open";
}

void mauth_health_tend(struct mauth_broker *broker)
{
	int64_t now = mauth_mono_msecs(broker->host.loop) / 1000;

	/* Two brokers during a reload: only who is in charge says how it is. */
	if (broker->paused || now < broker->heartbeat_at)
		return;
	broker->heartbeat_at = now + HEARTBEAT_SECS;
	for (size_t i = 0; i < broker->config->tenants_count; i++) {
		const struct mauth_tenant *tenant = broker->config->tenants[i];
		const struct mauth_field fields[] = {
			MAUTH_FIELD_STR("tenant", tenant->name),
			MAUTH_FIELD_STR("breaker", mauth_flights_paused(broker->flights, tenant) ? "open" : "closed"),
			MAUTH_FIELD_STR("store", store_state(broker)),
			MAUTH_FIELD_STR("audit", broker->audit_failing ? "failing" : "ok"),
		};

		emit(broker, "modernauth_heartbeat", fields, sizeof(fields) / sizeof(fields[0]));
	}
}
