/* SPDX-License-Identifier: MIT */
/* Whose login it is, what the rules say about it, and where it goes. */
#include "core/explain-private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SKIPPED_RULES_MAX 20u

static const char next_passdb[] = "the next passdb decides";

void explain_say(const struct explaining *e, const char *item, const char *name, const char *fmt, ...)
{
	char text[2 * MAUTH_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	e->fn(item, name, text, e->context);
}

void explain_refused(const struct explaining *e, const char *name, const char *who, const struct mauth_error *error)
{
	explain_say(e, "outcome", name, "a login%s would be refused (%s): %s%s%s", who, mauth_status_name(error->status), error->text,
		    error->advice[0] != '\0' ? "; to do: " : "", error->advice);
}

/* -- the question ------------------------------------------------------------------------------------------- */

static void say_question(const struct explaining *e)
{
	const struct mauth_explain_question *question = e->question;
	const char *tls = question->tls_protocol == NULL ? "of unknown version" : question->tls_protocol;

	explain_say(e, "login", "user", "%.640s", question->user);
	explain_say(e, "login", "protocol", "%s", mauth_service_name(question->service));
	explain_say(e, "login", "ip", "%.64s", question->client_ip == NULL ? "unknown, in no network" : question->client_ip);
	explain_say(e, "login", "tls", "%.64s", question->tls ? tls : "none");
	explain_say(e, "login", "mechanism", "%.64s", question->mechanism == NULL ? "unknown" : question->mechanism);
	if (question->client_id != NULL)
		explain_say(e, "login", "client_id", "%.256s", question->client_id);
}

/* -- the route ---------------------------------------------------------------------------------------------- */

/* false: it ends here. */
static bool say_route(struct explaining *e)
{
	struct mauth_login *login = &e->login;
	struct mauth_error error;
	enum mauth_status status = mauth_mailbox_resolve(login->broker->config, login->user, &login->where, &error);

	if (status == MAUTH_NOT_OURS) {
		explain_say(e, "route", "tenant", "none: %s", error.text);
		explain_say(e, "outcome", "password", "%s", next_passdb);
		return false;
	}
	if (status != MAUTH_OK) {
		explain_refused(e, "password", "", &error);
		return false;
	}
	mauth_follow_link(login->broker, &login->where);
	explain_say(e, "route", "tenant", "%s", login->where.tenant->name);
	explain_say(e, "route", "login", "%s", login->where.login);
	explain_say(e, "route", "account", "%s", login->where.account);
	explain_say(e, "route", "mailbox", "%s", login->where.mailbox);
	if (login->where.map != NULL)
		explain_say(e, "route", "map", "%s", login->where.map->name);
	return true;
}

static void say_upstream(const struct explaining *e)
{
	const struct mauth_endpoint *endpoint = &e->login.where.tenant->endpoints[e->login.service];

	explain_say(e, "upstream", "host", "%s:%u", endpoint->host, endpoint->port);
	explain_say(e, "upstream", "tls", "%s", endpoint->tls == MAUTH_TLS_IMPLICIT ? "implicit" : "starttls");
}

/* -- the rules ---------------------------------------------------------------------------------------------- */

static void say_skipped(const struct explaining *e, const struct mauth_rule *rule, const struct mauth_policy_question *question)
{
	const char *ip = question->client_ip == NULL ? "an unknown address" : question->client_ip;
	const char *tls = question->tls_protocol == NULL ? "TLS of unknown version" : question->tls_protocol;
	const char *setting = "", *value = "";

	switch (mauth_rule_first_false(rule, question)) {
	case MAUTH_CONDITION_NONE:
		return;
	case MAUTH_CONDITION_PROTOCOLS:
		setting = "protocols";
		value = mauth_service_name(question->service);
		break;
	case MAUTH_CONDITION_NETWORKS:
		setting = "networks";
		value = ip;
		break;
	case MAUTH_CONDITION_TLS:
		setting = "tls";
		value = question->tls ? tls : "no TLS";
		break;
	case MAUTH_CONDITION_USERS:
		setting = "users, domains, users_file";
		value = question->user;
		break;
	case MAUTH_CONDITION_MECHANISMS:
		setting = "mechanisms";
		value = question->mechanism == NULL ? "an unknown mechanism" : question->mechanism;
		break;
	case MAUTH_CONDITION_CLIENT_IDS:
		setting = "client_ids";
		value = question->client_id == NULL ? "a client that does not say" : question->client_id;
		break;
	case MAUTH_CONDITION_TIME:
		setting = "days, hours";
		value = "the time";
		break;
	}
	explain_say(e, "rule before", rule->name, "line %u: %s does not match %.320s", rule->line, setting, value);
}

static void say_rules_before(const struct explaining *e, const struct mauth_rule *last,
			     const struct mauth_policy_question *question)
{
	const struct mauth_config *config = e->login.broker->config;
	size_t count = 0;

	while (count < config->rules_count && config->rules[count] != last)
		count++;
	for (size_t i = 0; i < count && i < SKIPPED_RULES_MAX; i++)
		say_skipped(e, config->rules[i], question);
	if (count > SKIPPED_RULES_MAX)
		explain_say(e, "rule before", "...", "and %zu more, which do not match either", count - SKIPPED_RULES_MAX);
}

static void say_until(const struct explaining *e, const struct mauth_rule *rule, int64_t now)
{
	char text[MAUTH_UNTIL_TEXT_SIZE];

	mauth_policy_until_text(rule->until, text);
	explain_say(e, "rule", "until", "%s", text);
	explain_say(e, "rule", "then", "%s", mauth_action_name(rule->then));
	explain_say(e, "rule", "days_left", "%u%s", mauth_policy_days_left(rule->until, now),
		    e->login.verdict.expired ? " (it has ended: \"then\" holds)" : "");
}

static void say_rule(const struct explaining *e, int64_t now)
{
	const struct mauth_verdict *verdict = &e->login.verdict;
	const struct mauth_rule *rule = verdict->rule;

	if (rule == NULL) {
		explain_say(e, "rule", "name", "no rule matches: the tenant decides");
	} else {
		explain_say(e, "rule", "name", "%s", rule->name);
		explain_say(e, "rule", "line", "%u", rule->line);
	}
	if (verdict->exception[0] != '\0')
		explain_say(e, "rule", "exception", "%s (doveadm modernauth policy)", verdict->exception);
	explain_say(e, "rule", "action", "%s", mauth_action_name(verdict->action));
	if (rule != NULL && rule->until != 0)
		say_until(e, rule, now);
	if (rule != NULL && rule->message != NULL)
		explain_say(e, "rule", "message", "%s", rule->message);
	if (verdict->action != MAUTH_ACTION_MONITOR)
		return;
	explain_say(e, "rule", "would", "%s", mauth_action_name(verdict->would));
	explain_say(e, "rule", "would_rule", "%s",
		    verdict->would_rule == NULL ? "no other rule matches: the tenant decides" : verdict->would_rule->name);
}

/* The verdict that a login at that time would get. */
static void decide(struct explaining *e)
{
	struct mauth_login *login = &e->login;
	const struct mauth_policy_question question = {
		.user = login->where.login, .service = login->service, .client_ip = login->client_ip,
		.mechanism = login->mechanism, .client_id = login->client_id, .tls = login->tls,
		.tls_protocol = login->tls_protocol,
		.now = e->question->at != 0 ? e->question->at : mauth_wall_secs(login->broker->host.loop),
	};

	mauth_policy_decide(login->broker->config, &question, &login->verdict);
	mauth_exceptions_apply(login->broker->vault == NULL ? NULL : mauth_vault_exceptions(login->broker->vault), &question,
			       &login->verdict);
	login->policy = login->verdict.rule;
	if (e->question->verbose)
		say_rules_before(e, login->policy, &question);
	say_rule(e, question.now);
}

/* -- where the mailbox is ----------------------------------------------------------------------------------- */

/* false: on-premises, or nobody may guess; that ends it. */
static bool say_side(struct explaining *e)
{
	struct mauth_login *login = &e->login;
	struct mauth_hybrid_answer answer;
	bool known;

	/* A rule has said it, or only watches. */
	if (login->verdict.action == MAUTH_ACTION_LOCAL || login->verdict.action == MAUTH_ACTION_MONITOR)
		return true;
	known = mauth_hybrid_peek(login->broker->hybrid, &login->where, NULL, &answer);
	if (answer.error.status != MAUTH_OK) {
		explain_refused(e, "password", "", &answer.error);
		return false;
	}
	explain_say(e, "route", "side", "%s (source: %s)%s", answer.side == MAUTH_SIDE_CLOUD ? "cloud" : "onprem",
		    mauth_side_source_name(answer.source), known ? "" : "; a login would ask first");
	if (answer.side == MAUTH_SIDE_CLOUD)
		return true;
	explain_say(e, "outcome", "password", "the mailbox is on-premises: %s", next_passdb);
	return false;
}

/* -- what is done ------------------------------------------------------------------------------------------- */

static void say_client_token(const struct explaining *e)
{
	struct mauth_error error;

	if (!e->login.where.tenant->client_tokens) {
		mauth_fail(&error, MAUTH_POLICY, 0, "client_tokens is off for the tenant");
		explain_refused(e, "token", " with a token of the client's own", &error);
		return;
	}
	say_upstream(e);
	explain_say(e, "outcome", "token", "the client's own token would be passed on; Exchange judges it");
}

static void say_upgrade(struct explaining *e)
{
	struct mauth_error error;

	if (login_check_mailbox(&e->login, &error) != MAUTH_OK) {
		explain_refused(e, "password", "", &error);
		return;
	}
	login_take_grants(&e->login);
	if (e->login.password_is_token) {
		say_client_token(e);
		return;
	}
	say_upstream(e);
	explain_grants(e);
}

static void say_basic(const struct explaining *e)
{
	struct mauth_error error;

	if (e->login.where.asked_mailbox) {
		mauth_fail(&error, MAUTH_POLICY, 0, "rule \"%s\": a password opens nobody else's mailbox", e->login.policy->name);
		explain_refused(e, "password", "", &error);
		return;
	}
	say_upstream(e);
	explain_say(e, "outcome", "password", "the client's own password would be passed on; Exchange judges it");
}

static void say_denied(const struct explaining *e)
{
	struct mauth_error error;

	login_denied(&e->login, &error);
	explain_refused(e, "password", "", &error);
	if (error.tell[0] != '\0')
		explain_say(e, "outcome", "told", "%s", error.tell);
}

static void say_action(struct explaining *e)
{
	switch (login_action(&e->login)) {
	case MAUTH_ACTION_UPGRADE:
	case MAUTH_ACTION_COUNT:
		say_upgrade(e);
		return;
	case MAUTH_ACTION_MONITOR:
		explain_say(e, "outcome", "password", "the attempt would be written down, and %s", next_passdb);
		return;
	case MAUTH_ACTION_LOCAL:
		explain_say(e, "outcome", "password", "the mailbox is not in Exchange Online: %s", next_passdb);
		return;
	case MAUTH_ACTION_DENY:
		say_denied(e);
		return;
	case MAUTH_ACTION_BASIC:
		say_basic(e);
		return;
	}
}

void mauth_broker_explain(struct mauth_broker *broker, const struct mauth_explain_question *question, mauth_explain_fn *fn,
			  void *context)
{
	struct explaining e = { .question = question, .fn = fn, .context = context };
	struct mauth_login *login = &e.login;

	login->broker = broker;
	login->user = mauth_strdup(question->user);
	login->service = question->service;
	login->client_ip = mauth_strdup(question->client_ip);
	login->mechanism = mauth_strdup(question->mechanism);
	login->client_id = mauth_strdup(question->client_id);
	login->tls = question->tls;
	login->tls_protocol = mauth_strdup(question->tls_protocol);
	login->password_is_token = question->mechanism != NULL && (strcasecmp(question->mechanism, "XOAUTH2") == 0 ||
								   strcasecmp(question->mechanism, "OAUTHBEARER") == 0);
	say_question(&e);
	if (say_route(&e)) {
		decide(&e);
		if (say_side(&e))
			say_action(&e);
	}
	free(login->user);
	free(login->client_ip);
	free(login->mechanism);
	free(login->client_id);
	free(login->tls_protocol);
}
