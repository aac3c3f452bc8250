/* SPDX-License-Identifier: MIT */
#include "core/usage.h"

#include "core/request.h"

#include <stdio.h>
#include <string.h>

#define DAY_SECS 86400

void mauth_usage_question(const char *user, const struct mauth_inventory_row *row, int64_t now,
			  char ip_r[static MAUTH_USAGE_IP_SIZE], struct mauth_policy_question *question_r)
{
	struct mauth_network address = { .bits = 128 };

	memcpy(address.address, row->address, sizeof(address.address));
	mauth_network_format(&address, ip_r);
	*question_r = (struct mauth_policy_question){
		.user = user, .service = row->service, .client_ip = row->network.bits == 0 ? NULL : ip_r,
		.mechanism = row->mechanism[0] == '\0' ? NULL : row->mechanism, .client_id = row->client, .tls = row->tls, .now = now,
	};
}

/* -- whom something that ends concerns ---------------------------------------------------------------------- */

struct looking {
	const struct mauth_broker *broker;
	const struct mauth_notice *notice;
	mauth_notice_user_fn *fn;
	void *context;
	int64_t now;
	size_t users;
	char last[MAUTH_USER_MAX + 1];       /* rows come user by user */
};

static const struct mauth_exceptions *exceptions_of(const struct mauth_broker *broker)
{
	return broker->vault == NULL ? NULL : mauth_vault_exceptions(broker->vault);
}

static bool is_concerned(const struct looking *looking, const struct mauth_policy_question *question)
{
	const struct mauth_exceptions *exceptions = exceptions_of(looking->broker);
	const struct mauth_exception *exception;
	struct mauth_verdict verdict;

	mauth_policy_decide(looking->broker->config, question, &verdict);
	if (strcmp(looking->notice->kind, "rule") == 0)
		return verdict.rule == looking->notice->subject;
	exception = exceptions == NULL ? NULL : mauth_exceptions_find(exceptions, question);
	return exception != NULL && exception == looking->notice->subject && verdict.action == MAUTH_ACTION_DENY;
}

static void look_at(const char *tenant, const char *user, const struct mauth_inventory_row *row, void *context)
{
	struct looking *looking = context;
	struct mauth_policy_question question;
	char ip[MAUTH_USAGE_IP_SIZE];

	mauth_usage_question(user, row, looking->now, ip, &question);
	if (!is_concerned(looking, &question))
		return;
	if (strcmp(looking->last, user) != 0) {
		looking->users++;
		snprintf(looking->last, sizeof(looking->last), "%s", user);
	}
	if (looking->fn != NULL)
		looking->fn(user, mauth_service_name(row->service), row->client, looking->context);
}

static bool affected(void *context, const struct mauth_notice *notice, mauth_notice_user_fn *fn, void *fn_context, size_t *users_r)
{
	const struct mauth_broker *broker = context;
	struct looking looking = {
		.broker = broker, .notice = notice, .fn = fn, .context = fn_context, .now = mauth_wall_secs(broker->host.loop),
	};
	const struct mauth_inventory_filter filter = {
		.since = looking.now - (int64_t)MAUTH_NOTICE_USERS_DAYS * DAY_SECS, .works = true,
	};
	struct mauth_inventory_counts counts;

	if (broker->inventory == NULL)
		return false;
	/* On the day after its end its own users meet what comes then: they are those of the second before. */
	if (looking.now >= notice->until)
		looking.now = notice->until - 1;
	mauth_inventory_affected(broker->inventory, &filter, look_at, &looking, &counts);
	*users_r = looking.users;
	return true;
}

static void each_exception(void *context, mauth_notice_fn *fn, void *fn_context)
{
	const struct mauth_broker *broker = context;
	const struct mauth_exceptions *exceptions = exceptions_of(broker);
	const struct mauth_exception *at = NULL;

	while (exceptions != NULL && (at = mauth_exceptions_next(exceptions, at)) != NULL) {
		const struct mauth_notice notice = {
			.kind = "exception", .name = at->id, .action = at->action, .then = MAUTH_ACTION_DENY, .until = at->until,
			.notice_days = MAUTH_EXCEPTION_NOTICE_DAYS, .subject = at,
		};

		fn(&notice, fn_context);
	}
}

void mauth_usage_tell_notices(struct mauth_broker *broker)
{
	broker->exception_notices = (struct mauth_notice_source){ .each = each_exception, .context = broker };
	broker->usage = (struct mauth_notice_usage){ .affected = affected, .context = broker };
	mauth_notices_add_source(broker->notices, &broker->exception_notices);
	mauth_notices_set_usage(broker->notices, &broker->usage);
}

/* -- one protocol ------------------------------------------------------------------------------------------- */

void mauth_usage_of_service(const struct mauth_broker *broker, enum mauth_service service, const char *tenant,
			    struct mauth_inventory_counts *counts_r)
{
	const struct mauth_inventory_filter filter = {
		.tenant = tenant, .services = 1u << service, .works = true,
		.since = mauth_wall_secs(broker->host.loop) - (int64_t)MAUTH_NOTICE_USERS_DAYS * DAY_SECS,
	};

	*counts_r = (struct mauth_inventory_counts){ 0 };
	if (broker->inventory != NULL)
		mauth_inventory_affected(broker->inventory, &filter, NULL, NULL, counts_r);
}
