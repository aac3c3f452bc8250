/* SPDX-License-Identifier: MIT */
/* Why logins do not get through, and what to do about it. */
#include "doveadm/page-private.h"

#include <stdlib.h>
#include <string.h>

/* What has no code of Entra's, in the words of mauth_status_name(). */
static const struct {
	const char *status, *meaning, *advice;
} plain[] = {
	{ "bad_credentials", "wrong user name or password", "The user mends the password in the mail program. Many names from one network are a "
	  "guesser: deny that network in the firewall." },
	{ "user_unknown", "there is no such user", "Check how the login is written, and upn_domain; names that nobody has come from guessers." },
	{ "locked", "too many wrong passwords: Entra is not asked for a while", "A device with an old password keeps trying: find it by its network." },
	{ "disabled", "the account is disabled, or not allowed to use the application", "If it should log in: enable it, or assign it to the app." },
	{ "expired", "the password, or what the user once agreed to, has expired", "The user changes the password, or signs in again: doveadm "
	  "modernauth enroll USER" },
	{ "interaction", "Microsoft wants more than a password: multi-factor authentication or consent", "Enrol the user, or exclude this app and "
	  "address in Conditional Access." },
	{ "policy", "a rule here denies it", "Intended, if the rule is. An exception: doveadm modernauth allow" },
	{ "not_ours", "no tenant serves this name", "Check the domains of the tenants in modernauth.conf." },
	{ "config", "our configuration or the app registration", "doveadm modernauth diagnose" },
	{ "temporary", "Microsoft or the network failed", "Passes by itself; if not: doveadm modernauth diagnose" },
	{ "timeout", "Microsoft did not answer in time", "Look at the network and the proxy: doveadm modernauth diagnose" },
	{ "protocol", "Microsoft answered something that makes no sense", "Look at the log; a proxy that changes answers?" },
	{ "audit", "the audit could not be written, so nobody was let in", "Make room on the disk of the audit." },
	{ "cancelled", "the client went away before it was answered", "Nothing, unless it happens often." },
};

static void put_cause(const struct page *page, const char *error, const char *meaning, const char *advice)
{
	for (size_t i = 0; *meaning == '\0' && i < sizeof(plain) / sizeof(plain[0]); i++) {
		size_t length = strlen(plain[i].status);

		if (strncmp(error, plain[i].status, length) == 0 && (error[length] == '\0' || error[length] == ' ')) {
			meaning = plain[i].meaning;
			advice = plain[i].advice;
		}
	}
	html_put(page->file, "<tr><th scope=\"row\">%s<span class=\"sub\">%s</span></th>", *meaning == '\0' ? error : meaning, error);
	html_put(page->file, "<td class=\"wide\">%s</td>", *advice == '\0' ? "Not known here: look it up in the log." : advice);
}

static void list(struct page *page)
{
	static const char *const columns[] = { "What happened", "What to do", "#Accounts", "#That never get in", "Last seen", NULL };
	struct report_query *query = report_query_new(page->db,
		"SELECT last_error, count(DISTINCT quote(tenant) || quote(user)) AS users, count(DISTINCT CASE how WHEN 0 THEN quote(tenant) ||"
		" quote(user) END), max(last_seen), meaning, advice FROM legacy LEFT JOIN cause ON instr(last_error, 'AADSTS') > 0 AND"
		" code = CAST(substr(last_error, instr(last_error, 'AADSTS') + 6) AS INTEGER) WHERE last_error <> ''"
		" GROUP BY last_error ORDER BY users DESC, last_error LIMIT ?");
	int64_t shown = 0, kinds = report_db_num(page->db, "SELECT count(DISTINCT last_error) FROM legacy WHERE last_error <> ''");
	char date[PAGE_DATE_SIZE];

	page_table_begin(page, "t-causes", "Causes, by the accounts concerned", columns);
	report_query_num(query, 0, PAGE_TOP);
	for (; report_query_next(&query); shown++) {
		put_cause(page, report_get_text(query, 0), report_get_text(query, 4), report_get_text(query, 5));
		html_put(page->file, "<td class=\"n\">%lld</td><td class=\"n\">%lld</td><td>%s</td></tr>\n", (long long)report_get_num(query, 1),
			 (long long)report_get_num(query, 2), page_date_iso(report_get_num(query, 3), date));
	}
	page_table_end(page);
	page_more(page, kinds, shown, "doveadm modernauth report --csv");
}

void page_causes(struct page *page)
{
	html_put(page->file, "<section class=\"page\" aria-labelledby=\"causes\" id=\"causes-section\">\n<h2 id=\"causes\">Why logins fail</h2>\n");
	if (report_db_num(page->db, "SELECT count(*) FROM legacy WHERE last_error <> ''") == 0) {
		html_put(page->file, "<p class=\"empty\">No login has been refused or has failed in this time.</p>\n");
	} else {
		html_put(page->file, "<p>The last failure of each client, whether or not it gets in by now. Who never gets in from a network is a "
			 "guesser, or a device that was never set up right.</p>\n");
		list(page);
	}
	html_put(page->file, "</section>\n");
}
