/* SPDX-License-Identifier: MIT */
/* What login processes tell about sessions after the upstream's yes. */
#include "core/hybrid.h"
#include "core/record.h"
#include "core/request.h"

#include <string.h>

bool mauth_upstream_record_fill(const struct mauth_broker *broker, struct mauth_upstream_record *record,
				struct mauth_mailbox *where_r)
{
	if (mauth_broker_resolve(broker, record->report->user, where_r, NULL) != MAUTH_OK) {
		where_r->tenant = NULL;
		return false;
	}
	record->upn = where_r->login;
	record->domain = strrchr(where_r->login, '@') + 1;
	record->tenant_name = where_r->tenant->name;
	record->tenant_id = where_r->tenant->tenant_id;
	record->cloud = where_r->tenant->cloud;
	return true;
}

static void emit(const struct mauth_broker *broker, const struct mauth_upstream_record *record, const struct mauth_session_end *end)
{
	const struct mauth_upstream_report *report = record->report;
	const struct mauth_log *log = broker->host.log;
	char user[MAUTH_USER_MAX + 1];
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("service", mauth_service_name(report->service)),
		MAUTH_FIELD_STR("side", mauth_ended_by_name(end->by)),
		MAUTH_FIELD_STR("token_expired", mauth_session_is_token_end(end) ? "yes" : "no"),
		MAUTH_FIELD_STR("tenant", record->tenant_name == NULL ? "-" : record->tenant_name),
		MAUTH_FIELD_STR("user", user),
		MAUTH_FIELD_STR("session", report->session == NULL ? "-" : report->session),
		MAUTH_FIELD_NUM("bytes_in", (int64_t)end->bytes_in),
		MAUTH_FIELD_NUM("bytes_out", (int64_t)end->bytes_out),
		MAUTH_FIELD_NUM("session_secs", end->duration_usecs / 1000000),
	};

	if (log->event == NULL)
		return;
	mauth_clean_copy(user, sizeof(user), report->user, strlen(report->user));
	/* Began that long before now: what is reported late is not counted as longer. */
	log->event(log->context, "modernauth_session_finished", record->wall_usecs - end->duration_usecs, fields,
		   sizeof(fields) / sizeof(fields[0]));
}

void mauth_broker_session_ended(struct mauth_broker *broker, const struct mauth_upstream_report *about,
				const struct mauth_session_end *end)
{
	struct mauth_upstream_record record = { .wall_usecs = mauth_wall_usecs(broker->host.loop), .report = about };
	struct mauth_mailbox where;

	mauth_upstream_record_fill(broker, &record, &where);
	broker->stats.sessions_ended++;
	emit(broker, &record, end);
	if (broker->host.log->debug)
		mauth_log(broker->host.log, MAUTH_DEBUG, "session ended: user=%.320s protocol=%s session=%s by=%s in=%llu "
			  "out=%llu: %.256s", about->user, mauth_service_name(about->service),
			  about->session == NULL ? "-" : about->session, mauth_ended_by_name(end->by),
			  (unsigned long long)end->bytes_in, (unsigned long long)end->bytes_out,
			  end->said != NULL ? end->said : end->reason != NULL ? end->reason : "-");
	mauth_record_session_end(&broker->reported, &record, end);
}

void mauth_broker_unconnected(struct mauth_broker *broker, const struct mauth_upstream_report *about)
{
	struct mauth_upstream_record record = {
		.wall_usecs = mauth_wall_usecs(broker->host.loop), .report = about,
		.advice = mauth_upstream_advice(MAUTH_NOT_CONNECTED),
	};
	struct mauth_mailbox where;

	if (mauth_upstream_record_fill(broker, &record, &where))
		mauth_hybrid_doubt(broker->hybrid, &where);
	broker->stats.unconnected++;
	mauth_log(broker->host.log, MAUTH_WARNING, "upstream accepted the token but opens no mailbox: user=%.320s protocol=%s host=%s "
		  "session=%s: %.256s; to do: %s", about->user, mauth_service_name(about->service),
		  about->host == NULL ? "-" : about->host, about->session == NULL ? "-" : about->session,
		  about->reply == NULL ? "-" : about->reply, record.advice);
	mauth_record_unconnected(&broker->reported, &record);
}
