/* SPDX-License-Identifier: MIT */
#include "doveadm/page-private.h"

#include <string.h>
#include <time.h>

const char *const page_protocol_names[PAGE_PROTOCOLS] = { "IMAP", "POP3", "SMTP", "Other" };
const char *const page_protocol_keys[PAGE_PROTOCOLS] = { "imap", "pop3", "submission", "" };

enum page_protocol page_protocol_of(const char *key)
{
	unsigned int i = 0;

	while (i < PAGE_MORE && strcmp(page_protocol_keys[i], key) != 0)
		i++;
	return (enum page_protocol)i;
}

void page_protocols_text(const char *list, char *text_r, size_t size)
{
	size_t used = 0;

	*text_r = '\0';
	/* In the order of the enum, whatever that of the list. */
	for (unsigned int i = 0; i < PAGE_MORE && used < size; i++) {
		if (strstr(list, page_protocol_keys[i]) != NULL)
			used += (size_t)snprintf(text_r + used, size - used, "%s%s", used > 0 ? ", " : "", page_protocol_names[i]);
	}
	if (used == 0)
		(void)snprintf(text_r, size, "%s", list);
}

const char *page_how_text(int64_t how)
{
	static const char *const texts[PAGE_HOWS] = {
		[PAGE_NEVER] = "never got in", [PAGE_DENIED] = "denied by a rule", [PAGE_ELSEWHERE] = "mailbox elsewhere",
		[PAGE_UPGRADED] = "upgraded", [PAGE_WATCHED] = "only watched", [PAGE_PASSED] = "password sent on",
	};

	return how >= 0 && how < PAGE_HOWS ? texts[how] : "";
}

static bool day_of(int64_t at, struct tm *tm_r)
{
	time_t secs = (time_t)at;

	return at > 0 && gmtime_r(&secs, tm_r) != NULL;
}

/* What strftime() has made; "%e" pads. */
static const char *made(bool good, char *text)
{
	if (!good)
		*text = '\0';
	return *text == ' ' ? text + 1 : text;
}

const char *page_date(int64_t time, char text_r[static PAGE_DATE_SIZE])
{
	struct tm tm;

	return made(day_of(time, &tm) && strftime(text_r, PAGE_DATE_SIZE, "%e %B %Y", &tm) > 0, text_r);
}

const char *page_date_short(int64_t time, char text_r[static PAGE_DATE_SIZE])
{
	struct tm tm;

	return made(day_of(time, &tm) && strftime(text_r, PAGE_DATE_SIZE, "%e %b", &tm) > 0, text_r);
}

const char *page_date_iso(int64_t time, char text_r[static PAGE_DATE_SIZE])
{
	struct tm tm;

	return made(day_of(time, &tm) && strftime(text_r, PAGE_DATE_SIZE, "%Y-%m-%d", &tm) > 0, text_r);
}

const char *page_plural(int64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

const char *page_span(int64_t secs, char text_r[static PAGE_DATE_SIZE])
{
	int64_t days = secs / DAY_SECS, hours = secs / 3600;

	if (days > 0 && secs % DAY_SECS == 0)
		(void)snprintf(text_r, PAGE_DATE_SIZE, "%lld %s", (long long)days, page_plural(days, "day", "days"));
	else if (hours > 0)
		(void)snprintf(text_r, PAGE_DATE_SIZE, "%lld %s", (long long)hours, page_plural(hours, "hour", "hours"));
	else
		(void)snprintf(text_r, PAGE_DATE_SIZE, "%lld %s", (long long)(secs / 60), page_plural(secs / 60, "minute", "minutes"));
	return text_r;
}

void page_days_left(const struct page *page, int64_t ends_at)
{
	int64_t left = ends_at - page->facts->now, days = left / DAY_SECS;

	if (ends_at <= 0)
		html_put(page->file, "<span class=\"sub\">not known</span>");
	else if (left <= 0)
		html_put(page->file, "<strong class=\"now\">ended</strong>");
	else if (days == 0)
		html_put(page->file, "<strong class=\"now\">today</strong>");
	else
		html_put(page->file, "<strong class=\"%s\">%lld %s</strong>", days <= 14 ? "now" : days <= 45 ? "soon" : "plan",
			 (long long)days, page_plural(days, "day", "days"));
}
