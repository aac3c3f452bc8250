/* SPDX-License-Identifier: MIT */
#include "core/entra.h"

#include <string.h>

#define RETRY_AFTER_MAX 3600

/* Reads count digits; false if one of them is none. */
static bool read_digits(const char *str, unsigned int count, unsigned int *num_r)
{
	unsigned int num = 0;

	for (; count > 0; count--, str++) {
		if (*str < '0' || *str > '9')
			return false;
		num = num * 10 + (unsigned int)(*str - '0');
	}
	*num_r = num;
	return true;
}

/* 1 .. 12; 0 if name begins with no month's name. */
static unsigned int read_month(const char *name)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (unsigned int i = 0; i < 12; i++) {
		if (strncmp(name, months + (size_t)3 * i, 3) == 0)
			return i + 1;
	}
	return 0;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. Its years begin in March: leap days come last. */
static int64_t days_since_epoch(unsigned int year, unsigned int month, unsigned int day)
{
	const int64_t y = (int64_t)year - (month <= 2 ? 1 : 0);
	const int64_t month_from_march = (month + 9) % 12;

	return 365 * y + y / 4 - y / 100 + y / 400 + (153 * month_from_march + 2) / 5 + day - 1 - 719468;
}

/* Seconds since the epoch of an IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 5.6.7). Not
 * strptime(), which reads the locale's months. The two forms that are obsolete since 1999 are not read. */
bool mauth_http_date(const char *str, int64_t *secs_r)
{
	/* What must stand where nothing is read. */
	static const char shape[] = "???, ?? ??? ???? ??:??:?? GMT";
	unsigned int day, month, year, hour, minute, second;

	if (strlen(str) != sizeof(shape) - 1)
		return false;
	for (size_t i = 0; i < sizeof(shape) - 1; i++) {
		if (shape[i] != '?' && shape[i] != str[i])
			return false;
	}
	month = read_month(str + 8);
	if (!read_digits(str + 5, 2, &day) || !read_digits(str + 12, 4, &year) ||
	    !read_digits(str + 17, 2, &hour) || !read_digits(str + 20, 2, &minute) ||
	    !read_digits(str + 23, 2, &second))
		return false;
	if (month == 0 || day < 1 || day > 31 || year < 1970 || hour > 23 || minute > 59 || second > 60)
		return false;
	*secs_r = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
	return true;
}

unsigned int mauth_entra_retry_after(const char *retry_after, const char *date, int64_t wall_now_secs)
{
	const size_t digits = strspn(retry_after, "0123456789");
	int64_t secs = 0, from = wall_now_secs, until;

	if (digits > 0 && retry_after[digits] == '\0') {
		/* Nobody means more than an hour, and nothing here can overflow. */
		for (size_t i = 0; i < digits && secs <= RETRY_AFTER_MAX; i++)
			secs = secs * 10 + (retry_after[i] - '0');
	} else if (mauth_http_date(retry_after, &until)) {
		/* Their own clock, if they tell it: ours may be wrong. */
		if (!mauth_http_date(date, &from))
			from = wall_now_secs;
		secs = until - from;
	} else {
		return 0;
	}
	return secs < 1 ? 1 : secs > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (unsigned int)secs;
}
