/* SPDX-License-Identifier: MIT */
/* The head of the page: what it comes down to, for whoever reads nothing else. */
#include "doveadm/page-private.h"

#include <stdlib.h>

static int64_t percent(int64_t part, int64_t whole)
{
	int64_t half = part < 0 ? -(whole / 2) : whole / 2;

	return whole > 0 ? (100 * part + half) / whole : 0;
}

/* -- in words ----------------------------------------------------------------------------------------------- */

static void nobody(const struct page *page)
{
	char span[PAGE_DATE_SIZE];

	html_put(page->file, "<p class=\"lead\"><strong>Nobody</strong> has signed in to Exchange Online with a user name and a password "
		 "through this front end in the last %s.</p>\n", page_span(page->facts->since, span));
	if (page->tokens > 0)
		html_put(page->file, "<p>%lld %s with a modern program that brings its own token: those need nobody's help.</p>\n",
			 (long long)page->tokens, page_plural(page->tokens, "account signs in", "accounts sign in"));
	html_put(page->file, "<p class=\"empty\">If there should be logins here: <code>doveadm modernauth diagnose</code> finds out why there are "
		 "none. Otherwise the last basic login is behind you: the rules can go, and protocols that nobody uses can be "
		 "closed.</p>\n");
}

/* "Of those, 3 are only watched and 1 ..." */
static void treatment(const struct page *page)
{
	static const struct {
		enum page_how how;
		const char *one, *many;
	} parts[] = {
		{ PAGE_UPGRADED, "is turned into modern authentication here and keeps working",
		  "are turned into modern authentication here and keep working" },
		{ PAGE_WATCHED, "is only watched so far", "are only watched so far" },
		{ PAGE_PASSED, "still has its password sent on to Exchange", "still have their passwords sent on to Exchange" },
	};
	unsigned int left = 0, said = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		left += page->hows[parts[i].how] > 0;
	html_put(page->file, "Of these accounts, ");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int64_t count = page->hows[parts[i].how];

		if (count == 0)
			continue;
		html_put(page->file, said == 0 ? "" : said + 1 == left ? " and " : ", ");
		html_put(page->file, "<strong>%lld</strong> %s", (long long)count, page_plural(count, parts[i].one, parts[i].many));
		said++;
	}
	html_put(page->file, ". ");
}

static void one_account(const struct page *page)
{
	static const char *const texts[PAGE_HOWS] = {
		[PAGE_UPGRADED] = "It is turned into modern authentication here and keeps working. ",
		[PAGE_WATCHED] = "It is only watched so far. ", [PAGE_PASSED] = "Its password is still sent on to Exchange. ",
	};

	for (unsigned int how = PAGE_UPGRADED; how < PAGE_HOWS; how++) {
		if (page->hows[how] > 0)
			html_put(page->file, "%s", texts[how]);
	}
}

static void trend(const struct page *page)
{
	int64_t change = percent(page->week - page->week_before, page->week_before);

	/* Totals per day are everybody's. */
	if (page->facts->filter == NULL && page->known_days >= 14 && page->week_before > 0) {
		html_put(page->file, "In the last seven full days there were <strong>%lld</strong> such %s, ", (long long)page->week,
			 page_plural(page->week, "login", "logins"));
		if (change == 0)
			html_put(page->file, "as many as in the seven days before. ");
		else
			html_put(page->file, "%lld %% %s than in the seven days before. ", (long long)llabs(change),
				 change < 0 ? "fewer" : "more");
	}
	if (page->known_days > 7 && page->quiet > 0)
		html_put(page->file, "%lld of the accounts %s not been seen for a week. ", (long long)page->quiet,
			 page_plural(page->quiet, "has", "have"));
	if (page->known_days > 7 && page->fresh > 0)
		html_put(page->file, "%lld %s new in the last seven days. ", (long long)page->fresh,
			 page_plural(page->fresh, "account is", "accounts are"));
}

static void others(const struct page *page)
{
	if (page->hows[PAGE_DENIED] > 0)
		html_put(page->file, "Rules deny another %lld %s. ", (long long)page->hows[PAGE_DENIED],
			 page_plural(page->hows[PAGE_DENIED], "account", "accounts"));
	if (page->hows[PAGE_ELSEWHERE] > 0)
		html_put(page->file, "%lld more %s a mailbox that is not in Exchange Online. ", (long long)page->hows[PAGE_ELSEWHERE],
			 page_plural(page->hows[PAGE_ELSEWHERE], "account has", "accounts have"));
	if (page->tokens > 0)
		html_put(page->file, "%lld %s with a modern program that brings its own token and is not counted here. ",
			 (long long)page->tokens, page_plural(page->tokens, "account signs in", "accounts sign in"));
}

static void lead(const struct page *page)
{
	char span[PAGE_DATE_SIZE];

	html_put(page->file, "<p class=\"lead\">In the last %s <strong>%lld %s</strong> signed in to Exchange Online with a user name and a "
		 "password, which Microsoft calls basic authentication and has switched off or is about to. ",
		 page_span(page->facts->since, span), (long long)page->accounts, page_plural(page->accounts, "account", "accounts"));
	if (page->accounts == 1)
		one_account(page);
	else
		treatment(page);
	html_put(page->file, "</p>\n<p>");
	trend(page);
	others(page);
	html_put(page->file, "</p>\n");
}

/* -- in numbers --------------------------------------------------------------------------------------------- */

static void tile(const struct page *page, const char *title, const char *big, const char *small)
{
	html_put(page->file, "<div class=\"tile\"><dt>%s</dt><dd class=\"big\">%s</dd><dd class=\"small\">%s</dd></div>\n", title, big, small);
}

static void tile_days(const struct page *page)
{
	char big[HTML_NUM_SIZE], small[64] = "average of the last seven full days";
	int64_t change = percent(page->week - page->week_before, page->week_before), a_day = (page->week + 3) / 7;

	if (page->known_days == 0) {
		tile(page, "Logins a day", "–", "the first day is not over yet");
		return;
	}
	if (page->known_days < 7) {
		a_day = page->week / page->known_days;
		(void)snprintf(small, sizeof(small), "average of %u full %s", page->known_days, page_plural(page->known_days, "day", "days"));
	} else if (page->known_days >= 14 && page->week_before > 0) {
		(void)snprintf(small, sizeof(small), "%s%lld %% on the week before", change > 0 ? "▲ +" : change < 0 ? "▼ −" : "",
			       llabs(change));
	}
	tile(page, "Logins a day", html_num(a_day, big), small);
}

static void tiles(const struct page *page)
{
	char big[HTML_NUM_SIZE + 4], small[128], nums[3][HTML_NUM_SIZE];
	int64_t upgraded = page->hows[PAGE_UPGRADED];

	html_put(page->file, "<dl class=\"tiles\">\n");
	(void)snprintf(small, sizeof(small), "IMAP %s · POP3 %s · SMTP %s", html_num(page->uses[PAGE_IMAP].users, nums[0]),
		       html_num(page->uses[PAGE_POP3].users, nums[1]), html_num(page->uses[PAGE_SMTP].users, nums[2]));
	tile(page, "Accounts with a password", html_num(page->accounts, big), small);
	tile(page, "Kinds of programs and devices", html_num(page->programs, big), "by the name they give, or their network");
	if (page->facts->filter == NULL)
		tile_days(page);
	(void)snprintf(big, sizeof(big), "%lld %%", (long long)percent(upgraded, page->accounts));
	(void)snprintf(small, sizeof(small), "%s of %s %s", html_num(upgraded, nums[0]), html_num(page->accounts, nums[1]),
		       page_plural(page->accounts, "account", "accounts"));
	tile(page, "Upgraded to modern authentication", big, small);
	tile(page, "Never got in", html_num(page->hows[PAGE_NEVER], big), "names tried without success");
	html_put(page->file, "</dl>\n");
}

void page_summary(struct page *page)
{
	html_put(page->file, "<section aria-labelledby=\"summary\">\n<h2 id=\"summary\">In short</h2>\n");
	if (page->accounts == 0)
		nobody(page);
	else
		lead(page);
	if (page->accounts > 0 || page->hows[PAGE_NEVER] > 0)
		tiles(page);
	page_next(page);
	html_put(page->file, "</section>\n");
}
