/* SPDX-License-Identifier: MIT */
/* What ends: rules and exceptions, enrolments and device passwords, credentials, and what Microsoft has announced. */
#include "doveadm/page-private.h"

#include <string.h>

#define SOON_DAYS 90

static void ends_cells(const struct page *page, int64_t last, int64_t ends_at)
{
	char date[PAGE_DATE_SIZE];

	html_put(page->file, "<td>%s</td><td>", page_date_iso(last, date));
	page_days_left(page, ends_at);
	html_put(page->file, "</td>");
}

/* -- rules and exceptions ----------------------------------------------------------------------------------- */

static void whom(const struct page *page, const struct report_query *query)
{
	static const char *const words[] = { "users", "networks", "also" };
	char protocols[64];

	page_protocols_text(report_get_text(query, 2), protocols, sizeof(protocols));
	html_put(page->file, "<td class=\"wide\">%s", *protocols == '\0' ? "all protocols" : protocols);
	for (unsigned int i = 0; i < 3; i++) {
		if (*report_get_text(query, 3 + i) != '\0')
			html_put(page->file, "<span class=\"sub\">%s: <bdi>%s</bdi></span>", words[i], report_get_text(query, 3 + i));
	}
	if (*report_get_text(query, 9) != '\0')
		html_put(page->file, "<span class=\"sub\">“<bdi>%s</bdi>” (<bdi>%s</bdi>)</span>", report_get_text(query, 9),
			 report_get_text(query, 10));
	html_put(page->file, "</td>");
}

static void policy(struct page *page)
{
	static const char *const columns[] = { "Name", "For whom", "Now", "Then", "Last day", "Left", NULL };
	struct report_query *query = report_query_new(page->db,
		"SELECT kind, name, protocols, users, networks, conditions, action, later, until, reason, who, last_day, state FROM policy"
		" WHERE until IS NOT NULL ORDER BY until, place LIMIT ?");
	int64_t all = report_db_num(page->db, "SELECT count(*) FROM policy WHERE until IS NOT NULL"), shown = 0;

	if (all == 0) {
		html_put(page->file, "<h3>Rules and exceptions</h3>\n<p class=\"empty\">No rule and no exception has an end.</p>\n");
		report_query_free(&query);
		return;
	}
	page_table_begin(page, "t-policy", "Rules and exceptions with an end", columns);
	report_query_num(query, 0, PAGE_TOP);
	for (; report_query_next(&query); shown++) {
		const char *then = report_get_text(query, 7);

		html_put(page->file, "<tr><th scope=\"row\"><bdi>%s</bdi><span class=\"sub\">%s</span></th>", report_get_text(query, 1),
			 report_get_text(query, 0));
		whom(page, query);
		html_put(page->file, "<td>%s</td><td>%s</td><td>%s</td><td>", report_get_text(query, 6),
			 strcmp(report_get_text(query, 0), "exception") == 0 ? "the rules again" : then, report_get_text(query, 11));
		page_days_left(page, report_get_num(query, 8));
		html_put(page->file, "</td></tr>\n");
	}
	page_table_end(page);
	page_more(page, all, shown, "doveadm modernauth policy");
}

/* -- enrolments and device passwords ------------------------------------------------------------------------- */

#define ENDING_SQL " FROM ending WHERE state = 'dead' OR (state = 'active' AND ends_at < ?)"

static void ending_row(const struct page *page, const struct report_query *query)
{
	bool dead = strcmp(report_get_text(query, 3), "dead") == 0, device = strcmp(report_get_text(query, 0), "device") == 0;

	html_put(page->file, "<tr>");
	page_account_head(page, report_get_text(query, 1));
	html_put(page->file, "<td class=\"wide\">%s", device ? "device password" : "enrolment");
	if (device)
		html_put(page->file, "<span class=\"sub\"><bdi>%s</bdi></span>", report_get_text(query, 2));
	html_put(page->file, "</td>");
	if (dead)
		html_put(page->file, "<td></td><td><strong class=\"now\">ended</strong></td>");
	else
		ends_cells(page, report_get_num(query, 5), report_get_num(query, 5));
	html_put(page->file, "<td class=\"wide\">%s</td></tr>\n", *report_get_text(query, 4) != '\0' ? report_get_text(query, 4) :
		 device ? "" : "not used lately: a login before then keeps it");
}

static void people(struct page *page)
{
	static const char *const columns[] = { "Account", "What", "Ends", "Left", "Why", NULL };
	int64_t before = page->facts->now + SOON_DAYS * DAY_SECS, all = 0, shown = 0;
	struct report_query *query = report_query_new(page->db, "SELECT count(*)" ENDING_SQL);

	report_query_num(query, 0, before);
	if (report_query_next(&query))
		all = report_get_num(query, 0);
	report_query_free(&query);
	if (all == 0) {
		html_put(page->file, "<h3>Enrolments and device passwords</h3>\n<p class=\"empty\">None ends within the next %d days.</p>\n", SOON_DAYS);
		return;
	}
	page_table_begin(page, "t-endings", "Enrolments and device passwords that end within 90 days, or have ended", columns);
	query = report_query_new(page->db, "SELECT kind, user, name, state, reason, ends_at" ENDING_SQL
				 " ORDER BY state = 'dead' DESC, ends_at, user LIMIT ?");
	report_query_num(query, 0, before);
	report_query_num(query, 1, PAGE_TOP);
	for (; report_query_next(&query); shown++)
		ending_row(page, query);
	page_table_end(page);
	page_more(page, all, shown, "doveadm -f tab modernauth list --expiring 90d");
}

/* -- credentials -------------------------------------------------------------------------------------------- */

static void credentials(struct page *page)
{
	static const char *const columns[] = { "Credential", "Tenant", "State", "Ends", "Left", NULL };
	struct report_query *query = report_query_new(page->db,
		"SELECT name, tenant, state, refused, ends_at FROM credential ORDER BY ends_at IS NULL, ends_at LIMIT ?");
	int64_t all = report_db_num(page->db, "SELECT count(*) FROM credential"), shown = 0;

	if (all == 0) {
		html_put(page->file, "<h3>Credentials of the application</h3>\n<p class=\"empty\">There are none: the application signs in without "
			 "a secret or certificate.</p>\n");
		report_query_free(&query);
		return;
	}
	page_table_begin(page, "t-credentials", "Credentials of the application at Microsoft", columns);
	report_query_num(query, 0, PAGE_TOP);
	for (; report_query_next(&query); shown++) {
		html_put(page->file, "<tr><th scope=\"row\"><bdi>%s</bdi></th><td class=\"wide\"><bdi>%s</bdi></td><td>%s", report_get_text(query, 0), report_get_text(query, 1),
			 report_get_text(query, 2));
		if (report_get_num(query, 3) > 0)
			html_put(page->file, "<strong class=\"sub now\">refused: AADSTS%d</strong>", (int)report_get_num(query, 3));
		html_put(page->file, "</td>");
		ends_cells(page, report_get_num(query, 4), report_get_num(query, 4));
		html_put(page->file, "</tr>\n");
	}
	page_table_end(page);
	page_more(page, all, shown, "doveadm modernauth status");
}

/* -- Microsoft ---------------------------------------------------------------------------------------------- */

static void microsoft(struct page *page)
{
	static const char *const columns[] = { "Protocol", "From", "At Exchange Online", NULL };
	struct report_query *query = report_query_new(page->db, "SELECT protocol, day, state FROM microsoft ORDER BY rowid");

	if (report_db_num(page->db, "SELECT count(*) FROM microsoft") == 0) {
		report_query_free(&query);
		return;
	}
	page_table_begin(page, "t-microsoft", "Passwords at Microsoft, by protocol", columns);
	while (report_query_next(&query))
		html_put(page->file, "<tr><th scope=\"row\">%s</th><td>%s</td><td class=\"wide\">%s</td></tr>\n",
			 page_protocol_names[page_protocol_of(report_get_text(query, 0))], report_get_text(query, 1), report_get_text(query, 2));
	page_table_end(page);
}

void page_endings(struct page *page)
{
	html_put(page->file, "<section class=\"page\" aria-labelledby=\"endings\" id=\"endings-section\">\n<h2 id=\"endings\">What ends soon</h2>\n");
	policy(page);
	people(page);
	credentials(page);
	microsoft(page);
	html_put(page->file, "</section>\n");
}
