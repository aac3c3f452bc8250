/* SPDX-License-Identifier: MIT */
/* Logins per day, who breaks, and who that is. */
#include "doveadm/page-private.h"

#include "core/mem.h"

#include <stdlib.h>

/* More columns than this are weeks. */
#define COLUMNS_MAX 62u

static const struct chart_series protocol_series[PAGE_PROTOCOLS] = {
	{ "IMAP", "imap" }, { "POP3", "pop3" }, { "SMTP", "smtp" }, { "Other", "more-protocols" }
};

/* -- logins per day ----------------------------------------------------------------------------------------- */

/* A chart with fewer says nothing; days before the first one that was counted are empty. */
#define COLUMNS_MIN 7u

static unsigned int chart_days(const struct page *page)
{
	return page->window_days + 1 < COLUMNS_MIN ? COLUMNS_MIN : page->window_days + 1;
}

/* The column of length days, of which last is the number of days before today. */
static void fill_column(const struct page *page, unsigned int last, unsigned int length, struct chart_bar *bar)
{
	int64_t first = page->facts->now - (int64_t)(last + length - 1) * DAY_SECS;
	char date[PAGE_DATE_SIZE];

	for (unsigned int back = last; back < last + length && back <= PAGE_DAYS_MAX; back++) {
		for (unsigned int p = 0; p < PAGE_PROTOCOLS; p++)
			bar->values[p] += page->through[back][p];
	}
	(void)snprintf(bar->label, sizeof(bar->label), "%s", page_date_short(first, date));
	(void)snprintf(bar->longer, sizeof(bar->longer), "%s%s%s", length > 1 ? "week of " : "", page_date(first, date),
		       last == 0 ? " (not over yet)" : "");
}

static unsigned int make_columns(const struct page *page, unsigned int length, struct chart_bar *bars)
{
	unsigned int count = (chart_days(page) + length - 1) / length;

	for (unsigned int i = 0; i < count; i++)
		fill_column(page, (count - 1 - i) * length, length, &bars[i]);
	return count;
}

static void stopped(const struct page *page)
{
	int64_t through = 0, count = 0;

	for (unsigned int back = 0; back <= page->window_days; back++) {
		for (unsigned int p = 0; p < PAGE_PROTOCOLS; p++) {
			through += page->through[back][p];
			count += page->stopped[back][p];
		}
	}
	html_put(page->file, "<p class=\"note\">In this time %lld %s through. Another %lld %s refused or failed: see <a "
		 "href=\"#causes\">why logins fail</a>. Days are UTC.</p>\n", (long long)through, page_plural(through, "login got", "logins got"),
		 (long long)count, page_plural(count, "attempt was", "attempts were"));
}

void page_days(struct page *page)
{
	struct chart_bar *bars = mauth_new_array(PAGE_DAYS_MAX + 1, sizeof(*bars));
	unsigned int length = page->window_days + 1 > COLUMNS_MAX ? 7 : 1;
	char description[160], from[PAGE_DATE_SIZE];
	struct chart chart = {
		.id = "days", .title = length > 1 ? "Logins with a password per week, by protocol" : "Logins with a password per day, by protocol",
		.unit = "logins", .unit_one = "login", .first_column = length > 1 ? "Week" : "Day", .series = protocol_series, .series_count = PAGE_PROTOCOLS,
		.description = description, .bars = bars,
	};

	html_put(page->file, "<section aria-labelledby=\"h-days\" id=\"days-section\">\n<h2 id=\"h-days\">%s</h2>\n",
		 length > 1 ? "Logins per week" : "Logins per day");
	chart.bars_count = make_columns(page, length, bars);
	(void)snprintf(description, sizeof(description), "Stacked columns from %s to today. The numbers are in the table below the chart.",
		       page_date(page->facts->now - (int64_t)(chart_days(page) - 1) * DAY_SECS, from));
	if (page->facts->filter != NULL) {
		html_put(page->file, "<p class=\"empty\">Totals per day are counted for everybody together, and this report is restricted to "
			 "<code>%s</code>: make it without that to see them.</p>\n", page->facts->filter);
	} else if (page->known_days == 0 && page->through[0][0] + page->through[0][1] + page->through[0][2] + page->through[0][3] == 0) {
		html_put(page->file, "<p class=\"empty\">No login has been counted yet. This chart grows by a column a day.</p>\n");
	} else {
		chart_columns(page->file, &chart);
		stopped(page);
	}
	html_put(page->file, "</section>\n");
	free(bars);
}

/* -- who breaks --------------------------------------------------------------------------------------------- */

static void use_chart(const struct page *page)
{
	static const struct chart_series series[] = {
		{ "upgraded here", "up" }, { "only watched", "watch" }, { "password sent on to Exchange", "pass" }
	};
	struct chart_bar bars[PAGE_PROTOCOLS] = { { .label = "" } };
	const struct chart chart = {
		.id = "uses", .title = "Accounts that would lose access if the protocol were denied today", .unit = "accounts", .unit_one = "account",
		.first_column = "Protocol", .series = series, .series_count = 3, .bars = bars,
		.bars_count = page->uses[PAGE_MORE].users > 0 ? PAGE_PROTOCOLS : PAGE_MORE,
		.description = "One bar for each protocol, divided by what happens to these logins now. The numbers are in the table below.",
	};

	for (unsigned int p = 0; p < chart.bars_count; p++) {
		(void)snprintf(bars[p].label, sizeof(bars[p].label), "%s", page_protocol_names[p]);
		(void)snprintf(bars[p].longer, sizeof(bars[p].longer), "%s", page_protocol_names[p]);
		for (unsigned int s = 0; s < 3; s++)
			bars[p].values[s] = page->uses[p].hows[PAGE_UPGRADED + s];
	}
	chart_rows(page->file, &chart);
}

static void use_table(const struct page *page)
{
	static const char *const columns[] = { "Protocol", "#Accounts", "#Clients", "#Logins", "Last login", "#Denied already", NULL };
	char date[PAGE_DATE_SIZE];

	page_table_begin(page, "t-uses", "By protocol", columns);
	for (unsigned int p = 0; p < PAGE_PROTOCOLS; p++) {
		const struct page_use *use = &page->uses[p];

		if (p == PAGE_MORE && use->users + use->hows[PAGE_DENIED] == 0)
			continue;
		html_put(page->file, "<tr><th scope=\"row\">%s</th><td class=\"n\">%lld</td><td class=\"n\">%lld</td><td class=\"n\">%lld</td><td>%s</td>"
			 "<td class=\"n\">%lld</td></tr>\n", page_protocol_names[p], (long long)use->users, (long long)use->clients,
			 (long long)use->logins, use->users == 0 ? "nobody" : page_date_iso(use->last_seen, date),
			 (long long)use->hows[PAGE_DENIED]);
	}
	page_table_end(page);
	html_put(page->file, "<p class=\"note\">Only those who got in at least once. A client is an account with a program in a network; one account "
		 "may have several, and may use several protocols.</p>\n");
}

/* "Thunderbird 115.1", and how many others. */
static void programs_cell(const struct page *page, const char *client, int64_t programs, const char *network)
{
	html_put(page->file, "<td class=\"wide\">");
	if (*client == '\0')
		html_put(page->file, "<span class=\"sub\">gives no name, from <bdi>%s</bdi></span>", *network == '\0' ? "an unknown address" : network);
	else
		html_put(page->file, "<bdi>%s</bdi>", client);
	if (programs > 1)
		html_put(page->file, "<span class=\"sub\">and %lld more</span>", (long long)(programs - 1));
	html_put(page->file, "</td>");
}

static void list_protocol(struct page *page, enum page_protocol protocol)
{
	static const char *const columns[] = { "Account", "Program or device", "#Logins", "Last seen", "Now", NULL };
	struct report_query *query = report_query_new(page->db,
		"SELECT user, client, programs, logins, last_seen, how, network FROM person WHERE protocol = ? AND how > 2"
		" ORDER BY logins DESC, user LIMIT ?");
	char caption[96], id[24], command[96], date[PAGE_DATE_SIZE];
	int64_t shown = 0, users = page->uses[protocol].users;

	(void)snprintf(caption, sizeof(caption), users > PAGE_TOP_PROTOCOL ? "%s: the accounts with most logins" : "%s: these accounts break",
		       page_protocol_names[protocol]);
	(void)snprintf(id, sizeof(id), "t-%s", page_protocol_keys[protocol]);
	(void)snprintf(command, sizeof(command), "doveadm modernauth report --protocol %s --group-by user --working --csv",
		       page_protocol_keys[protocol]);
	page_table_begin(page, id, caption, columns);
	report_query_text(query, 0, page_protocol_keys[protocol]);
	report_query_num(query, 1, PAGE_TOP_PROTOCOL);
	for (; report_query_next(&query); shown++) {
		html_put(page->file, "<tr>");
		page_account_head(page, report_get_text(query, 0));
		programs_cell(page, report_get_text(query, 1), report_get_num(query, 2), report_get_text(query, 6));
		html_put(page->file, "<td class=\"n\">%lld</td><td>%s</td><td>%s</td></tr>\n", (long long)report_get_num(query, 3),
			 page_date_iso(report_get_num(query, 4), date), page_how_text(report_get_num(query, 5)));
	}
	page_table_end(page);
	page_more(page, users, shown, command);
}

void page_protocols(struct page *page)
{
	html_put(page->file, "<section class=\"page\" aria-labelledby=\"h-uses\" id=\"uses-section\">\n<h2 id=\"h-uses\">Who breaks if a protocol is "
		 "denied today</h2>\n<p>Each account below still gets its mail, and would stop doing so.</p>\n");
	if (page->accounts == 0) {
		html_put(page->file, "<p class=\"empty\">Nobody: no account got in with a password in this time.</p>\n</section>\n");
		return;
	}
	use_chart(page);
	use_table(page);
	for (unsigned int p = 0; p < PAGE_MORE; p++) {
		if (page->uses[p].users > 0)
			list_protocol(page, (enum page_protocol)p);
	}
	html_put(page->file, "</section>\n");
}

/* -- people and programs ------------------------------------------------------------------------------------ */

static void list_people(struct page *page)
{
	static const char *const columns[] = { "Account", "#Logins", "-", "Protocols", "#Networks", "First seen", "Last seen", "Now", NULL };
	struct report_query *query = report_query_new(page->db,
		"SELECT user, sum(logins) AS total, group_concat(DISTINCT protocol), max(networks), min(first_seen), max(last_seen), max(how)"
		" FROM person WHERE how > 2 GROUP BY tenant, user ORDER BY total DESC, user LIMIT ?");
	char protocols[64], first[PAGE_DATE_SIZE], last[PAGE_DATE_SIZE];
	int64_t shown = 0, max = 0;

	page_table_begin(page, "t-people", "Accounts with most logins", columns);
	report_query_num(query, 0, PAGE_TOP);
	for (; report_query_next(&query); shown++) {
		if (shown == 0)
			max = report_get_num(query, 1);
		page_protocols_text(report_get_text(query, 2), protocols, sizeof(protocols));
		html_put(page->file, "<tr>");
		page_account_head(page, report_get_text(query, 0));
		html_put(page->file, "<td class=\"n\">%lld</td>", (long long)report_get_num(query, 1));
		page_bar_cell(page, report_get_num(query, 1), max);
		html_put(page->file, "<td>%s</td><td class=\"n\">%lld</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", protocols,
			 (long long)report_get_num(query, 3), page_date_iso(report_get_num(query, 4), first),
			 page_date_iso(report_get_num(query, 5), last), page_how_text(report_get_num(query, 6)));
	}
	page_table_end(page);
	page_more(page, page->accounts, shown, "doveadm modernauth report --group-by user --working --csv");
}

static void list_programs(struct page *page)
{
	static const char *const columns[] = { "Program or device", "#Accounts", "-", "Protocols", "#Logins", "Last seen", NULL };
	struct report_query *query = report_query_new(page->db,
		"SELECT client, CASE client WHEN '' THEN network ELSE '' END AS place, count(DISTINCT quote(tenant) || quote(user)) AS users,"
		" group_concat(DISTINCT protocol), sum(logins) AS total, max(last_seen) FROM legacy WHERE how > 2 GROUP BY client, place"
		" ORDER BY users DESC, total DESC, client LIMIT ?");
	char protocols[64], date[PAGE_DATE_SIZE];
	int64_t shown = 0, max = 0;

	page_table_begin(page, "t-programs", "Programs and devices with most accounts", columns);
	report_query_num(query, 0, PAGE_TOP);
	for (; report_query_next(&query); shown++) {
		if (shown == 0)
			max = report_get_num(query, 2);
		page_protocols_text(report_get_text(query, 3), protocols, sizeof(protocols));
		if (*report_get_text(query, 0) != '\0')
			html_put(page->file, "<tr><th scope=\"row\"><bdi>%s</bdi></th>", report_get_text(query, 0));
		else
			html_put(page->file, "<tr><th scope=\"row\">Without a name<span class=\"sub\">from <bdi>%s</bdi></span></th>",
				 *report_get_text(query, 1) == '\0' ? "an unknown address" : report_get_text(query, 1));
		html_put(page->file, "<td class=\"n\">%lld</td>", (long long)report_get_num(query, 2));
		page_bar_cell(page, report_get_num(query, 2), max);
		html_put(page->file, "<td>%s</td><td class=\"n\">%lld</td><td>%s</td></tr>\n", protocols, (long long)report_get_num(query, 4),
			 page_date_iso(report_get_num(query, 5), date));
	}
	page_table_end(page);
	page_more(page, page->programs, shown, "doveadm modernauth report --group-by client --working --csv");
}

void page_people(struct page *page)
{
	html_put(page->file, "<section aria-labelledby=\"h-people\" id=\"people-section\">\n<h2 id=\"h-people\">Accounts and devices</h2>\n"
		 "<p>Programs say what they are called in IMAP only, and they say what they like. The others are told apart by the network they "
		 "come from: scanners and applications mostly have one of their own.</p>\n");
	if (page->accounts == 0) {
		html_put(page->file, "<p class=\"empty\">There are none to show.</p>\n");
	} else {
		list_people(page);
		list_programs(page);
	}
	html_put(page->file, "</section>\n");
}
