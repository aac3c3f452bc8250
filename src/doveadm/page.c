/* SPDX-License-Identifier: MIT */
#include "doveadm/page-private.h"

#include "core/mem.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Nothing but the one style that is in here: should a name get past html_text() after all, the browser runs and loads
 * nothing of it. */
static void security_policy(const struct page *page)
{
	unsigned char digest[EVP_MAX_MD_SIZE], text[4 * ((EVP_MAX_MD_SIZE + 2) / 3) + 1];
	unsigned int size = 0;

	if (EVP_Digest(page_style, strlen(page_style), digest, &size, EVP_sha256(), NULL) != 1)
		abort();
	(void)EVP_EncodeBlock(text, digest, (int)size);
	html_put(page->file, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
	fputs((const char *)text, page->file);
	html_put(page->file, "'; base-uri 'none'; form-action 'none'\">\n");
}

static void head(const struct page *page)
{
	html_put(page->file, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
	security_policy(page);
	html_put(page->file, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
		 "<meta name=\"robots\" content=\"noindex\">\n<title>Who still signs in with a password</title>\n<style>");
	/* As it is: it was hashed like this. */
	fputs(page_style, page->file);
	html_put(page->file, "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">To the report</a>\n");
}

static void tenants(const struct page *page)
{
	struct report_query *query = report_query_new(page->db, "SELECT name FROM tenant ORDER BY name LIMIT 6");
	int64_t count = report_db_num(page->db, "SELECT count(*) FROM tenant"), said = 0;

	for (; report_query_next(&query); said++) {
		if (said == 5 && count > 6) {
			html_put(page->file, " and %lld more", (long long)(count - 5));
			report_query_free(&query);
			break;
		}
		if (said == 0)
			html_put(page->file, "%s ", count == 1 ? "Tenant" : "Tenants");
		html_put(page->file, said == 0 ? "<bdi>%s</bdi>" : ", <bdi>%s</bdi>", report_get_text(query, 0));
	}
	if (count > 0)
		html_put(page->file, " · ");
}

static void title(const struct page *page)
{
	const struct mauth_page_facts *facts = page->facts;
	char from[PAGE_DATE_SIZE], to[PAGE_DATE_SIZE], span[PAGE_DATE_SIZE];
	int64_t minutes = facts->now / 60 % 1440;
	char clock[16];

	(void)snprintf(clock, sizeof(clock), "%02u:%02u", (unsigned int)(minutes / 60), (unsigned int)(minutes % 60));
	html_put(page->file, "<header>\n<p class=\"kicker\">Basic authentication at Exchange Online</p>\n<h1>Who still signs in with a password</h1>\n"
		 "<p class=\"meta\">");
	tenants(page);
	html_put(page->file, "%s to %s (%s)<br>Made on %s at %s UTC by <bdi>%s</bdi> on <bdi>%s</bdi>, dovecot-modernauth %s",
		 page_date(facts->now - facts->since, from), page_date(facts->now, to), page_span(facts->since, span), to, clock, facts->by,
		 facts->host, facts->version);
	if (facts->filter != NULL)
		html_put(page->file, "<br>Restricted to <code>%s</code>", facts->filter);
	html_put(page->file, "</p>\n</header>\n<nav aria-label=\"Sections\"><ul><li><a href=\"#summary\">In short</a></li>"
		 "<li><a href=\"#h-days\">Logins over time</a></li><li><a href=\"#h-uses\">Who breaks</a></li>"
		 "<li><a href=\"#h-people\">Accounts and devices</a></li><li><a href=\"#causes\">Why logins fail</a></li>"
		 "<li><a href=\"#endings\">What ends soon</a></li></ul></nav>\n<main id=\"main\">\n");
}

static void foot(const struct page *page)
{
	html_put(page->file, "</main>\n<footer>\n<p>Counted by this front end; other front ends have their own. Numbers of logins per account count since "
		 "it was first seen, those per day within the time of the report. “Never got in”: every attempt was refused or failed. "
		 "The audit, not this page, is the record.</p>\n<p>This page names people: treat it as personal data. It loads nothing and runs no "
		 "script.</p>\n</footer>\n</body>\n</html>\n");
}

enum mauth_status mauth_page_write(struct mauth_report *report, const struct mauth_page_facts *facts, FILE *file,
				   struct mauth_error *error_r)
{
	struct page *page = mauth_new(sizeof(*page));

	page->file = file;
	page->db = mauth_report_db(report);
	page->facts = facts;
	page_load(page);
	head(page);
	title(page);
	page_summary(page);
	page_days(page);
	page_protocols(page);
	page_people(page);
	page_causes(page);
	page_endings(page);
	foot(page);
	free(page);
	return report_db_status(mauth_report_db(report), error_r);
}
