/* SPDX-License-Identifier: MIT */
/* Which notices are due, and what they say. */
#include "core/notices.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_SECS 86400

void mauth_notice_day(int64_t now, char text_r[static MAUTH_NOTICE_DAY_SIZE])
{
	time_t secs = (time_t)now;
	struct tm day;

	*text_r = '\0';
	if (localtime_r(&secs, &day) != NULL)
		snprintf(text_r, MAUTH_NOTICE_DAY_SIZE, "%04d-%02d-%02d", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
}

static bool is_same_day(int64_t a, int64_t b)
{
	char text_a[MAUTH_NOTICE_DAY_SIZE], text_b[MAUTH_NOTICE_DAY_SIZE];

	mauth_notice_day(a, text_a);
	mauth_notice_day(b, text_b);
	return strcmp(text_a, text_b) == 0;
}

bool mauth_notice_is_due(const struct mauth_notice *notice, int64_t now)
{
	if (notice->until == 0 || notice->notice_days == 0)
		return false;
	if (now >= notice->until)
		return is_same_day(now, notice->until);
	return mauth_policy_days_left(notice->until, now) <= notice->notice_days;
}

void mauth_notice_title(const struct mauth_notice *notice, int64_t now, char text_r[static MAUTH_TEXT_MAX])
{
	unsigned int days = mauth_policy_days_left(notice->until, now);
	char when[32];

	if (days > 1)
		snprintf(when, sizeof(when), "ends in %u days", days);
	else
		snprintf(when, sizeof(when), "%s", days == 1 ? "ends today" : "has ended");
	/* Less than a day, and yet not today: it ends tomorrow at some hour. */
	if (days == 1 && !is_same_day(now, notice->until - 1))
		snprintf(when, sizeof(when), "ends tomorrow");
	snprintf(text_r, MAUTH_TEXT_MAX, "%s \"%s\" %s", notice->kind, notice->name, when);
}

void mauth_notice_text(const struct mauth_notice *notice, int64_t now, const size_t *users, char text_r[static MAUTH_TEXT_MAX])
{
	bool over = now >= notice->until;
	char title[MAUTH_TEXT_MAX], until[MAUTH_UNTIL_TEXT_SIZE], used[96] = "";

	mauth_notice_title(notice, now, title);
	mauth_policy_until_text(notice->until, until);
	if (users != NULL)
		snprintf(used, sizeof(used), "; %zu user%s used it in the last %u days", *users, *users == 1 ? "" : "s",
			 MAUTH_NOTICE_USERS_DAYS);
	snprintf(text_r, MAUTH_TEXT_MAX, "%.240s (%s): %s \"%s\"%s", title, until, over ? "now" : "then",
		 mauth_action_name(notice->then), used);
}
