/* SPDX-License-Identifier: MIT */
/* A notice as a mail: whom it affects, and RFC 5322's head. */
#include "core/mem.h"
#include "core/notices.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLIENT_MAX 120u

/* -- whom it affects ---------------------------------------------------------------------------------------- */

struct list {
	char **lines;
	size_t count, left_out;
};

/* What a client has sent, on a line of its own: nothing in it can end the line, or begin another one. */
static void take(const char *user, const char *protocol, const char *client, void *context)
{
	struct list *list = context;
	char clean_user[MAUTH_USER_MAX + 1], clean_client[CLIENT_MAX + 1] = "-";

	if (list->count == MAUTH_NOTICE_LINES_MAX) {
		list->left_out++;
		return;
	}
	mauth_clean_copy(clean_user, sizeof(clean_user), user, strlen(user));
	if (client != NULL)
		mauth_clean_copy(clean_client, sizeof(clean_client), client, strlen(client));
	list->lines[list->count++] = mauth_printf("%s  %s  %s", clean_user, protocol, clean_client);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_list(struct mauth_buf *body, const struct list *list)
{
	const char *last = "";

	mauth_buf_printf(body, "\nUsers, protocols and clients in the last %u days:\n", MAUTH_NOTICE_USERS_DAYS);
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->lines[i], last) != 0)
			mauth_buf_printf(body, "%s\n", list->lines[i]);
		last = list->lines[i];
	}
	if (list->left_out > 0)
		mauth_buf_printf(body, "and %zu more\n", list->left_out);
}

bool mauth_notice_body(const struct mauth_notice *notice, int64_t now, const struct mauth_notice_usage *usage,
		       struct mauth_buf *body, size_t *users_r)
{
	struct list list = { .count = 0 };
	char text[MAUTH_TEXT_MAX];
	bool known;

	list.lines = mauth_new_array(MAUTH_NOTICE_LINES_MAX, sizeof(*list.lines));
	*users_r = 0;
	known = usage != NULL && usage->affected(usage->context, notice, take, &list, users_r);
	mauth_notice_text(notice, now, known ? users_r : NULL, text);
	mauth_buf_printf(body, "%s\n", text);
	if (list.count > 0) {
		qsort(list.lines, list.count, sizeof(*list.lines), compare);
		put_list(body, &list);
	}
	for (size_t i = 0; i < list.count; i++)
		free(list.lines[i]);
	free(list.lines);
	return known;
}

/* -- the head ----------------------------------------------------------------------------------------------- */

/* RFC 5322's date, in UTC and in English whatever the locale is. */
static void put_date(struct mauth_buf *head, int64_t now)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t secs = (time_t)now;
	struct tm at;

	if (gmtime_r(&secs, &at) != NULL)
		mauth_buf_printf(head, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d +0000\n", days + 3 * at.tm_wday, at.tm_mday,
				 months + 3 * at.tm_mon, at.tm_year + 1900, at.tm_hour, at.tm_min, at.tm_sec);
}

void mauth_notice_head(const struct mauth_notice *notice, int64_t now, const char *from, const char *to, uint64_t random,
		       struct mauth_buf *head)
{
	char title[MAUTH_TEXT_MAX], clean[200];

	/* Names are ASCII already; a notice that breaks this rule must not break the head. */
	mauth_notice_title(notice, now, title);
	mauth_clean_copy(clean, sizeof(clean), title, strlen(title));
	for (char *c = clean; *c != '\0'; c++)
		*c = (unsigned char)*c >= 0x80 ? '?' : *c;
	mauth_buf_printf(head, "From: modernauth <%s>\nTo: %s\nSubject: modernauth: %s\n", from, to, clean);
	put_date(head, now);
	mauth_buf_printf(head, "Message-ID: <modernauth.%" PRId64 ".%016" PRIx64 "%s>\n", now, random, strrchr(from, '@'));
	mauth_buf_puts(head, "Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
		       "Content-Transfer-Encoding: 8bit\n\n");
}
