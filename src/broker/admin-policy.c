/* SPDX-License-Identifier: MIT */
/* The rules as they are looked at, and what an admin allows in spite of them. */
#include "broker/admin-private.h"

#include "core/config-value.h"
#include "core/exceptions.h"
#include "core/upn.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of who is affected: more is nobody's reading, and the counts say how many there are. */
#define AFFECTED_ROWS_MAX 500u
/* Octets of a list in a row. */
#define LIST_MAX 400u

static void change_recorded(const struct admin_op *op, const struct mauth_exception *exception,
			    const struct mauth_error *error)
{
	struct mauth_service_state *service = op->service;
	const struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(service->loop), .action = op->action, .actor = "doveadm",
		.exception = exception, .by = op->by, .uid = op->uid, .error = error,
	};

	service->changes++;
	if (service->sink != NULL)
		mauth_record_and_log_change(service->sink, service->log, &change);
}

static void put_until(struct mauth_session *session, int64_t until)
{
	unsigned int left = mauth_policy_days_left(until, mauth_wall_secs(session->service->loop));
	char day[MAUTH_DAY_TEXT_SIZE];

	if (until == 0)
		return;
	mauth_policy_last_day(until, day);
	mauth_wire_str(&session->out, "last_day", day);
	mauth_wire_num(&session->out, "until", until);
	mauth_wire_num(&session->out, "days_left", left);
}

/* -- ALLOW -------------------------------------------------------------------------------------------------- */

struct allow {
	struct mauth_exception_new exception;
	struct mauth_network network;
	char user[MAUTH_USER_MAX + 1];
	struct mauth_error error;
};

static bool parse_services(struct allow *allow, const char *list)
{
	char *copy = mauth_strdup(list), *at = copy, *word;

	while ((word = strsep(&at, ",")) != NULL) {
		enum mauth_service service = MAUTH_SERVICE_SUBMISSION;

		if (strcmp(word, "smtp") != 0 && !mauth_service_parse(word, &service)) {
			mauth_fail(&allow->error, MAUTH_CONFIG, 0,
				   "protocol \"%.60s\"; imap, pop3 or submission was expected", word);
			free(copy);
			return false;
		}
		allow->exception.services |= 1u << service;
	}
	free(copy);
	return true;
}

static bool parse_whom(struct allow *allow, const char *user, const char *network)
{
	const char *why = "";

	if (user != NULL) {
		snprintf(allow->user, sizeof(allow->user), "%s", user);
		mauth_lowercase(allow->user);
		/* One that was cut is not the one that was meant. */
		allow->exception.user = strlen(user) <= MAUTH_USER_MAX ? allow->user : "";
	}
	if (network == NULL)
		return true;
	allow->exception.network = &allow->network;
	if (mauth_network_parse(network, &allow->network, &why))
		return true;
	mauth_fail(&allow->error, MAUTH_CONFIG, 0, "network \"%.60s\": %s", network, why);
	return false;
}

static bool parse_terms(struct allow *allow, const char *action, const char *until)
{
	int64_t last;

	if (action != NULL && !mauth_action_parse(action, &allow->exception.action)) {
		mauth_fail(&allow->error, MAUTH_CONFIG, 0, "action \"%.40s\"; \"upgrade\" or \"basic\" was expected",
			   action);
		return false;
	}
	if (!mauth_day_parse(until, &last)) {
		mauth_fail(&allow->error, MAUTH_CONFIG, 0, "until \"%.40s\"; a date like 2027-03-31 was expected",
			   until);
		return false;
	}
	allow->exception.until = mauth_policy_day_end(last);
	return true;
}

/* Does the pattern match whoever has an address there? No pattern has these octets in it, so what matches names of
 * them, short and long, asks for no letter. */
static bool is_everybody_of(const char *pattern, const char *domain)
{
	static const char shorter[] = "\1\1\1";
	static const char longer[] = "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1";
	char *few = mauth_printf("%s@%s", shorter, domain), *many = mauth_printf("%s@%s", longer, domain);
	bool everybody = mauth_glob_match(pattern, few) && mauth_glob_match(pattern, many);

	free(few);
	free(many);
	return everybody;
}

static bool covers_tenant(const struct mauth_exception_new *exception, const struct mauth_tenant *tenant)
{
	/* Everybody who is not on IPv6 is no smaller a crowd. */
	if (exception->network != NULL && exception->network->bits > 96)
		return false;
	if (exception->user == NULL)
		return true;
	if (tenant->upn_domain != NULL)
		return is_everybody_of(exception->user, tenant->upn_domain);
	for (size_t i = 0; tenant->domains[i] != NULL; i++) {
		if (is_everybody_of(exception->user, tenant->domains[i]))
			return true;
	}
	return false;
}

/* Tenants all of whose users are let through. */
static void put_tenants(struct mauth_session *session, const struct mauth_exception_new *exception)
{
	const struct mauth_config *config = session->service->config;
	struct mauth_buf list = { 0 };
	unsigned int count = 0;

	for (size_t i = 0; i < config->tenants_count; i++) {
		if (!covers_tenant(exception, config->tenants[i]))
			continue;
		count++;
		if (list.size < LIST_MAX)
			mauth_buf_printf(&list, "%s%s", list.size > 0 ? "," : "", config->tenants[i]->name);
	}
	mauth_wire_str(&session->out, "tenant_wide", count > 0 ? "yes" : "no");
	mauth_wire_num(&session->out, "tenants_count", count);
	mauth_wire_str(&session->out, "tenants", list.data);
	mauth_buf_free(&list);
}

struct affected {
	struct mauth_session *session;
	uint32_t id;
	unsigned int rows, shown;
};

static void affected_row(const struct mauth_affected *row, void *context)
{
	struct affected *affected = context;
	struct mauth_session *session = affected->session;

	if (affected->rows++ >= AFFECTED_ROWS_MAX)
		return;
	affected->shown++;
	admin_begin(session, affected->id, "ROW");
	mauth_wire_str(&session->out, "user", row->user);
	mauth_wire_str(&session->out, "service", mauth_service_name(row->service));
	mauth_wire_str(&session->out, "client", row->client);
	mauth_wire_str(&session->out, "network", row->network);
	admin_time(session, "last_seen", row->last_seen);
	admin_end(session);
}

static void dry_run(struct mauth_session *session, uint32_t id, const struct mauth_exception_new *exception)
{
	struct mauth_service_state *service = session->service;
	struct affected affected = { .session = session, .id = id };
	struct mauth_affected_counts counts = { 0 };
	bool known;

	known = service->affected != NULL && service->affected(service, exception, affected_row, &affected, &counts);
	admin_begin(session, id, "OK");
	mauth_wire_num(&session->out, "rows", affected.rows);
	mauth_wire_num(&session->out, "shown", affected.shown);
	mauth_wire_str(&session->out, "inventory", known ? "yes" : "no");
	mauth_wire_num(&session->out, "users", (int64_t)counts.users);
	mauth_wire_num(&session->out, "clients", (int64_t)counts.clients);
	mauth_wire_str(&session->out, "action", mauth_action_name(exception->action));
	put_until(session, exception->until);
	put_tenants(session, exception);
	admin_end(session);
}

static void allowed(const struct mauth_exception *exception, const struct mauth_error *error, void *context)
{
	struct admin_op *op = context;
	struct mauth_session *session = op->session;

	change_recorded(op, exception, error);
	if (session != NULL && error != NULL) {
		admin_fail(session, op->id, error);
	} else if (session != NULL) {
		admin_begin(session, op->id, "OK");
		mauth_wire_str(&session->out, "exception", exception->id);
		put_until(session, exception->until);
		admin_end(session);
	}
	admin_op_free(op);
}

static void commit(struct mauth_session *session, uint32_t id, struct mauth_exceptions *exceptions, struct allow *allow)
{
	struct admin_op *op = admin_op_new(session, id);

	op->action = "exception-added";
	op->by = mauth_strdup(allow->exception.by);
	if (mauth_exceptions_add(exceptions, &allow->exception, allowed, op, &allow->error) == MAUTH_OK)
		return;
	admin_fail(session, id, &allow->error);
	admin_op_free(op);
}

static void get_by(const struct mauth_wire_line *line, char by_r[static MAUTH_EXCEPTION_BY_MAX + 1])
{
	const char *by = mauth_wire_get(line, "by");

	if (by == NULL || *by == '\0')
		by = "unknown";
	mauth_clean_copy(by_r, MAUTH_EXCEPTION_BY_MAX + 1, by, strlen(by));
}

bool admin_allow(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *services = mauth_wire_get(line, "protocol"), *until = mauth_wire_get(line, "until");
	const char *go = mauth_wire_get(line, "commit");
	char by[MAUTH_EXCEPTION_BY_MAX + 1];
	struct allow allow = { .exception = { .action = MAUTH_ACTION_UPGRADE, .by = by, .uid = session->uid,
					      .reason = mauth_wire_get(line, "reason") } };
	struct mauth_vault *vault;

	if (services == NULL || until == NULL)
		return false;
	get_by(line, by);
	vault = admin_vault(session, line->id);
	if (vault == NULL)
		return true;
	if (!parse_services(&allow, services) ||
	    !parse_whom(&allow, mauth_wire_get(line, "user"), mauth_wire_get(line, "network")) ||
	    !parse_terms(&allow, mauth_wire_get(line, "action"), until) ||
	    mauth_exceptions_check(mauth_vault_exceptions(vault), &allow.exception, &allow.error) != MAUTH_OK)
		admin_fail(session, line->id, &allow.error);
	else if (go != NULL && strcmp(go, "no") == 0)
		dry_run(session, line->id, &allow.exception);
	else
		commit(session, line->id, mauth_vault_exceptions(vault), &allow);
	return true;
}

/* -- DISALLOW ----------------------------------------------------------------------------------------------- */

bool admin_disallow(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *id = mauth_wire_get(line, "exception");
	char by[MAUTH_EXCEPTION_BY_MAX + 1];
	struct mauth_vault *vault;
	struct mauth_error error;
	struct admin_op *op;

	if (id == NULL)
		return false;
	vault = admin_vault(session, line->id);
	if (vault == NULL)
		return true;
	op = admin_op_new(session, line->id);
	op->action = "exception-removed";
	get_by(line, by);
	op->by = mauth_strdup(by);
	if (mauth_exceptions_remove(mauth_vault_exceptions(vault), id, allowed, op, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
	}
	return true;
}

/* -- POLICY ------------------------------------------------------------------------------------------------- */

static void put_list(struct mauth_session *session, const char *key, const struct mauth_buf *list)
{
	if (list->size > 0)
		mauth_wire_str(&session->out, key, list->data);
}

/* false: there is no room for more, and it says so. */
static bool append(struct mauth_buf *list, const char *text)
{
	if (list->size >= LIST_MAX) {
		mauth_buf_puts(list, ",...");
		return false;
	}
	mauth_buf_printf(list, "%s%s", list->size > 0 ? "," : "", text);
	return true;
}

static void put_services(struct mauth_session *session, unsigned int services)
{
	char text[MAUTH_SERVICES_TEXT_SIZE];

	mauth_services_text(services, text);
	if (text[0] != '\0')
		mauth_wire_str(&session->out, "protocols", text);
}

static void put_networks(struct mauth_session *session, const struct mauth_network *networks, size_t count)
{
	char text[MAUTH_NETWORK_TEXT_SIZE];
	struct mauth_buf list = { 0 };

	for (size_t i = 0; i < count; i++) {
		mauth_network_format(&networks[i], text);
		if (!append(&list, text))
			break;
	}
	put_list(session, "networks", &list);
	mauth_buf_free(&list);
}

static void put_users(struct mauth_session *session, char *const *users)
{
	struct mauth_buf list = { 0 };

	for (; users != NULL && *users != NULL && append(&list, *users); users++)
		;
	put_list(session, "users", &list);
	mauth_buf_free(&list);
}

/* That there is more to a rule than whom it names. */
static void put_conditions(struct mauth_session *session, const struct mauth_rule *rule)
{
	struct mauth_buf list = { 0 };

	if (rule->mechanisms != NULL)
		append(&list, "mechanisms");
	if (rule->client_ids != NULL)
		append(&list, "client_ids");
	if (rule->tls != MAUTH_TLS_ANY)
		append(&list, "tls");
	if (rule->days != 0)
		append(&list, "days");
	if (rule->from_minute != rule->to_minute)
		append(&list, "hours");
	put_list(session, "conditions", &list);
	mauth_buf_free(&list);
}

static void exception_row(struct mauth_session *session, uint32_t id, unsigned int order,
			  const struct mauth_exception *exception)
{
	bool ended = mauth_wall_secs(session->service->loop) >= exception->until;

	admin_begin(session, id, "ROW");
	mauth_wire_num(&session->out, "order", order);
	mauth_wire_str(&session->out, "kind", "exception");
	mauth_wire_str(&session->out, "name", exception->id);
	mauth_wire_str(&session->out, "state", ended ? "ended" : "active");
	put_services(session, exception->services);
	if (exception->user != NULL)
		mauth_wire_str(&session->out, "users", exception->user);
	put_networks(session, &exception->network, exception->has_network ? 1 : 0);
	mauth_wire_str(&session->out, "action", mauth_action_name(exception->action));
	put_until(session, exception->until);
	mauth_wire_str(&session->out, "by", exception->by);
	mauth_wire_num(&session->out, "uid", exception->uid);
	admin_time(session, "created_at", exception->created_at);
	mauth_wire_str(&session->out, "reason", exception->reason);
	admin_end(session);
}

static void rule_row(struct mauth_session *session, uint32_t id, unsigned int order, const struct mauth_rule *rule)
{
	int64_t now = mauth_wall_secs(session->service->loop);
	bool ended = rule->until != 0 && now >= rule->until;

	admin_begin(session, id, "ROW");
	mauth_wire_num(&session->out, "order", order);
	mauth_wire_str(&session->out, "kind", "rule");
	mauth_wire_str(&session->out, "name", rule->name);
	mauth_wire_str(&session->out, "state", ended ? "ended" : "active");
	put_services(session, rule->services);
	put_users(session, rule->users);
	put_networks(session, rule->networks, rule->networks_count);
	put_conditions(session, rule);
	mauth_wire_str(&session->out, "action", mauth_action_name(mauth_rule_action(rule, now)));
	put_until(session, rule->until);
	if (rule->until != 0 && !ended)
		mauth_wire_str(&session->out, "then", mauth_action_name(rule->then));
	admin_end(session);
}

bool admin_policy(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const struct mauth_config *config = session->service->config;
	struct mauth_vault *vault = mauth_broker_vault(session->service->broker);
	const struct mauth_exception *exception = NULL;
	unsigned int rows = 0;

	while (vault != NULL && (exception = mauth_exceptions_next(mauth_vault_exceptions(vault), exception)) != NULL)
		exception_row(session, line->id, ++rows, exception);
	for (size_t i = 0; i < config->rules_count; i++)
		rule_row(session, line->id, ++rows, config->rules[i]);
	admin_begin(session, line->id, "OK");
	mauth_wire_num(&session->out, "rows", rows);
	mauth_wire_str(&session->out, "store", vault != NULL ? "open" : "closed");
	admin_end(session);
	return true;
}
