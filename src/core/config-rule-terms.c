/* SPDX-License-Identifier: MIT */
/* The terms of a rule: of which clients and hours it speaks, what it says, and until when. */
#include "core/config-rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TERM_WORD_MAX 128u
#define MESSAGE_MAX 200u
#define NOTICE_DAYS 30u

static const struct mauth_conf_value *get(const struct rule_loader *r, const char *name)
{
	return mauth_conf_get(r->section, name);
}

/* -- the client --------------------------------------------------------------------------------------------- */

static enum mauth_status load_words(struct rule_loader *r, const char *name, const char *expected, char ***words_r)
{
	const struct mauth_conf_value *value = get(r, name);
	size_t count = 0;

	*words_r = NULL;
	for (; value != NULL; value = mauth_conf_next(r->section, value)) {
		if (value->text[0] == '\0' || strlen(value->text) > TERM_WORD_MAX)
			return mauth_conf_refuse(r->error_r, value, "%s: \"%.100s\"; %s was expected", name, value->text,
						 expected);
		*words_r = mauth_grow(*words_r, count + 2, sizeof(**words_r));
		(*words_r)[count++] = mauth_strdup(value->text);
		(*words_r)[count] = NULL;
	}
	return MAUTH_OK;
}

static enum mauth_status load_mechanisms(struct rule_loader *r)
{
	static const char *const known[] = { "PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER" };
	const struct mauth_conf_value *value = get(r, "mechanisms");

	for (; value != NULL; value = mauth_conf_next(r->section, value)) {
		bool found = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found = found || strcasecmp(known[i], value->text) == 0;
		if (!found)
			return mauth_conf_refuse(r->error_r, value,
						 "mechanisms: \"%.40s\"; \"PLAIN\", \"LOGIN\", \"XOAUTH2\" or \"OAUTHBEARER\" "
						 "was expected",
						 value->text);
	}
	return load_words(r, "mechanisms", "a mechanism", &r->rule->mechanisms);
}

static enum mauth_status load_tls(struct rule_loader *r)
{
	static const char *const names[] = { "any", "none", "required", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3" };
	const struct mauth_conf_value *value = get(r, "tls");

	if (value == NULL)
		return MAUTH_OK;
	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcasecmp(names[i], value->text) == 0) {
			r->rule->tls = (enum mauth_tls_floor)i;
			return MAUTH_OK;
		}
	}
	return mauth_conf_refuse(r->error_r, value,
				 "tls = \"%.40s\"; \"any\", \"none\", \"required\", or the oldest version that matches, "
				 "\"TLSv1\" to \"TLSv1.3\", was expected",
				 value->text);
}

enum mauth_status mauth_load_rule_client(struct rule_loader *r)
{
	if (load_mechanisms(r) != MAUTH_OK || load_tls(r) != MAUTH_OK)
		return MAUTH_CONFIG;
	return load_words(r, "client_ids", "a pattern like \"*Thunderbird*\"", &r->rule->client_ids);
}

/* -- day and hour ------------------------------------------------------------------------------------------- */

static bool parse_day(const char *text, size_t size, unsigned int *day_r)
{
	static const char *const days[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };

	for (unsigned int i = 0; i < 7; i++) {
		if (size == 3 && strncasecmp(days[i], text, 3) == 0) {
			*day_r = i;
			return true;
		}
	}
	return false;
}

static enum mauth_status load_days(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "days");

	for (; value != NULL; value = mauth_conf_next(r->section, value)) {
		const char *dash = strchr(value->text, '-');
		unsigned int from, to;

		if (!parse_day(value->text, dash == NULL ? strlen(value->text) : (size_t)(dash - value->text), &from) ||
		    !parse_day(dash == NULL ? value->text : dash + 1, dash == NULL ? strlen(value->text) : strlen(dash + 1),
			       &to))
			return mauth_conf_refuse(r->error_r, value,
						 "days: \"%.40s\"; a day like \"sat\" or days like \"mon-fri\" were expected",
						 value->text);
		for (unsigned int day = from;; day = (day + 1) % 7) {
			r->rule->days |= 1u << day;
			if (day == to)
				break;
		}
	}
	return MAUTH_OK;
}

static unsigned int two_digits(const char *text)
{
	return (unsigned int)((text[0] - '0') * 10 + text[1] - '0');
}

/* "07:00", and nothing behind it. */
static bool parse_minute(const char *text, unsigned int *minute_r)
{
	static const char digits[] = "0123456789";
	unsigned int hour, minute;

	if (strlen(text) != 5 || strspn(text, digits) != 2 || text[2] != ':' || strspn(text + 3, digits) != 2)
		return false;
	hour = two_digits(text);
	minute = two_digits(text + 3);
	if (minute > 59 || hour > 24 || (hour == 24 && minute > 0))
		return false;
	*minute_r = hour * 60 + minute;
	return true;
}

static enum mauth_status load_hours(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "hours");
	unsigned int from, to;
	char first[6];

	if (value == NULL)
		return MAUTH_OK;
	snprintf(first, sizeof(first), "%.5s", value->text);
	if (strlen(value->text) != 11 || value->text[5] != '-' || !parse_minute(first, &from) ||
	    !parse_minute(value->text + 6, &to) || from == MAUTH_DAY_MINUTES || from == to)
		return mauth_conf_refuse(r->error_r, value,
					 "hours = \"%.40s\"; hours like \"07:00-19:00\" or \"22:00-06:00\" were expected",
					 value->text);
	r->rule->from_minute = from;
	r->rule->to_minute = to;
	return MAUTH_OK;
}

enum mauth_status mauth_load_rule_times(struct rule_loader *r)
{
	return load_days(r) != MAUTH_OK ? MAUTH_CONFIG : load_hours(r);
}

/* -- what it says ------------------------------------------------------------------------------------------- */

static enum mauth_status load_an_action(struct rule_loader *r, const char *name, enum mauth_action *action_r)
{
	const struct mauth_conf_value *value = get(r, name);

	if (value == NULL || mauth_action_parse(value->text, action_r))
		return MAUTH_OK;
	return mauth_conf_refuse(r->error_r, value,
				 "%s = \"%.40s\"; \"upgrade\", \"monitor\", \"basic\", \"deny\" or \"local\" was expected", name,
				 value->text);
}

static enum mauth_status load_message(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "message");

	if (value == NULL)
		return MAUTH_OK;
	/* What follows the tag of a reply: IMAP, POP3 and SMTP carry one line of ASCII, and "[" would begin a response code. */
	for (const char *at = value->text; *at != '\0'; at++) {
		if (*at < 0x20 || *at > 0x7e)
			return mauth_conf_refuse(r->error_r, value,
						 "message: one line of ASCII was expected, since mail protocols carry nothing "
						 "else here");
	}
	if (value->text[0] == '\0' || value->text[0] == '[' || strlen(value->text) > MESSAGE_MAX)
		return mauth_conf_refuse(r->error_r, value,
					 "message: a text of at most %u characters that does not begin with \"[\" was expected",
					 MESSAGE_MAX);
	r->rule->message = mauth_strdup(value->text);
	return MAUTH_OK;
}

static enum mauth_status load_until(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "until");
	int64_t end;

	if (value == NULL)
		return MAUTH_OK;
	if (mauth_conf_date(value, &end, r->error_r) != MAUTH_OK)
		return MAUTH_CONFIG;
	r->rule->until = mauth_policy_day_end(end);
	if (r->rule->until == 0)
		return mauth_conf_refuse(r->error_r, value, "until = \"%s\" is out of range", value->text);
	return MAUTH_OK;
}

static enum mauth_status load_notice_days(struct rule_loader *r)
{
	const struct mauth_conf_value *value = get(r, "notice_days");

	r->rule->notice_days = NOTICE_DAYS;
	return value == NULL ? MAUTH_OK : mauth_conf_number(value, 0, 366, &r->rule->notice_days, r->error_r);
}

/* Settings that have no effect are mistakes of somebody who expects one. */
static enum mauth_status check_together(struct rule_loader *r)
{
	const struct mauth_conf_value *then = get(r, "then"), *notice = get(r, "notice_days"), *message = get(r, "message");
	const struct mauth_rule *rule = r->rule;

	if (rule->until == 0 && (then != NULL || notice != NULL))
		return mauth_conf_refuse(r->error_r, then != NULL ? then : notice,
					 "%s without until; until = \"2027-03-31\" was expected",
					 then != NULL ? "then" : "notice_days");
	if (rule->until != 0 && rule->action == rule->then)
		return mauth_conf_refuse(r->error_r, get(r, "until"),
					 "action and then are both \"%s\"; what changes after until was expected in then",
					 mauth_action_name(rule->action));
	if (message != NULL && rule->action != MAUTH_ACTION_DENY && (rule->until == 0 || rule->then != MAUTH_ACTION_DENY))
		return mauth_conf_refuse(r->error_r, message, "message, but nobody is denied; action or then = \"deny\" was "
					 "expected");
	return MAUTH_OK;
}

/* Microsoft takes no passwords over IMAP and POP3 since 2022; over SMTP it depends on the tenant, see the dates in
 * README.md. */
static void warn_basic(struct rule_loader *r)
{
	const struct mauth_rule *rule = r->rule;
	const unsigned int smtp = 1u << MAUTH_SERVICE_SUBMISSION;
	bool basic = rule->action == MAUTH_ACTION_BASIC || (rule->until != 0 && rule->then == MAUTH_ACTION_BASIC);

	if (basic && (rule->services == 0 || (rule->services & ~smtp) != 0))
		mauth_load_warn(r->loader, rule->line,
				"rule \"%s\": \"basic\" for IMAP or POP3, where Exchange Online takes no passwords any more; "
				"protocols = {\"smtp\"} was expected",
				rule->name);
}

enum mauth_status mauth_load_rule_action(struct rule_loader *r)
{
	r->rule->then = MAUTH_ACTION_DENY;
	if (load_an_action(r, "action", &r->rule->action) != MAUTH_OK || load_an_action(r, "then", &r->rule->then) != MAUTH_OK ||
	    load_message(r) != MAUTH_OK || load_until(r) != MAUTH_OK || load_notice_days(r) != MAUTH_OK ||
	    check_together(r) != MAUTH_OK)
		return MAUTH_CONFIG;
	warn_basic(r);
	return MAUTH_OK;
}
