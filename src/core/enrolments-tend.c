/* SPDX-License-Identifier: MIT */
#include "core/enrolments-private.h"

#include <string.h>

#define DAY_SECS 86400
/* One that could not be refreshed is tried again after this long: an outage must not become a storm. */
#define RETRY_MSECS INT64_C(3600000)

/* In the second half of keep_alive, at a place that the name decides: always the same, and even over all names. */
int64_t mauth_enrolment_due_at(const struct mauth_enrolment *enrolment)
{
	const struct mauth_enrolments_deps *deps = &enrolment->owner->deps;
	int64_t keep_alive = deps->config->keep_alive_secs;
	uint64_t hash = 14695981039346656037u;

	for (const char *at = enrolment->account; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 1099511628211u;
	/* The low bits of FNV are its best mixed ones only after another round. */
	hash ^= hash >> 32;
	hash *= 0x9e3779b97f4a7c15u;
	hash ^= hash >> 29;
	return enrolment->refreshed_at + keep_alive / 2 + (int64_t)(hash % (uint64_t)(keep_alive / 2 + 1));
}

static void warn(struct mauth_enrolments *enrolments, const struct mauth_enrolment *enrolment, int64_t now)
{
	const struct mauth_log *log = enrolments->deps.log;
	int64_t left = mauth_enrolment_expires_at(enrolment) - now;
	int days = left <= 0 ? 0 : (int)(left / DAY_SECS);
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("tenant", enrolment->tenant), MAUTH_FIELD_STR("user", enrolment->account),
		MAUTH_FIELD_NUM("days_left", days),
	};

	mauth_log(log, MAUTH_WARNING, "the enrolment of %s (tenant %s) ends in %d days unless it can be refreshed%s%s; to do: "
		  "doveadm modernauth show %s", enrolment->account, enrolment->tenant, days,
		  enrolment->refusal != NULL ? "; Entra's last answer: " : "",
		  enrolment->refusal != NULL ? enrolment->refusal->text : "", enrolment->account);
	if (log->event != NULL)
		log->event(log->context, "modernauth_enrolment_expiring", 0, fields, sizeof(fields) / sizeof(fields[0]));
}

void mauth_enrolments_tend(struct mauth_enrolments *enrolments, unsigned int max,
			   void (*fn)(const struct mauth_enrolment *enrolment, void *context), void *context)
{
	int64_t now = mauth_wall_secs(enrolments->deps.loop), mono = mauth_mono_msecs(enrolments->deps.loop);
	bool warnings = now / DAY_SECS != enrolments->warned_day;
	struct mauth_node *node, *next;

	enrolments->warned_day = now / DAY_SECS;
	/* fn only begins requests: it changes nothing here before this returns. */
	for (node = enrolments->table.oldest; node != NULL; node = next) {
		struct mauth_enrolment *enrolment = (struct mauth_enrolment *)node;

		next = node->newer;
		if (enrolment->code != 0)
			continue;
		if (warnings && mauth_enrolment_expires_at(enrolment) - now < enrolments->deps.config->expiry_warning_secs)
			warn(enrolments, enrolment, now);
		if (max == 0 || now < mauth_enrolment_due_at(enrolment) || mono < enrolment->keep_alive_retry)
			continue;
		enrolment->keep_alive_retry = mono + RETRY_MSECS;
		max--;
		fn(enrolment, context);
	}
}
