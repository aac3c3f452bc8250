/* SPDX-License-Identifier: MIT */
/* What the page is made of: rows of the broker that are no inventory, and what the inventory comes down to. */
#include "doveadm/page-private.h"

#include "core/mem.h"

#include <stdarg.h>
#include <string.h>

void mauth_page_begin(struct mauth_report *report)
{
	report_db_run(mauth_report_db(report),
		      "CREATE TABLE about (key, text);"
		      "CREATE TABLE tenant (name);"
		      "CREATE TABLE credential (tenant, name, state, ends_at INTEGER, refused INTEGER);"
		      "CREATE TABLE cause (code INTEGER, meaning, advice);"
		      "CREATE TABLE microsoft (protocol, day, state);"
		      "CREATE TABLE policy (place INTEGER, kind, name, state, protocols, users, networks, conditions, action, last_day,"
		      " until INTEGER, later, who, reason);"
		      "CREATE TABLE ending (kind, user, name, state, reason, ends_at INTEGER);");
}

/* Puts what reply has for keys, in this order; what it does not have is NULL. */
static void insert(struct mauth_report *report, const char *sql, const struct mauth_admin_reply *reply, ...)
{
	struct report_query *query = report_query_new(mauth_report_db(report), sql);
	unsigned int parameter = 0;
	const char *key;
	va_list keys;

	va_start(keys, reply);
	while ((key = va_arg(keys, const char *)) != NULL)
		report_query_text(query, parameter++, mauth_admin_get(reply, key));
	va_end(keys);
	report_query_run(query);
	report_query_free(&query);
}

#define END ((const char *)NULL)

static void add_item(struct mauth_report *report, const char *item, const struct mauth_admin_reply *reply)
{
	if (strcmp(item, "inventory") == 0) {
		insert(report, "INSERT INTO about VALUES ('version', ?), ('rows', ?), ('max', ?), ('store', ?)", reply, "version", "rows",
		       "max", "store", END);
	} else if (strcmp(item, "tenant") == 0) {
		insert(report, "INSERT INTO tenant VALUES (?)", reply, "name", END);
	} else if (strcmp(item, "credential") == 0) {
		insert(report, "INSERT INTO credential VALUES (?, ?, ?, ?, ?)", reply, "tenant", "name", "state", "ends_at", "refused",
		       END);
	} else if (strcmp(item, "cause") == 0) {
		insert(report, "INSERT INTO cause VALUES (?, ?, ?)", reply, "code", "meaning", "advice", END);
	} else if (strcmp(item, "microsoft") == 0) {
		insert(report, "INSERT INTO microsoft VALUES (?, ?, ?)", reply, "protocol", "from", "state", END);
	}
}

enum mauth_status mauth_page_add(struct mauth_report *report, const struct mauth_admin_reply *reply,
				 struct mauth_error *error_r)
{
	const char *item = mauth_admin_get(reply, "item");

	if (item != NULL) {
		add_item(report, item, reply);
	} else if (mauth_admin_get(reply, "kind") != NULL) {
		insert(report, "INSERT INTO policy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", reply, "order", "kind", "name",
		       "state", "protocols", "users", "networks", "conditions", "action", "last_day", "until", "then", "by", "reason",
		       END);
	} else if (mauth_admin_get(reply, "device_id") != NULL) {
		/* Most never end. */
		if (mauth_admin_get(reply, "expires_at") != NULL)
			insert(report, "INSERT INTO ending VALUES ('device', ?, ?, 'active', NULL, ?)", reply, "user", "name",
			       "expires_at", END);
	} else {
		insert(report, "INSERT INTO ending VALUES ('enrolment', ?, NULL, ?, ?, ?)", reply, "user", "state", "reason",
		       "expires_at", END);
	}
	return report_db_status(mauth_report_db(report), error_r);
}

bool mauth_page_has_store(struct mauth_report *report)
{
	return report_db_num(mauth_report_db(report), "SELECT count(*) FROM about WHERE key = 'store' AND text = 'open'") > 0;
}

int64_t page_about_num(struct page *page, const char *key)
{
	struct report_query *query = report_query_new(page->db, "SELECT CAST(text AS INTEGER) FROM about WHERE key = ?");
	int64_t num = 0;

	report_query_text(query, 0, key);
	if (report_query_next(&query))
		num = report_get_num(query, 0);
	report_query_free(&query);
	return num;
}

/* -- what the inventory comes down to -------------------------------------------------------------------------- */

/* A client that brings its own token is a modern one. "client": its name, or where it is if it has none. "how" is enum
 * page_how; one line of "person" for each account and protocol, of "whole" for each account. */
static const char derive[] =
	"CREATE VIEW legacy AS SELECT *, ok + other AS logins, CASE WHEN ok + other = 0 THEN 0 WHEN last_action = 'deny' THEN 1"
	" WHEN last_action IN ('local', 'not-ours') THEN 2 WHEN last_action = 'monitor' THEN 4 WHEN last_action = 'basic' THEN 5"
	" ELSE 3 END AS how FROM seen WHERE last_action <> 'pass' AND mechanism NOT IN ('XOAUTH2', 'OAUTHBEARER');"
	"CREATE TABLE person AS SELECT tenant, user, protocol, sum(logins) AS logins, sum(refused + failed) AS stopped,"
	" min(first_seen) AS first_seen, max(last_seen) AS last_seen, max(how) AS how, max(client) AS client, max(network) AS network,"
	" count(DISTINCT client) AS programs, count(DISTINCT network) AS networks,"
	" count(DISTINCT CASE WHEN how > 2 THEN quote(client) || network END) AS clients FROM legacy GROUP BY tenant, user, protocol;"
	"CREATE TABLE whole AS SELECT tenant, user, sum(logins) AS logins, min(first_seen) AS first_seen, max(last_seen) AS last_seen,"
	" max(how) AS how FROM person GROUP BY tenant, user;";

static void load_hows(struct page *page)
{
	struct report_query *query = report_query_new(page->db, "SELECT how, count(*) FROM whole GROUP BY how");

	while (report_query_next(&query))
		page->hows[report_get_num(query, 0)] = report_get_num(query, 1);
	page->accounts = page->hows[PAGE_UPGRADED] + page->hows[PAGE_WATCHED] + page->hows[PAGE_PASSED];
	page->programs = report_db_num(page->db, "SELECT count(*) FROM (SELECT DISTINCT client, CASE client WHEN '' THEN network END"
				       " FROM legacy WHERE how > 2)");
	page->tokens = report_db_num(page->db, "SELECT count(*) FROM (SELECT DISTINCT tenant, user FROM seen WHERE last_action = 'pass')");
}

static int64_t count_since(struct page *page, const char *sql)
{
	struct report_query *query = report_query_new(page->db, sql);
	int64_t count = 0;

	report_query_num(query, 0, page->facts->now - 7 * DAY_SECS);
	if (report_query_next(&query))
		count = report_get_num(query, 0);
	report_query_free(&query);
	return count;
}

static void load_uses(struct page *page)
{
	struct report_query *query = report_query_new(page->db,
		"SELECT protocol, how, count(*), sum(logins), max(last_seen), sum(clients) FROM person GROUP BY protocol, how");

	while (report_query_next(&query)) {
		struct page_use *use = &page->uses[page_protocol_of(report_get_text(query, 0))];
		int64_t how = report_get_num(query, 1);

		use->hows[how] += report_get_num(query, 2);
		if (how < PAGE_UPGRADED)
			continue;
		use->users += report_get_num(query, 2);
		use->logins += report_get_num(query, 3);
		if (report_get_num(query, 4) > use->last_seen)
			use->last_seen = report_get_num(query, 4);
		use->clients += report_get_num(query, 5);
	}
}

static void load_days(struct page *page)
{
	struct report_query *query = report_query_new(page->db, "SELECT day, protocol, ok + other, refused + failed FROM day");
	int64_t today = page->facts->now / DAY_SECS;

	while (report_query_next(&query)) {
		int64_t back = today - report_get_num(query, 0) / DAY_SECS;
		enum page_protocol protocol = page_protocol_of(report_get_text(query, 1));

		if (back < 0 || back > PAGE_DAYS_MAX)
			continue;
		page->through[back][protocol] += report_get_num(query, 2);
		page->stopped[back][protocol] += report_get_num(query, 3);
		if (back > page->known_days)
			page->known_days = (unsigned int)back;
	}
}

static void sum_days(struct page *page)
{
	int64_t days = (page->facts->since + DAY_SECS - 1) / DAY_SECS;

	page->window_days = days < page->known_days ? (unsigned int)days : page->known_days;
	for (unsigned int p = 0; p < PAGE_PROTOCOLS; p++) {
		for (unsigned int back = 1; back <= 7; back++) {
			page->week += page->through[back][p];
			page->week_before += page->through[back + 7][p];
		}
	}
}

void page_load(struct page *page)
{
	report_db_run(page->db, derive);
	load_hows(page);
	page->quiet = count_since(page, "SELECT count(*) FROM whole WHERE how > 2 AND last_seen < ?");
	page->fresh = count_since(page, "SELECT count(*) FROM whole WHERE how > 2 AND first_seen >= ?");
	load_uses(page);
	load_days(page);
	sum_days(page);
}
