/* SPDX-License-Identifier: MIT */
/* Says what is due: in the log, as an event, by mail and to the admin's program; once a day. */
#include "core/inventory.h"
#include "core/mem.h"
#include "core/notices.h"
#include "core/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES_MAX 4u
#define RUN_TIMEOUT_MSECS 60000u
/* One turn of the loop must not be kept for a file of ten thousand rules that end together. */
#define TOGETHER_MAX 100u
#define ROWS_PER_NOTICE 1000u
#define LOOK_MSECS 60000

/* What has been said, in the words of the store's row: "2026-11-26 1806530400" is the day and the end. */
struct said {
	char *name, *value;
};

struct mauth_notices {
	struct mauth_broker *broker;
	const struct mauth_notice_source *sources[SOURCES_MAX];
	size_t sources_count;
	const struct mauth_notice_usage *usage;
	struct said *said;
	size_t said_count, said_at;          /* the one that was asked for last: they are asked for in their order */
	int64_t looked_msecs;                /* monotonic: when all was looked at; 0: not all was */
	unsigned int left;                   /* of TOGETHER_MAX */
};

struct mauth_notices *mauth_notices_new(struct mauth_broker *broker)
{
	struct mauth_notices *notices = mauth_new(sizeof(*notices));

	notices->broker = broker;
	return notices;
}

void mauth_notices_free(struct mauth_notices **notices)
{
	struct mauth_notices *old = *notices;

	if (old == NULL)
		return;
	*notices = NULL;
	for (size_t i = 0; i < old->said_count; i++) {
		free(old->said[i].name);
		free(old->said[i].value);
	}
	free(old->said);
	free(old);
}

void mauth_notices_add_source(struct mauth_notices *notices, const struct mauth_notice_source *source)
{
	if (notices->sources_count < SOURCES_MAX)
		notices->sources[notices->sources_count++] = source;
}

void mauth_notices_set_usage(struct mauth_notices *notices, const struct mauth_notice_usage *usage)
{
	notices->usage = usage;
}

/* -- once a day --------------------------------------------------------------------------------------------- */

static struct said *find_said(struct mauth_notices *notices, const char *name)
{
	for (size_t i = 1; i <= notices->said_count; i++) {
		size_t at = (notices->said_at + i) % notices->said_count;

		if (strcmp(notices->said[at].name, name) == 0) {
			notices->said_at = at;
			return &notices->said[at];
		}
	}
	return NULL;
}

static void remember(struct mauth_notices *notices, const char *name, const char *value)
{
	struct said *said = find_said(notices, name);

	if (said == NULL) {
		notices->said = mauth_grow(notices->said, notices->said_count + 1, sizeof(*notices->said));
		said = &notices->said[notices->said_count++];
		*said = (struct said){ .name = mauth_strdup(name) };
	}
	free(said->value);
	said->value = mauth_strdup(value);
}

static bool store_has(const struct mauth_broker *broker, const char *name, const char *value)
{
	struct mauth_secret *found = NULL, *wanted;
	bool same;

	if (broker->vault == NULL ||
	    mauth_store_get(mauth_vault_store(broker->vault), MAUTH_META_KIND, name, &found, NULL) != MAUTH_OK)
		return false;
	wanted = mauth_secret_new(value, strlen(value));
	same = mauth_secret_equal(found, wanted);
	mauth_secret_free(&wanted);
	mauth_secret_free(&found);
	return same;
}

static void written(const struct mauth_error *error, void *context)
{
	const struct mauth_log *log = context;

	if (error != NULL)
		mauth_log(log, MAUTH_WARNING, "the store does not take that a notice was given, it may be given again today: %s",
			  error->text);
}

static void note(struct mauth_notices *notices, const char *name, const char *value)
{
	const struct mauth_store_row row = { MAUTH_META_KIND, name, value, strlen(value) };
	struct mauth_broker *broker = notices->broker;

	remember(notices, name, value);
	if (broker->vault != NULL) {
		const struct mauth_log *log = broker->host.log;
		void *context;

		memcpy(&context, &log, sizeof(context));
		mauth_store_write(mauth_vault_store(broker->vault), &row, 1, written, context);
	}
}

/* -- saying it ---------------------------------------------------------------------------------------------- */

static void send_mail(const struct mauth_broker *broker, const struct mauth_notice *notice, int64_t now, const char *what,
		      const struct mauth_buf *body)
{
	const struct mauth_config *config = broker->config;
	const char *from = config->notice_mail_from != NULL ? config->notice_mail_from : config->notice_mail_to;
	/* -i: a line with a single dot is no end. */
	const char *const argv[] = { config->notice_sendmail, "-i", "-f", from, "--", config->notice_mail_to, NULL };
	const char *const env[] = { NULL };
	struct mauth_buf mail = { 0 };
	uint64_t random;

	mauth_random(&random, sizeof(random));
	mauth_notice_head(notice, now, from, config->notice_mail_to, random, &mail);
	mauth_buf_append(&mail, body->data, body->size);
	broker->host.run->start(broker->host.run->context, &(struct mauth_run_job){
		.what = what, .argv = argv, .env = env, .input = mail.data, .size = mail.size,
		.timeout_msecs = RUN_TIMEOUT_MSECS,
	});
	mauth_buf_free(&mail);
}

static void run_command(const struct mauth_broker *broker, const struct mauth_notice *notice, int64_t now, const char *what,
			const size_t *users, const struct mauth_buf *body)
{
	const char *const argv[] = { broker->config->notice_command, NULL };
	char *env[] = {
		mauth_printf("MODERNAUTH_KIND=%s", notice->kind), mauth_printf("MODERNAUTH_RULE=%s", notice->name),
		mauth_printf("MODERNAUTH_ACTION=%s", mauth_action_name(notice->action)),
		mauth_printf("MODERNAUTH_THEN=%s", mauth_action_name(notice->then)),
		mauth_printf("MODERNAUTH_ENDS_AT=%" PRId64, notice->until),
		mauth_printf("MODERNAUTH_DAYS_LEFT=%u", mauth_policy_days_left(notice->until, now)),
		users == NULL ? mauth_strdup("MODERNAUTH_USERS=") : mauth_printf("MODERNAUTH_USERS=%zu", *users), NULL,
	};

	broker->host.run->start(broker->host.run->context, &(struct mauth_run_job){
		.what = what, .argv = argv, .env = (const char *const *)env, .input = body->data, .size = body->size,
		.timeout_msecs = RUN_TIMEOUT_MSECS,
	});
	for (size_t i = 0; env[i] != NULL; i++)
		free(env[i]);
}

static void emit(const struct mauth_log *log, const struct mauth_notice *notice, int64_t now, const size_t *users)
{
	const struct mauth_field fields[] = {
		MAUTH_FIELD_STR("kind", notice->kind), MAUTH_FIELD_STR("rule", notice->name),
		MAUTH_FIELD_STR("action", mauth_action_name(notice->action)),
		MAUTH_FIELD_STR("then", mauth_action_name(notice->then)),
		MAUTH_FIELD_NUM("ends_at", notice->until),
		MAUTH_FIELD_NUM("days_left", mauth_policy_days_left(notice->until, now)),
		MAUTH_FIELD_NUM("users", users == NULL ? 0 : (int64_t)*users),
	};
	size_t count = sizeof(fields) / sizeof(fields[0]);

	if (log->event != NULL)
		log->event(log->context, "modernauth_notice", 0, fields, users == NULL ? count - 1 : count);
}

static void tell(const struct mauth_notices *notices, const struct mauth_notice *notice, int64_t now)
{
	const struct mauth_broker *broker = notices->broker;
	const struct mauth_config *config = broker->config;
	const struct mauth_log *log = broker->host.log;
	struct mauth_buf body = { 0 };
	char text[MAUTH_TEXT_MAX], what[128];
	size_t users = 0;
	bool known = mauth_notice_body(notice, now, notices->usage, &body, &users);

	mauth_notice_text(notice, now, known ? &users : NULL, text);
	mauth_log(log, MAUTH_WARNING, "%s", text);
	emit(log, notice, now, known ? &users : NULL);
	snprintf(what, sizeof(what), "notice about %s \"%.64s\"", notice->kind, notice->name);
	if (broker->host.run != NULL && config->notice_mail_to != NULL)
		send_mail(broker, notice, now, what, &body);
	if (broker->host.run != NULL && config->notice_command != NULL)
		run_command(broker, notice, now, what, known ? &users : NULL, &body);
	mauth_buf_free(&body);
}

/* Who is affected costs a question to the rules for each row of the inventory: with a hundred thousand rows a notice takes the turn of
 * a hundred. */
static void spend(struct mauth_notices *notices)
{
	const struct mauth_inventory *inventory = notices->broker->inventory;
	size_t more = notices->usage == NULL || inventory == NULL ? 0 : mauth_inventory_count(inventory) / ROWS_PER_NOTICE;

	notices->left -= more < notices->left ? (unsigned int)more : notices->left;
}

static void tell_if_due(const struct mauth_notice *notice, void *context)
{
	struct mauth_notices *notices = context;
	int64_t now = mauth_wall_secs(notices->broker->host.loop);
	char name[MAUTH_TEXT_MAX], value[MAUTH_NOTICE_DAY_SIZE + 24];
	const struct said *said;
	size_t used;

	if (notices->left == 0 || !mauth_notice_is_due(notice, now))
		return;
	snprintf(name, sizeof(name), "notice %s %s", notice->kind, notice->name);
	mauth_notice_day(now, value);
	used = strlen(value);
	/* An end that has been moved is news. */
	snprintf(value + used, sizeof(value) - used, " %" PRId64, notice->until);
	said = find_said(notices, name);
	if (said != NULL && strcmp(said->value, value) == 0)
		return;
	notices->left--;
	if (store_has(notices->broker, name, value)) {
		remember(notices, name, value);
		return;
	}
	note(notices, name, value);
	tell(notices, notice, now);
	spend(notices);
}

static void tell_rules(struct mauth_notices *notices)
{
	const struct mauth_config *config = notices->broker->config;

	for (size_t i = 0; i < config->rules_count; i++) {
		const struct mauth_rule *rule = config->rules[i];
		const struct mauth_notice notice = {
			.kind = "rule", .name = rule->name, .action = rule->action, .then = rule->then, .until = rule->until,
			.notice_days = rule->notice_days, .subject = rule,
		};

		tell_if_due(&notice, notices);
	}
}

void mauth_notices_tend(struct mauth_notices *notices)
{
	const struct mauth_broker *broker = notices->broker;
	int64_t now = mauth_mono_msecs(broker->host.loop);

	/* A successor says nothing before its predecessor has ended, and nobody before it is known what has been said. */
	if (broker->paused || (broker->vault == NULL && broker->vault_error.status == MAUTH_OK))
		return;
	if (notices->looked_msecs != 0 && now < notices->looked_msecs + LOOK_MSECS)
		return;
	notices->left = TOGETHER_MAX;
	tell_rules(notices);
	for (size_t i = 0; i < notices->sources_count; i++)
		notices->sources[i]->each(notices->sources[i]->context, tell_if_due, notices);
	notices->looked_msecs = notices->left > 0 ? now : 0;
}
