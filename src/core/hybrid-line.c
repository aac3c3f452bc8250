/* SPDX-License-Identifier: MIT */
#include "core/hybrid-line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define WORDS_MAX 4u
#define MOVE_EXPECTED "\"cloud\" or \"onprem\" was expected, and after it an instant such as 2026-12-01T22:00:00Z or nothing"

const char *mauth_side_name(enum mauth_side side)
{
	switch (side) {
	case MAUTH_SIDE_CLOUD:
		return "cloud";
	case MAUTH_SIDE_ONPREM:
		return "onprem";
	case MAUTH_SIDE_UNKNOWN:
		break;
	}
	return "unknown";
}

bool mauth_side_parse(const char *name, enum mauth_side *side_r)
{
	if (strcmp(name, "cloud") == 0)
		*side_r = MAUTH_SIDE_CLOUD;
	else if (strcmp(name, "onprem") == 0)
		*side_r = MAUTH_SIDE_ONPREM;
	else
		return false;
	return true;
}

/* -- instants -- */

/* As many digits of text as pattern has "0", and its other characters; true if all of text but its end is so. */
static bool read_numbers(const char **text, const char *pattern, int *numbers)
{
	const char *at = *text;

	for (; *pattern != '\0'; pattern++, at++) {
		if (*pattern != '0') {
			if (*at != *pattern)
				return false;
			numbers++;
			*numbers = 0;
		} else if (*at < '0' || *at > '9') {
			return false;
		} else {
			*numbers = *numbers * 10 + (*at - '0');
		}
	}
	*text = at;
	return true;
}

/* "Z", "+01:00" */
static bool read_offset(const char *text, int64_t *secs_r)
{
	int numbers[2] = { 0 };
	char sign = *text;

	*secs_r = 0;
	if (strcmp(text, "Z") == 0)
		return true;
	if (sign != '+' && sign != '-')
		return false;
	text++;
	if (!read_numbers(&text, "00:00", numbers) || *text != '\0' || numbers[0] > 14 || numbers[1] > 59)
		return false;
	*secs_r = (sign == '-' ? -60 : 60) * ((int64_t)numbers[0] * 60 + numbers[1]);
	return true;
}

bool mauth_instant_parse(const char *text, int64_t *secs_r)
{
	int numbers[6] = { 0 };
	struct tm tm = { 0 }, again;
	int64_t offset;
	time_t secs;

	if (!read_numbers(&text, "0000-00-00T00:00:00", numbers) || !read_offset(text, &offset) || numbers[0] < 1970)
		return false;
	tm.tm_year = numbers[0] - 1900;
	tm.tm_mon = numbers[1] - 1;
	tm.tm_mday = numbers[2];
	tm.tm_hour = numbers[3];
	tm.tm_min = numbers[4];
	tm.tm_sec = numbers[5];
	again = tm;
	secs = timegm(&again);
	/* The 31st of November is not the 1st of December. */
	if (again.tm_mon != tm.tm_mon || again.tm_mday != tm.tm_mday || again.tm_hour != tm.tm_hour ||
	    again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec || secs - offset <= 0)
		return false;
	*secs_r = (int64_t)secs - offset;
	return true;
}

void mauth_instant_text(int64_t secs, char text_r[static MAUTH_INSTANT_SIZE])
{
	time_t t = (time_t)secs;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL || strftime(text_r, MAUTH_INSTANT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(text_r, MAUTH_INSTANT_SIZE, "-");
}

enum mauth_side mauth_move_side(const struct mauth_move *move, int64_t now)
{
	if (move->at == 0 || now >= move->at || move->side == MAUTH_SIDE_UNKNOWN)
		return move->side;
	return move->side == MAUTH_SIDE_CLOUD ? MAUTH_SIDE_ONPREM : MAUTH_SIDE_CLOUD;
}

/* -- lines -- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts line into words. One more than fits is counted, too. */
static size_t cut_words(char *line, char *words[static WORDS_MAX])
{
	size_t count = 0;

	for (;;) {
		while (is_blank(*line))
			line++;
		if (*line == '\0')
			return count;
		if (count == WORDS_MAX)
			return count + 1;
		words[count++] = line;
		while (*line != '\0' && !is_blank(*line))
			line++;
		if (*line != '\0')
			*line++ = '\0';
	}
}

/* A comment begins with the line, or after a blank: "#" may be part of an address. */
static char *find_comment(char *line)
{
	for (char *at = line; *at != '\0'; at++) {
		if (*at == '#' && (at == line || is_blank(at[-1])))
			return at;
	}
	return NULL;
}

static bool read_move(char *const words[], size_t count, struct mauth_move *move_r, const char **problem_r)
{
	*move_r = (struct mauth_move){ MAUTH_SIDE_UNKNOWN, 0 };
	if (count == 0)
		return true;
	if (mauth_side_parse(words[0], &move_r->side) && count <= 2 &&
	    (count == 1 || mauth_instant_parse(words[1], &move_r->at)))
		return true;
	*problem_r = MOVE_EXPECTED;
	return false;
}

static bool read_section(char *line, struct mauth_map_line *line_r, const char **problem_r)
{
	char *words[WORDS_MAX], *end = strchr(line, ']');

	line_r->kind = MAUTH_MAP_SECTION;
	*problem_r = "\"[cloud 2026-12-01T22:00:00Z]\" was expected, or \"[]\" to end a section";
	if (end == NULL || strspn(end + 1, " \t\r") != strlen(end + 1))
		return false;
	*end = '\0';
	return read_move(words, cut_words(line + 1, words), &line_r->move, problem_r);
}

/* "anna@contoso.com" or "@contoso.com"; lower case afterwards. */
static bool read_name(char *name)
{
	const char *at = strchr(name, '@');

	if (at == NULL || at[1] == '\0' || strchr(at + 1, '@') != NULL || strlen(name) > MAUTH_USER_MAX)
		return false;
	for (char *c = name; *c != '\0'; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f || *c == ',' || *c == ';' || *c == '"')
			return false;
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	}
	return true;
}

bool mauth_map_line_parse(char *line, size_t size, struct mauth_map_line *line_r, const char **problem_r)
{
	char *words[WORDS_MAX], *comment;
	size_t count;

	*line_r = (struct mauth_map_line){ .kind = MAUTH_MAP_BLANK, .comment = "" };
	*problem_r = "there is a NUL in it; a text file was expected";
	if (strlen(line) != size)
		return false;
	comment = find_comment(line);
	if (comment != NULL) {
		/* The end of the line is ours to write on, the comment's begin is the caller's to keep. */
		if (comment == line)
			return true;
		comment[-1] = '\0';
		line_r->comment = comment;
	}
	while (is_blank(*line))
		line++;
	if (*line == '\0')
		return true;
	if (*line == '[')
		return read_section(line, line_r, problem_r);
	count = cut_words(line, words);
	line_r->kind = MAUTH_MAP_ENTRY;
	line_r->name = words[0];
	*problem_r = "an address (anna@contoso.com) or a domain (@contoso.com) was expected first";
	if (!read_name(words[0]))
		return false;
	return read_move(words + 1, count - 1, &line_r->move, problem_r);
}
