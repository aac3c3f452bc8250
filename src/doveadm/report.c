/* SPDX-License-Identifier: MIT */
#include "doveadm/report.h"

#include "core/mem.h"
#include "doveadm/report-db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- words -------------------------------------------------------------------------------------------------- */

bool mauth_report_group_parse(const char *text, enum mauth_report_group *group_r)
{
	static const char *const names[MAUTH_REPORT_GROUPS] = { "none", "user", "protocol", "client", "network", "day" };

	for (unsigned int i = 0; i < MAUTH_REPORT_GROUPS; i++) {
		if (strcmp(names[i], text) == 0) {
			*group_r = (enum mauth_report_group)i;
			return true;
		}
	}
	return false;
}

#define TIMES { "first_seen", MAUTH_REPORT_TIME }, { "last_seen", MAUTH_REPORT_TIME }
#define COUNTS \
	{ "ok", MAUTH_REPORT_COUNT }, { "refused", MAUTH_REPORT_COUNT }, { "failed", MAUTH_REPORT_COUNT }, \
	{ "other", MAUTH_REPORT_COUNT }
#define COLUMNS_END { NULL, MAUTH_REPORT_TEXT }
#define TEXT_COLUMN(name) { name, MAUTH_REPORT_TEXT }
#define COUNT_COLUMN(name) { name, MAUTH_REPORT_COUNT }

const struct mauth_report_column *mauth_report_columns(enum mauth_report_group group)
{
	static const struct mauth_report_column rows[] = {
		TEXT_COLUMN("user"), TEXT_COLUMN("tenant"), TEXT_COLUMN("protocol"), TEXT_COLUMN("client"),
		TEXT_COLUMN("network"), TEXT_COLUMN("tls"), TIMES, COUNTS, TEXT_COLUMN("last_action"),
		TEXT_COLUMN("last_error"), TEXT_COLUMN("mechanism"), TEXT_COLUMN("last_ip"),
		COUNT_COLUMN("exchange_refused"), COLUMNS_END
	};
	static const struct mauth_report_column users[] = {
		TEXT_COLUMN("user"), TEXT_COLUMN("tenant"), TEXT_COLUMN("protocols"), COUNT_COLUMN("clients"),
		COUNT_COLUMN("networks"), TIMES, COUNTS, TEXT_COLUMN("last_error"), COLUMNS_END
	};
	static const struct mauth_report_column protocols[] = {
		TEXT_COLUMN("protocol"), COUNT_COLUMN("users"), COUNT_COLUMN("clients"), COUNT_COLUMN("networks"), TIMES,
		COUNTS, COLUMNS_END
	};
	static const struct mauth_report_column clients[] = {
		TEXT_COLUMN("client"), TEXT_COLUMN("protocols"), COUNT_COLUMN("users"), COUNT_COLUMN("networks"), TIMES, COUNTS,
		COLUMNS_END
	};
	static const struct mauth_report_column networks[] = {
		TEXT_COLUMN("network"), TEXT_COLUMN("protocols"), COUNT_COLUMN("users"), COUNT_COLUMN("clients"), TIMES, COUNTS,
		COLUMNS_END
	};
	static const struct mauth_report_column days[] = {
		{ "day", MAUTH_REPORT_DATE }, TEXT_COLUMN("protocol"), COUNTS, COLUMNS_END
	};
	static const struct mauth_report_column *const all[MAUTH_REPORT_GROUPS] = {
		rows, users, protocols, clients, networks, days
	};

	return all[group];
}

/* -- rows --------------------------------------------------------------------------------------------------- */

#define SEEN_TEXTS "user, tenant, protocol, client, network, tls, mechanism, last_ip, last_action, last_status, last_error"
#define COUNT_NAMES "ok, refused, failed, other"
static const char schema[] =
	"CREATE TABLE seen (" SEEN_TEXTS ", first_seen, last_seen, " COUNT_NAMES ", exchange_refused);"
	"CREATE TABLE day (protocol, day, " COUNT_NAMES ");";

/* In the order of the columns of both tables. */
static const char *const texts[] = {
	"user", "tenant", "protocol", "client", "network", "tls", "mechanism", "last_ip", "last_action", "last_status", "last_error",
};
static const char *const counts[] = { "ok", "refused", "failed", "other" };
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct mauth_report {
	struct report_db *db;
	struct report_query *add_seen, *add_day;
};

struct mauth_report *mauth_report_new(void)
{
	struct mauth_report *report = mauth_new(sizeof(*report));

	report->db = report_db_new(schema);
	report->add_seen = report_query_new(report->db, "INSERT INTO seen VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
	report->add_day = report_query_new(report->db, "INSERT INTO day VALUES (?,?,?,?,?,?)");
	return report;
}

void mauth_report_free(struct mauth_report **report)
{
	struct mauth_report *r = *report;

	if (r == NULL)
		return;
	report_query_free(&r->add_seen);
	report_query_free(&r->add_day);
	report_db_free(&r->db);
	free(r);
	*report = NULL;
}

struct report_db *mauth_report_db(struct mauth_report *report)
{
	return report->db;
}

static const char *reply_text(const struct mauth_admin_reply *reply, const char *key)
{
	const char *text = mauth_admin_get(reply, key);

	/* The version says more than "yes". */
	if (strcmp(key, "tls") == 0 && *reply_text(reply, "tls_version") != '\0')
		return reply_text(reply, "tls_version");
	return text == NULL ? "" : text;
}

static int64_t reply_num(const struct mauth_admin_reply *reply, const char *key)
{
	int64_t num = 0;

	(void)mauth_admin_num(reply, key, &num);
	return num;
}

static enum mauth_status bind_counts(struct report_query *query, unsigned int at, const struct mauth_admin_reply *reply,
				     struct mauth_error *error_r)
{
	for (unsigned int i = 0; i < LENGTH(counts); i++) {
		int64_t num;

		if (!mauth_admin_num(reply, counts[i], &num))
			return mauth_fail(error_r, MAUTH_PROTOCOL, 0, "the broker's answer has no number of %s", counts[i]);
		report_query_num(query, at + i, num);
	}
	return MAUTH_OK;
}

enum mauth_status mauth_report_add(struct mauth_report *report, const struct mauth_admin_reply *reply,
				   struct mauth_error *error_r)
{
	bool is_day = mauth_admin_get(reply, "day") != NULL;
	struct report_query *query = is_day ? report->add_day : report->add_seen;
	unsigned int at = is_day ? 1 : LENGTH(texts) + 1;

	if (bind_counts(query, at + 1, reply, error_r) != MAUTH_OK)
		return error_r->status;
	if (is_day) {
		report_query_text(query, 0, reply_text(reply, "protocol"));
		report_query_num(query, at, reply_num(reply, "day"));
	} else {
		for (unsigned int i = 0; i < LENGTH(texts); i++)
			report_query_text(query, i, reply_text(reply, texts[i]));
		report_query_num(query, at - 1, reply_num(reply, "first_seen"));
		report_query_num(query, at, reply_num(reply, "last_seen"));
		report_query_num(query, at + 1 + LENGTH(counts), reply_num(reply, "exchange_refused"));
	}
	report_query_run(query);
	return report_db_status(report->db, error_r);
}

/* -- groups ------------------------------------------------------------------------------------------------- */

/* What rows of one group have in common. */
static const char *const keys[MAUTH_REPORT_GROUPS] = {
	[MAUTH_REPORT_USER] = "tenant, user", [MAUTH_REPORT_PROTOCOL] = "protocol", [MAUTH_REPORT_CLIENT] = "client",
	[MAUTH_REPORT_NETWORK] = "network",
};

/* What a column of a group comes from; the others are the key. quote() keeps what belongs to one value together, whatever
 * a client calls itself. The last error stands behind its time, so that the largest is the last. */
static const char *column_of_group(const char *key)
{
	static const struct {
		const char *key, *sql;
	} columns[] = {
		{ "users", "count(DISTINCT quote(tenant) || quote(user))" },
		{ "clients", "count(DISTINCT quote(tenant) || quote(user) || quote(client) || network)" },
		{ "networks", "count(DISTINCT network)" },
		{ "protocols", "group_concat(DISTINCT protocol)" },
		{ "first_seen", "min(first_seen)" }, { "last_seen", "max(last_seen)" },
		{ "ok", "sum(ok)" }, { "refused", "sum(refused)" }, { "failed", "sum(failed)" }, { "other", "sum(other)" },
		{ "last_error", "substr(max(CASE last_error WHEN '' THEN '' ELSE printf('%020d', last_seen) || last_error END), 21)" },
	};

	for (size_t i = 0; i < LENGTH(columns); i++) {
		if (strcmp(columns[i].key, key) == 0)
			return columns[i].sql;
	}
	return key;
}

static struct report_query *query_of(struct mauth_report *report, enum mauth_report_group group)
{
	const struct mauth_report_column *columns = mauth_report_columns(group);
	struct mauth_buf sql = { .data = NULL };
	struct report_query *query;

	for (size_t i = 0; columns[i].key != NULL; i++)
		mauth_buf_printf(&sql, "%s%s", i == 0 ? "SELECT " : ", ",
				 keys[group] != NULL ? column_of_group(columns[i].key) : columns[i].key);
	if (group == MAUTH_REPORT_DAY)
		mauth_buf_puts(&sql, " FROM day ORDER BY rowid");
	else if (group == MAUTH_REPORT_NONE)
		mauth_buf_puts(&sql, " FROM seen ORDER BY last_seen DESC, tenant, user, client, network, protocol");
	else
		mauth_buf_printf(&sql, " FROM seen GROUP BY %s ORDER BY sum(ok) DESC, sum(other) DESC, max(last_seen) DESC, %s",
				 keys[group], keys[group]);
	query = report_query_new(report->db, sql.data);
	mauth_buf_free(&sql);
	return query;
}

static int compare_words(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "pop3,imap" -> "imap,pop3" */
static void sort_words(const char *list, char *sorted_r, size_t size)
{
	char *copy = mauth_strdup(list), *rest = copy, *words[8], *word;
	size_t count = 0, used = 0;

	while (count < LENGTH(words) && (word = strsep(&rest, ",")) != NULL)
		words[count++] = word;
	qsort(words, count, sizeof(words[0]), compare_words);
	*sorted_r = '\0';
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(sorted_r + used, size - used, "%s%s", i > 0 ? "," : "", words[i]);
	free(copy);
}

enum mauth_status mauth_report_run(struct mauth_report *report, enum mauth_report_group group, mauth_report_fn *fn,
				   void *context, struct mauth_error *error_r)
{
	const struct mauth_report_column *columns = mauth_report_columns(group);
	struct report_query *query = query_of(report, group);
	char protocols[64];

	while (report_query_next(&query)) {
		struct mauth_report_cell cells[MAUTH_REPORT_COLUMNS_MAX] = { { .text = "" } };

		for (unsigned int i = 0; columns[i].key != NULL; i++) {
			cells[i].text = "";
			if (columns[i].kind == MAUTH_REPORT_TEXT)
				cells[i].text = report_get_text(query, i);
			else
				cells[i].num = report_get_num(query, i);
			if (strcmp(columns[i].key, "protocols") == 0) {
				sort_words(cells[i].text, protocols, sizeof(protocols));
				cells[i].text = protocols;
			}
		}
		fn(cells, context);
	}
	return report_db_status(report->db, error_r);
}
