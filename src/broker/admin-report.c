/* SPDX-License-Identifier: MIT */
/* What the inventory knows: REPORT, and making it forget. */
#include "broker/admin-private.h"

#include "core/aadsts.h"
#include "core/inventory-privacy.h"
#include "core/mem.h"
#include "core/policy.h"
#include "core/upn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A hundred thousand rows are more than a client may leave unread, and than a turn of the loop may take. */
#define OUT_HIGH (256u * 1024u)
#define USERS_PER_TURN 500u
#define SINCE_MAX (3650u * 86400u)

struct admin_report {
	struct mauth_inventory_cursor *cursor;
	struct mauth_inventory_filter filter;
	char *tenant, *user;                 /* of the filter */
	struct mauth_network network;
	struct mauth_timer *turn;            /* NULL: waits for the client to read */
};

static struct mauth_inventory *need_inventory(struct mauth_session *session, uint32_t id)
{
	struct mauth_inventory *inventory = mauth_broker_inventory(session->service->broker);
	struct mauth_error error;

	if (inventory != NULL)
		return inventory;
	mauth_fail(&error, MAUTH_CONFIG, 0, "there is no inventory: \"inventory\" is false in modernauth.conf");
	admin_fail(session, id, &error);
	return NULL;
}

/* -- rows --------------------------------------------------------------------------------------------------- */

static void put_addresses(struct mauth_buf *out, const struct mauth_inventory_row *row)
{
	struct mauth_network host = { .bits = 128 };
	char text[MAUTH_NETWORK_TEXT_SIZE];

	if (row->network.bits == 0)
		return;
	mauth_network_format(&row->network, text);
	mauth_wire_str(out, "network", text);
	memcpy(host.address, row->address, sizeof(host.address));
	mauth_network_format(&host, text);
	mauth_wire_str(out, "last_ip", text);
}

/* "upgrade=12,deny=1" */
static void put_actions(struct mauth_buf *out, const struct mauth_inventory_row *row)
{
	char text[256] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < MAUTH_INVENTORY_ACTIONS && used < sizeof(text); i++) {
		if (row->actions[i] > 0)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s=%u", used > 0 ? "," : "",
						 mauth_inventory_action_name((enum mauth_inventory_action)i), row->actions[i]);
	}
	mauth_wire_str(out, "actions", text);
}

static void put_outcomes(struct mauth_buf *out, const uint32_t *outcomes)
{
	static const char *const names[MAUTH_INVENTORY_OUTCOMES] = {
		[MAUTH_INVENTORY_OK] = "ok", [MAUTH_INVENTORY_REFUSED] = "refused", [MAUTH_INVENTORY_FAILED] = "failed",
		[MAUTH_INVENTORY_OTHER] = "other",
	};

	for (size_t i = 0; i < MAUTH_INVENTORY_OUTCOMES; i++)
		mauth_wire_num(out, names[i], outcomes[i]);
}

static void put_status(struct mauth_buf *out, const char *key, unsigned char status, int code)
{
	char text[64];

	if (code > 0)
		snprintf(text, sizeof(text), "%s AADSTS%d", mauth_status_name((enum mauth_status)status), code);
	else
		snprintf(text, sizeof(text), "%s", mauth_status_name((enum mauth_status)status));
	mauth_wire_str(out, key, text);
}

static void put_row(const char *tenant, const char *user, const struct mauth_inventory_row *row, void *context)
{
	struct admin_op *op = context;
	struct mauth_buf *out = &op->session->out;

	admin_begin(op->session, op->id, "ROW");
	mauth_wire_str(out, "user", user);
	mauth_wire_str(out, "tenant", tenant);
	mauth_wire_str(out, "protocol", mauth_service_name((enum mauth_service)row->service));
	mauth_wire_str(out, "mechanism", row->mechanism);
	mauth_wire_str(out, "client", row->client);
	put_addresses(out, row);
	mauth_wire_str(out, "tls", row->tls ? "yes" : "no");
	if (row->tls && row->tls_version[0] != '\0')
		mauth_wire_str(out, "tls_version", row->tls_version);
	admin_time(op->session, "first_seen", row->first_seen);
	admin_time(op->session, "last_seen", row->last_seen);
	put_outcomes(out, row->outcomes);
	mauth_wire_num(out, "exchange_refused", row->exchange_refused);
	put_actions(out, row);
	mauth_wire_str(out, "last_action", mauth_inventory_action_name((enum mauth_inventory_action)row->last_action));
	put_status(out, "last_status", row->last_status, row->last_code);
	if (row->error_status != MAUTH_OK)
		put_status(out, "last_error", row->error_status, row->error_code);
	admin_end(op->session);
	op->rows++;
}

static void end_rows(struct mauth_session *session, uint32_t id, size_t rows)
{
	admin_begin(session, id, "OK");
	mauth_wire_num(&session->out, "rows", (int64_t)rows);
	admin_end(session);
}

/* -- as the client reads ------------------------------------------------------------------------------------ */

static void turn(void *context)
{
	struct admin_op *op = context;
	struct admin_report *report = op->report;

	report->turn = NULL;
	for (unsigned int users = 0; op->session->out.size < OUT_HIGH; users++) {
		if (users == USERS_PER_TURN) {
			report->turn = mauth_timer_add(op->service->loop, 0, turn, op);
			return;
		}
		if (mauth_inventory_cursor_next(report->cursor, &report->filter, put_row, op))
			continue;
		end_rows(op->session, op->id, op->rows);
		admin_op_free(op);
		return;
	}
}

void admin_report_drained(struct admin_op *op)
{
	struct admin_report *report = op->report;

	if (report->turn == NULL && op->session->out.size < OUT_HIGH)
		report->turn = mauth_timer_add(op->service->loop, 0, turn, op);
}

void admin_report_free(struct admin_op *op)
{
	struct admin_report *report = op->report;

	if (report == NULL)
		return;
	mauth_timer_remove(op->service->loop, &report->turn);
	mauth_inventory_cursor_free(&report->cursor);
	free(report->tenant);
	free(report->user);
	free(report);
	op->report = NULL;
}

/* -- whom it is about ---------------------------------------------------------------------------------------- */

static enum mauth_status take_filter(const struct mauth_wire_line *line, int64_t now, struct admin_report *report,
				     struct mauth_error *error_r)
{
	const char *service_name = mauth_wire_get(line, "service"), *network = mauth_wire_get(line, "network"), *why = "";
	unsigned int since = mauth_wire_get_num(line, "since", SINCE_MAX, 0);
	enum mauth_service service = MAUTH_SERVICE_SUBMISSION;

	if (mauth_wire_get(line, "since") != NULL && since == 0)
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "since: a number of seconds up to %u was expected", SINCE_MAX);
	if (since > 0)
		report->filter.since = now - since;
	if (service_name != NULL && strcmp(service_name, "smtp") != 0 && !mauth_service_parse(service_name, &service))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "protocol \"%.60s\"; imap, pop3 or submission was expected",
				  service_name);
	if (service_name != NULL)
		report->filter.services = 1u << service;
	if (network != NULL && !mauth_network_parse(network, &report->network, &why))
		return mauth_fail(error_r, MAUTH_CONFIG, 0, "network \"%.60s\": %s", network, why);
	report->filter.networks = &report->network;
	report->filter.networks_count = network != NULL;
	report->filter.tenant = report->tenant = mauth_strdup(mauth_wire_get(line, "tenant"));
	report->filter.user = report->user = mauth_strdup(mauth_wire_get(line, "user"));
	report->filter.works = mauth_wire_is_yes(line, "works");
	return MAUTH_OK;
}

/* Few enough to go at once. */
static void report_days(struct mauth_session *session, uint32_t id, const struct mauth_inventory *inventory, int64_t since)
{
	size_t count, rows = 0;
	const struct mauth_inventory_day *days = mauth_inventory_days(inventory, &count);

	for (size_t i = 0; i < count; i++) {
		/* A day counts as a whole. */
		if ((days[i].day + 1) * 86400 <= since)
			continue;
		for (unsigned int s = 0; s < MAUTH_SERVICE_COUNT; s++, rows++) {
			admin_begin(session, id, "ROW");
			admin_time(session, "day", days[i].day * 86400);
			mauth_wire_str(&session->out, "protocol", mauth_service_name((enum mauth_service)s));
			put_outcomes(&session->out, days[i].counts[s]);
			admin_end(session);
		}
	}
	end_rows(session, id, rows);
}

/* -- what a reader of the report wants to know besides --------------------------------------------------------- */

static void about_inventory(struct mauth_session *session, uint32_t id, const struct mauth_inventory *inventory)
{
	const struct mauth_config *config = session->service->config;

	admin_begin(session, id, "ROW");
	mauth_wire_str(&session->out, "item", "inventory");
	mauth_wire_str(&session->out, "version", MAUTH_VERSION);
	mauth_wire_num(&session->out, "rows", (int64_t)mauth_inventory_count(inventory));
	mauth_wire_num(&session->out, "max", (int64_t)config->inventory_max);
	mauth_wire_str(&session->out, "store", mauth_broker_vault(session->service->broker) != NULL ? "open" : "closed");
	admin_end(session);
}

static size_t about_tenant(struct mauth_session *session, uint32_t id, const struct mauth_tenant *tenant)
{
	const struct mauth_flights *flights = mauth_broker_flights(session->service->broker);

	admin_begin(session, id, "ROW");
	mauth_wire_str(&session->out, "item", "tenant");
	mauth_wire_str(&session->out, "name", tenant->name);
	admin_end(session);
	for (size_t i = 0; i < tenant->credentials_count; i++) {
		struct mauth_credential_state state;

		mauth_flights_credential(flights, tenant, i, &state);
		admin_begin(session, id, "ROW");
		mauth_wire_str(&session->out, "item", "credential");
		mauth_wire_str(&session->out, "tenant", tenant->name);
		mauth_wire_str(&session->out, "name", tenant->credentials[i].path);
		mauth_wire_str(&session->out, "state", state.in_use ? "in use" : "spare");
		admin_time(session, "ends_at", tenant->credentials[i].not_after);
		if (state.refused_code != 0)
			mauth_wire_num(&session->out, "refused", state.refused_code);
		admin_end(session);
	}
	return 1 + tenant->credentials_count;
}

/* What Entra's codes mean here: an admin may have changed that. */
static size_t about_causes(struct mauth_session *session, uint32_t id)
{
	const struct mauth_aadsts_table *table = session->service->config->aadsts;
	size_t count = mauth_aadsts_count(table);

	for (size_t i = 0; i < count; i++) {
		const struct mauth_aadsts_row *row = mauth_aadsts_at(table, i);

		admin_begin(session, id, "ROW");
		mauth_wire_str(&session->out, "item", "cause");
		mauth_wire_num(&session->out, "code", row->code);
		mauth_wire_str(&session->out, "meaning", row->meaning);
		mauth_wire_str(&session->out, "advice", row->advice);
		admin_end(session);
	}
	return count;
}

/* What Microsoft has announced. */
static size_t about_microsoft(struct mauth_session *session, uint32_t id)
{
	static const struct {
		enum mauth_service service;
		const char *from, *state;
	} rows[] = {
#define ROW(service, from, state) { MAUTH_SERVICE_ ## service, from, state },
#include "core/basic-auth.def"
#undef ROW
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		admin_begin(session, id, "ROW");
		mauth_wire_str(&session->out, "item", "microsoft");
		mauth_wire_str(&session->out, "protocol", mauth_service_name(rows[i].service));
		mauth_wire_str(&session->out, "from", rows[i].from);
		mauth_wire_str(&session->out, "state", rows[i].state);
		admin_end(session);
	}
	return sizeof(rows) / sizeof(rows[0]);
}

static void report_about(struct mauth_session *session, uint32_t id, const struct mauth_inventory *inventory)
{
	const struct mauth_config *config = session->service->config;
	size_t rows = 1;

	about_inventory(session, id, inventory);
	for (size_t i = 0; i < config->tenants_count; i++)
		rows += about_tenant(session, id, config->tenants[i]);
	rows += about_causes(session, id) + about_microsoft(session, id);
	end_rows(session, id, rows);
}

/* -- REPORT ------------------------------------------------------------------------------------------------- */

/* Where the inventory has pseudonyms, a name is asked for by its own. */
static void name_person(const struct mauth_privacy *privacy, struct admin_report *report)
{
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	const char *user = report->user;

	if (user == NULL || strpbrk(user, "*?") != NULL)
		return;
	user = mauth_inventory_user(privacy, user, pseudonym);
	if (user == report->user)
		return;
	free(report->user);
	report->filter.user = report->user = mauth_strdup(user);
}

bool admin_report(struct mauth_session *session, const struct mauth_wire_line *line)
{
	struct mauth_inventory *inventory = need_inventory(session, line->id);
	struct mauth_error error;
	struct admin_op *op;

	if (inventory == NULL)
		return true;
	op = admin_op_new(session, line->id);
	op->report = mauth_new(sizeof(*op->report));
	if (take_filter(line, mauth_wall_secs(session->service->loop), op->report, &error) != MAUTH_OK) {
		admin_fail(session, line->id, &error);
		admin_op_free(op);
		return true;
	}
	name_person(session->service->privacy, op->report);
	if (mauth_wire_is_yes(line, "about")) {
		report_about(session, line->id, inventory);
		admin_op_free(op);
	} else if (mauth_wire_is_yes(line, "days")) {
		report_days(session, line->id, inventory, op->report->filter.since);
		admin_op_free(op);
	} else {
		/* How far it is, for whoever watches. */
		admin_begin(session, line->id, "NOTE");
		mauth_wire_num(&session->out, "total", (int64_t)mauth_inventory_count(inventory));
		admin_end(session);
		op->report->cursor = mauth_inventory_cursor_new(inventory);
		admin_report_drained(op);
	}
	return true;
}

/* -- INVENTORY-FORGET --------------------------------------------------------------------------------------- */

static void record_forgotten(const struct admin_op *op, const struct mauth_error *error)
{
	struct mauth_service_state *service = op->service;
	const struct mauth_change_record change = {
		.wall_usecs = mauth_wall_usecs(service->loop), .action = "inventory-forgotten", .actor = "doveadm",
		.login = op->user, .by = op->asked_by, .uid = op->uid, .error = error,
	};

	service->changes++;
	if (service->sink != NULL)
		mauth_record_and_log_change(service->sink, service->log, &change);
}

static void forgotten(const struct mauth_error *error, void *context)
{
	struct admin_op *op = context;

	record_forgotten(op, error);
	if (op->session != NULL && error != NULL)
		admin_fail(op->session, op->id, error);
	else if (op->session != NULL)
		end_rows(op->session, op->id, op->rows);
	admin_op_free(op);
}

/* Whoever is to be forgotten may belong to no tenant any more: the name is taken as it is, but for its case. */
bool admin_inventory_forget(struct mauth_session *session, const struct mauth_wire_line *line)
{
	const char *user = mauth_wire_get(line, "user");
	bool everybody = mauth_wire_is_yes(line, "all");
	struct mauth_inventory *inventory;
	char pseudonym[MAUTH_PSEUDONYM_SIZE];
	struct admin_op *op;

	if ((user == NULL) != everybody)
		return false;
	inventory = need_inventory(session, line->id);
	if (inventory == NULL)
		return true;
	op = admin_op_new(session, line->id);
	op->user = mauth_strdup(user);
	if (user != NULL)
		mauth_lowercase(op->user);
	user = mauth_inventory_user(session->service->privacy, op->user, pseudonym);
	if (!mauth_inventory_forget(inventory, mauth_wire_get(line, "tenant"), user, forgotten, op, &op->rows))
		forgotten(NULL, op);
	return true;
}
