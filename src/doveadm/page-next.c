/* SPDX-License-Identifier: MIT */
/* What is to be done next, the most urgent first. */
#include "doveadm/page-private.h"

/* One thing to do, if there is reason to: a title, a line of advice, and perhaps a command. */
static void title(const struct page *page, const char *class_, const char *when)
{
	html_put(page->file, "<li><span class=\"when %s\">%s</span><strong>", class_, when);
}

#define NOW "now", "Now"
#define SOON "soon", "Soon"
#define PLAN "plan", "To plan"

static void advice(const struct page *page, const char *text, const char *command)
{
	html_put(page->file, "</strong><p>%s", text);
	if (command != NULL)
		html_put(page->file, " <code>%s</code>", command);
	html_put(page->file, "</p></li>\n");
}

#define IN_DAYS(page, days) ((page)->facts->now + (days) * DAY_SECS)

static int64_t ending_between(struct page *page, const char *sql, int64_t from, int64_t to)
{
	struct report_query *query = report_query_new(page->db, sql);
	int64_t num = 0;

	report_query_num(query, 0, from);
	report_query_num(query, 1, to);
	if (report_query_next(&query))
		num = report_get_num(query, 0);
	report_query_free(&query);
	return num;
}

/* -- now ---------------------------------------------------------------------------------------------------- */

#define CREDENTIALS_SQL "SELECT count(*) FROM credential WHERE ends_at BETWEEN ? AND ?"
#define CREDENTIALS_ADVICE "Without one that is valid nobody gets a token. Add a new one to the app registration and to modernauth.conf beside " \
	"the old one, then"

static unsigned int credentials_ended(struct page *page)
{
	int64_t count = ending_between(page, CREDENTIALS_SQL, 1, page->facts->now);

	if (count == 0)
		return 0;
	title(page, NOW);
	html_put(page->file, "%lld %s of the application at Microsoft %s ended", (long long)count,
		 page_plural(count, "credential", "credentials"), page_plural(count, "has", "have"));
	advice(page, CREDENTIALS_ADVICE, "doveadm reload");
	return 1;
}

static unsigned int enrolments_dead(struct page *page)
{
	int64_t count = report_db_num(page->db, "SELECT count(*) FROM ending WHERE kind = 'enrolment' AND state = 'dead'");

	if (count == 0)
		return 0;
	title(page, NOW);
	html_put(page->file, "%lld %s to sign in again", (long long)count, page_plural(count, "enrolled user has", "enrolled users have"));
	advice(page, "Microsoft does not accept what they once agreed to any more: a changed password, a revoked session, a policy. They are "
	       "listed below; for each", "doveadm modernauth enroll USER");
	return 1;
}

/* -- soon --------------------------------------------------------------------------------------------------- */

static unsigned int credentials_ending(struct page *page)
{
	int64_t count = ending_between(page, CREDENTIALS_SQL, page->facts->now + 1, IN_DAYS(page, 30));

	if (count == 0)
		return 0;
	title(page, SOON);
	html_put(page->file, "%lld %s within 30 days", (long long)count,
		 page_plural(count, "credential of the application at Microsoft ends", "credentials of the application at Microsoft end"));
	advice(page, CREDENTIALS_ADVICE, "doveadm reload");
	return 1;
}

static unsigned int enrolments_ending(struct page *page)
{
	int64_t count = ending_between(page, "SELECT count(*) FROM ending WHERE kind = 'enrolment' AND state = 'active' AND ends_at BETWEEN ? AND ?",
				       1, IN_DAYS(page, 14));

	if (count == 0)
		return 0;
	title(page, SOON);
	html_put(page->file, "%lld %s within 14 days", (long long)count, page_plural(count, "enrolment ends", "enrolments end"));
	advice(page, "They end because nobody uses them. Whoever logs in before then keeps his.", NULL);
	return 1;
}

static unsigned int rules_ending(struct page *page)
{
	struct report_query *query = report_query_new(page->db,
		"SELECT kind, name, last_day, later FROM policy WHERE state = 'active' AND until <= ? ORDER BY until LIMIT 3");
	unsigned int items = 0;

	report_query_num(query, 0, IN_DAYS(page, 30));
	for (; report_query_next(&query); items++) {
		title(page, SOON);
		html_put(page->file, "The %s “<bdi>%s</bdi>” ends after %s</strong><p>", report_get_text(query, 0), report_get_text(query, 1),
			 report_get_text(query, 2));
		if (*report_get_text(query, 3) != '\0')
			html_put(page->file, "From the next day on its logins are treated as “%s”. ", report_get_text(query, 3));
		html_put(page->file, "Whoever still needs it should hear of that now.</p></li>\n");
	}
	return items;
}

static unsigned int inventory_full(struct page *page)
{
	int64_t rows = page_about_num(page, "rows"), max = page_about_num(page, "max");

	if (max == 0 || rows < max - max / 100)
		return 0;
	title(page, SOON);
	html_put(page->file, "The inventory is full: %lld rows", (long long)rows);
	advice(page, "What was seen longest ago is dropped, so this report misses somebody. Raise inventory_max in modernauth.conf.", NULL);
	return 1;
}

static unsigned int passwords_sent_on(struct page *page)
{
	int64_t count = page->hows[PAGE_PASSED];

	if (count == 0)
		return 0;
	title(page, SOON);
	html_put(page->file, "%lld %s with the password as it is", (long long)count,
		 page_plural(count, "account reaches Exchange", "accounts reach Exchange"));
	advice(page, "That ends when Microsoft ends it: see “What ends soon”. Let a rule upgrade them instead.", NULL);
	return 1;
}

/* -- to plan ------------------------------------------------------------------------------------------------ */

static unsigned int only_watched(struct page *page)
{
	int64_t count = page->hows[PAGE_WATCHED];

	if (count == 0)
		return 0;
	title(page, PLAN);
	html_put(page->file, "%lld %s only watched", (long long)count, page_plural(count, "account is", "accounts are"));
	advice(page, "Decide how each group gets on: people enrol once, devices get a device password, applications their own access. Then "
	       "move the group from “monitor” to “upgrade”.", NULL);
	return 1;
}

static unsigned int nobody_uses(struct page *page)
{
	unsigned int items = 0;

	if (page->accounts == 0 || page->facts->filter != NULL || page->window_days < 14)
		return 0;
	for (unsigned int p = 0; p < PAGE_MORE; p++) {
		if (page->uses[p].users > 0)
			continue;
		title(page, PLAN);
		html_put(page->file, "Nobody has used %s in this time", page_protocol_names[p]);
		advice(page, "It can be denied today without breaking anything: add a rule for this protocol with action = \"deny\".", NULL);
		items++;
	}
	return items;
}

static unsigned int no_end(struct page *page)
{
	if (page->hows[PAGE_UPGRADED] == 0 ||
	    report_db_num(page->db, "SELECT count(*) FROM policy WHERE kind = 'rule' AND until IS NOT NULL") > 0)
		return 0;
	title(page, PLAN);
	html_put(page->file, "No rule has an end date");
	advice(page, "What has no end stays. Give the rules that let somebody go on an “until”, and tell the accounts in the lists below.",
	       "doveadm modernauth policy");
	return 1;
}

void page_next(struct page *page)
{
	static unsigned int (*const items[])(struct page *page) = {
		credentials_ended, enrolments_dead, credentials_ending, rules_ending, enrolments_ending, inventory_full, passwords_sent_on,
		only_watched, nobody_uses, no_end,
	};
	unsigned int count = 0;

	html_put(page->file, "<h3 id=\"next\">What is next</h3>\n<ol class=\"next\" aria-labelledby=\"next\">\n");
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		count += items[i](page);
	if (count == 0)
		html_put(page->file, "<li><span class=\"when good\">Done</span><strong>Nothing has to be done now</strong>"
			 "<p>Nothing ends within the next weeks, and nobody waits for a decision.</p></li>\n");
	html_put(page->file, "</ol>\n");
}
