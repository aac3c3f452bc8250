/* SPDX-License-Identifier: MIT */
#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "utc-mktime.h"

#include "core/mem.h"
#include "doveadm/term.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_COLUMNS 80u
#define DEFAULT_ROWS 24u
/* 9999-12-31T23:59:59Z */
#define TIME_MAX INT64_C(253402300799)

/* --- texts --------------------------------------------------------------------------------------------------- */

static bool turns_direction(unichar_t chr)
{
	return (chr >= 0x202a && chr <= 0x202e) || (chr >= 0x2066 && chr <= 0x2069);
}

const char *mauth_show(const char *str)
{
	size_t size = strlen(str);
	char *clean = t_malloc_no0(size + 1);
	string_t *shown = t_str_new(size + 1);
	unichar_t chr;
	int step;

	mauth_clean_copy(clean, size + 1, str, size);
	for (; *clean != '\0'; clean += step) {
		step = uni_utf8_get_char(clean, &chr);
		if (step <= 0)
			break;
		if (turns_direction(chr))
			str_append_c(shown, '?');
		else
			str_append_data(shown, clean, (size_t)step);
	}
	return str_c(shown);
}

/* Characters that may take two columns. Those that take none are counted as one: too short is better than too long. */
static unsigned int columns_of(unichar_t chr)
{
	static const unichar_t wide[][2] = {
		{ 0x1100, 0x115f }, { 0x2600, 0x27bf }, { 0x2e80, 0xa4cf }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff },
		{ 0xfe30, 0xfe6f }, { 0xff00, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f000, 0x1ffff }, { 0x20000, 0x3fffd },
	};

	for (size_t i = 0; i < N_ELEMENTS(wide); i++) {
		if (chr >= wide[i][0] && chr <= wide[i][1])
			return 2;
	}
	return 1;
}

/* Appends str as far as it fits into columns; returns how many it took. */
static unsigned int append_cut(string_t *dest, const char *str, unsigned int columns)
{
	unsigned int used = 0, width;
	unichar_t chr;
	int step;

	for (; *str != '\0'; str += step) {
		step = uni_utf8_get_char(str, &chr);
		if (step <= 0)
			break;
		width = columns_of(chr);
		if (used + width > columns)
			break;
		str_append_data(dest, str, (size_t)step);
		used += width;
	}
	return used;
}

void mauth_time_text(int64_t time, char text_r[static MAUTH_TIME_SIZE])
{
	time_t t = (time_t)time;
	struct tm tm;

	text_r[0] = '\0';
	if (time > 0 && time <= TIME_MAX && gmtime_r(&t, &tm) != NULL)
		(void)strftime(text_r, MAUTH_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

const char *mauth_time_short(int64_t t)
{
	char text[MAUTH_TIME_SIZE], today[MAUTH_TIME_SIZE];

	mauth_time_text(t, text);
	mauth_time_text(time(NULL), today);
	if (text[0] == '\0')
		return "an unknown time";
	if (strncmp(text, today, 10) == 0)
		return t_strdup_printf("%.8s UTC", text + 11);
	return t_strdup_printf("%.10s %.8s UTC", text, text + 11);
}

const char *mauth_duration_text(int64_t secs)
{
	if (secs < 0)
		secs = 0;
	if (secs < 3600)
		return t_strdup_printf("%d:%02d", (int)(secs / 60), (int)(secs % 60));
	return t_strdup_printf("%lld:%02d:%02d", (long long)(secs / 3600), (int)(secs / 60 % 60), (int)(secs % 60));
}

static bool parse_digits(const char *text, size_t count, int *num_r)
{
	*num_r = 0;
	for (size_t i = 0; i < count; i++) {
		if (!i_isdigit(text[i]))
			return FALSE;
		*num_r = *num_r * 10 + (text[i] - '0');
	}
	return TRUE;
}

bool mauth_date_parse(const char *text, int64_t *time_r)
{
	char again[MAUTH_TIME_SIZE];
	struct tm tm = { .tm_mday = 0 };
	time_t t;

	if (strlen(text) != 10 || text[4] != '-' || text[7] != '-' || !parse_digits(text, 4, &tm.tm_year) ||
	    !parse_digits(text + 5, 2, &tm.tm_mon) || !parse_digits(text + 8, 2, &tm.tm_mday))
		return FALSE;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	t = utc_mktime(&tm);
	/* The 31st of February is not the 3rd of March. */
	mauth_time_text(t, again);
	if (strncmp(again, text, 10) != 0)
		return FALSE;
	*time_r = t;
	return TRUE;
}

bool mauth_when_parse(const char *text, int64_t *time_r)
{
	const char *at = text + 10;
	int hour = 0, minute = 0, second = 0;
	int64_t day;
	struct tm tm;
	time_t t;

	if (strlen(text) < 10 || !mauth_date_parse(t_strndup(text, 10), &day))
		return FALSE;
	if (*at != '\0') {
		if (strlen(at) < 6 || *at != 'T' || at[3] != ':' || !parse_digits(at + 1, 2, &hour) ||
		    !parse_digits(at + 4, 2, &minute))
			return FALSE;
		at += 6;
		if (strlen(at) >= 3 && *at == ':') {
			if (!parse_digits(at + 1, 2, &second))
				return FALSE;
			at += 3;
		}
		if (hour > 23 || minute > 59 || second > 59 || (*at != '\0' && strcmp(at, "Z") != 0))
			return FALSE;
	}
	*time_r = day + hour * 3600 + minute * 60 + second;
	if (*at == 'Z')
		return TRUE;
	/* The same digits, as this zone's. */
	t = (time_t)*time_r;
	if (gmtime_r(&t, &tm) == NULL)
		return FALSE;
	tm.tm_isdst = -1;
	*time_r = mktime(&tm);
	return TRUE;
}

bool mauth_interval_parse(const char *text, int64_t *secs_r)
{
	static const struct {
		char unit;
		int64_t secs;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
	size_t digits = strspn(text, "0123456789");
	int num;

	if (digits == 0 || digits > 6 || strlen(text) != digits + 1 || !parse_digits(text, digits, &num))
		return FALSE;
	for (size_t i = 0; i < N_ELEMENTS(units); i++) {
		if (units[i].unit == text[digits]) {
			*secs_r = num * units[i].secs;
			return TRUE;
		}
	}
	return FALSE;
}

int64_t mauth_monotonic_msecs(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- Ctrl-C -------------------------------------------------------------------------------------------------- */

static const int stop_signals[] = { SIGINT, SIGTERM, SIGHUP };
static struct sigaction stop_before[N_ELEMENTS(stop_signals)];
static int stop_fds[2] = { -1, -1 };

/* Through a pipe, since poll() cannot miss that. */
static void stop_signalled(int signo ATTR_UNUSED)
{
	int error = errno;

	if (write(stop_fds[1], "", 1) < 0) {
		/* Full: it is readable then. */
	}
	errno = error;
}

const int *mauth_stop_begin(void)
{
	struct sigaction act = { .sa_handler = stop_signalled, .sa_flags = SA_RESTART };

	i_assert(stop_fds[0] == -1);
	if (pipe2(stop_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		i_fatal("pipe2() failed: %m");
	for (size_t i = 0; i < N_ELEMENTS(stop_signals); i++) {
		if (sigaction(stop_signals[i], &act, &stop_before[i]) < 0)
			i_fatal("sigaction() failed: %m");
	}
	return &stop_fds[0];
}

void mauth_stop_end(void)
{
	for (size_t i = 0; i < N_ELEMENTS(stop_signals); i++)
		(void)sigaction(stop_signals[i], &stop_before[i], NULL);
	i_close_fd(&stop_fds[0]);
	i_close_fd(&stop_fds[1]);
}

/* --- a picture ----------------------------------------------------------------------------------------------- */

static void terminal_size(unsigned int *rows_r, unsigned int *columns_r)
{
	struct winsize ws;

	*rows_r = DEFAULT_ROWS;
	*columns_r = DEFAULT_COLUMNS;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 0 && ws.ws_col > 0) {
		*rows_r = ws.ws_row;
		*columns_r = ws.ws_col;
	}
}

void mauth_live_init(struct mauth_live *live)
{
	i_zero(live);
	live->is_tty = isatty(STDERR_FILENO) > 0;
}

unsigned int mauth_live_rows(void)
{
	unsigned int rows, columns;

	terminal_size(&rows, &columns);
	/* The cursor stands below the picture. */
	return rows > 1 ? rows - 1 : 1;
}

/* Back to where the last picture began. Its lines may have been broken since, if the terminal became narrower. */
static void append_home(struct mauth_live *live, string_t *out, unsigned int columns)
{
	unsigned int up = 0;

	for (unsigned int i = 0; i < live->drawn; i++)
		up += live->widths[i] == 0 ? 1 : (live->widths[i] + columns - 1) / columns;
	if (up > 0)
		str_printfa(out, "\033[%uA", up);
	str_append(out, "\r\033[J");
}

void mauth_live_draw(struct mauth_live *live, const char *const *lines, unsigned int count)
{
	unsigned int rows, columns;
	string_t *out;

	if (!live->is_tty)
		return;
	terminal_size(&rows, &columns);
	out = t_str_new(1024);
	append_home(live, out, columns);
	if (count > 0 && count >= rows)
		count = rows > 1 ? rows - 1 : 1;
	live->widths = mauth_grow(live->widths, count + 1, sizeof(*live->widths));
	for (live->drawn = 0; live->drawn < count; live->drawn++) {
		/* Not the last column: some terminals go to the next line there. */
		live->widths[live->drawn] = append_cut(out, mauth_show(lines[live->drawn]), columns - 1);
		str_append_c(out, '\n');
	}
	(void)fwrite(str_data(out), 1, str_len(out), stderr);
	(void)fflush(stderr);
}

void mauth_live_end(struct mauth_live *live, bool remove)
{
	if (remove && live->drawn > 0)
		mauth_live_draw(live, NULL, 0);
	live->drawn = 0;
	free(live->widths);
	live->widths = NULL;
}
