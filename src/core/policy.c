/* SPDX-License-Identifier: MIT */
#include "core/policy.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_SECS 86400

static const char *const action_names[MAUTH_ACTION_COUNT] = { "upgrade", "monitor", "basic", "deny", "local" };

const char *mauth_action_name(enum mauth_action action)
{
	return action_names[action];
}

bool mauth_action_parse(const char *name, enum mauth_action *action_r)
{
	for (unsigned int i = 0; i < MAUTH_ACTION_COUNT; i++) {
		if (strcmp(action_names[i], name) == 0) {
			*action_r = (enum mauth_action)i;
			return true;
		}
	}
	return false;
}

static void free_patterns(char **patterns)
{
	for (size_t i = 0; patterns != NULL && patterns[i] != NULL; i++)
		free(patterns[i]);
	free(patterns);
}

void mauth_rule_free(struct mauth_rule **rule)
{
	struct mauth_rule *old = *rule;

	if (old == NULL)
		return;
	*rule = NULL;
	free_patterns(old->users);
	free_patterns(old->mechanisms);
	free_patterns(old->client_ids);
	free_patterns(old->mailboxes);
	free(old->networks);
	free(old->message);
	free(old->name);
	free(old);
}

/* -- conditions --------------------------------------------------------------------------------------------- */

static bool match_any(char *const *patterns, const char *text)
{
	for (; *patterns != NULL; patterns++) {
		if (mauth_glob_match(*patterns, text))
			return true;
	}
	return false;
}

/* What is not known matches no pattern, not even "*". */
static bool match_known(char *const *patterns, const char *text)
{
	return patterns == NULL || (text != NULL && match_any(patterns, text));
}

static enum mauth_tls_floor version_of(const char *protocol)
{
	static const struct {
		const char *name;
		enum mauth_tls_floor version;
	} versions[] = {
		{ "TLSv1", MAUTH_TLS_1_0 }, { "TLSv1.0", MAUTH_TLS_1_0 }, { "TLSv1.1", MAUTH_TLS_1_1 },
		{ "TLSv1.2", MAUTH_TLS_1_2 }, { "TLSv1.3", MAUTH_TLS_1_3 },
	};

	for (size_t i = 0; protocol != NULL && i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (strcmp(versions[i].name, protocol) == 0)
			return versions[i].version;
	}
	return MAUTH_TLS_REQUIRED;
}

static bool match_tls(enum mauth_tls_floor floor, const struct mauth_policy_question *question)
{
	switch (floor) {
	case MAUTH_TLS_ANY:
		return true;
	case MAUTH_TLS_NONE:
		return !question->tls;
	case MAUTH_TLS_REQUIRED:
		return question->tls;
	case MAUTH_TLS_1_0:
	case MAUTH_TLS_1_1:
	case MAUTH_TLS_1_2:
	case MAUTH_TLS_1_3:
		break;
	}
	return question->tls && version_of(question->tls_protocol) >= floor;
}

static bool match_time(const struct mauth_rule *rule, int64_t now)
{
	time_t secs = (time_t)now;
	unsigned int minute;
	bool late;
	struct tm at;

	if (rule->days == 0 && rule->from_minute == rule->to_minute)
		return true;
	if (localtime_r(&secs, &at) == NULL)
		return false;
	minute = (unsigned int)(at.tm_hour * 60 + at.tm_min);
	/* After midnight it is still the night of the day before. */
	late = rule->to_minute < rule->from_minute && minute < rule->to_minute;
	if (rule->days != 0 && (rule->days & (1u << (late ? (at.tm_wday + 6) % 7 : at.tm_wday))) == 0)
		return false;
	if (rule->from_minute == rule->to_minute)
		return true;
	if (rule->from_minute < rule->to_minute)
		return minute >= rule->from_minute && minute < rule->to_minute;
	return late || minute >= rule->from_minute;
}

struct matching {
	const struct mauth_policy_question *question;
	const struct mauth_address *address;
};

static bool match_networks(const struct mauth_rule *rule, const struct mauth_address *address)
{
	for (size_t i = 0; address != NULL && i < rule->networks_count; i++) {
		if (mauth_network_holds(&rule->networks[i], address))
			return true;
	}
	return rule->networks_count == 0;
}

static enum mauth_condition first_false(const struct mauth_rule *rule, bool user_matches, const struct matching *matching)
{
	const struct mauth_policy_question *question = matching->question;

	if (rule->services != 0 && (rule->services & (1u << question->service)) == 0)
		return MAUTH_CONDITION_PROTOCOLS;
	if (!match_networks(rule, matching->address))
		return MAUTH_CONDITION_NETWORKS;
	if (!match_tls(rule->tls, question))
		return MAUTH_CONDITION_TLS;
	if (!user_matches && rule->users != NULL && !match_any(rule->users, question->user))
		return MAUTH_CONDITION_USERS;
	if (!match_known(rule->mechanisms, question->mechanism))
		return MAUTH_CONDITION_MECHANISMS;
	if (!match_known(rule->client_ids, question->client_id))
		return MAUTH_CONDITION_CLIENT_IDS;
	return match_time(rule, question->now) ? MAUTH_CONDITION_NONE : MAUTH_CONDITION_TIME;
}

static bool matches(const struct mauth_rule *rule, bool user_matches, void *context)
{
	return first_false(rule, user_matches, context) == MAUTH_CONDITION_NONE;
}

enum mauth_condition mauth_rule_first_false(const struct mauth_rule *rule, const struct mauth_policy_question *question)
{
	struct mauth_address address;
	const struct matching matching = {
		.question = question, .address = mauth_address_parse(question->client_ip, &address) ? &address : NULL,
	};

	return first_false(rule, false, &matching);
}

/* -- deciding ----------------------------------------------------------------------------------------------- */

enum mauth_action mauth_rule_action(const struct mauth_rule *rule, int64_t now)
{
	if (rule == NULL)
		return MAUTH_ACTION_UPGRADE;
	return rule->until != 0 && now >= rule->until ? rule->then : rule->action;
}

unsigned int mauth_policy_days_left(int64_t until, int64_t now)
{
	if (until == 0)
		return UINT_MAX;
	return until <= now ? 0 : (unsigned int)((until - now + DAY_SECS - 1) / DAY_SECS);
}

void mauth_policy_until_text(int64_t until, char text_r[static MAUTH_UNTIL_TEXT_SIZE])
{
	time_t last = (time_t)until - 1, first = (time_t)until;
	struct tm day, utc;

	*text_r = '\0';
	if (localtime_r(&last, &day) != NULL && gmtime_r(&first, &utc) != NULL)
		snprintf(text_r, MAUTH_UNTIL_TEXT_SIZE, "%04d-%02d-%02d, %04d-%02d-%02dT%02d:%02d:%02dZ", day.tm_year + 1900,
			 day.tm_mon + 1, day.tm_mday, utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
			 utc.tm_sec);
}

/* A day ends when the clocks say so, whatever they did in the night before. */
int64_t mauth_policy_day_end(int64_t at)
{
	time_t secs = (time_t)at;
	struct tm day;
	time_t end;

	if (gmtime_r(&secs, &day) == NULL)
		return 0;
	day.tm_mday++;
	day.tm_hour = day.tm_min = day.tm_sec = 0;
	day.tm_isdst = -1;
	end = mktime(&day);
	return end > 0 ? (int64_t)end : 0;
}

void mauth_policy_last_day(int64_t until, char text_r[static MAUTH_DAY_TEXT_SIZE])
{
	time_t last = (time_t)until - 1;
	struct tm day;

	text_r[0] = '\0';
	if (until > 0 && localtime_r(&last, &day) != NULL)
		(void)strftime(text_r, MAUTH_DAY_TEXT_SIZE, "%Y-%m-%d", &day);
}

static size_t find_from(const struct mauth_config *config, size_t from, const struct mauth_policy_question *question)
{
	struct mauth_address address;
	struct matching matching = {
		.question = question, .address = mauth_address_parse(question->client_ip, &address) ? &address : NULL,
	};

	if (config->rules_count == 0)
		return 0;
	return mauth_policy_index_find(config->policy_index, from, question->user, matching.address, matches, &matching);
}

const struct mauth_rule *mauth_policy_find(const struct mauth_config *config,
					   const struct mauth_policy_question *question)
{
	size_t at = find_from(config, 0, question);

	return at < config->rules_count ? config->rules[at] : NULL;
}

void mauth_policy_decide(const struct mauth_config *config, const struct mauth_policy_question *question,
			 struct mauth_verdict *verdict_r)
{
	size_t count = config->rules_count, at = find_from(config, 0, question);
	struct mauth_verdict verdict = { .rule = at < count ? config->rules[at] : NULL };

	verdict.action = mauth_rule_action(verdict.rule, question->now);
	verdict.expired = verdict.rule != NULL && verdict.rule->until != 0 && question->now >= verdict.rule->until;
	verdict.would = verdict.action;
	while (verdict.would == MAUTH_ACTION_MONITOR) {
		at = find_from(config, at + 1, question);
		verdict.would_rule = at < count ? config->rules[at] : NULL;
		verdict.would = mauth_rule_action(verdict.would_rule, question->now);
	}
	*verdict_r = verdict;
}

bool mauth_rule_names_mechanism(const struct mauth_rule *rule)
{
	return rule != NULL && rule->mechanisms != NULL;
}

const enum mauth_grant_type *mauth_rule_grants(const struct mauth_rule *rule, const struct mauth_tenant *tenant, size_t *count_r)
{
	bool ruled = rule != NULL && rule->grants_count > 0;

	*count_r = ruled ? rule->grants_count : tenant->grants_count;
	return ruled ? rule->grants : tenant->grants;
}

bool mauth_rule_checks_accounts(const struct mauth_rule *rule, const struct mauth_tenant *tenant)
{
	if (rule == NULL || rule->check_accounts == MAUTH_AS_TENANT)
		return tenant->check_accounts;
	return rule->check_accounts == MAUTH_YES;
}

bool mauth_rule_allows_mailbox(const struct mauth_rule *rule, const char *mailbox)
{
	return rule != NULL && rule->mailboxes != NULL && match_any(rule->mailboxes, mailbox);
}
